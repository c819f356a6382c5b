"""Distributions of the noise of images that have no latent, only some numbers for each image."""

from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from noise_flow_tf.bijectors.one_pass import as_float32
from noise_flow_tf.bijectors.shapes import same_event


class ImageNoise(tfd.Distribution):
    """Noise of batch shape `[B]` and event shape `[H, W, 4]`; it refuses integers and other shapes.

    A subclass says what is known of each image besides `clean`, in `numbers`.
    """

    numbers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, clean: Any, **numbers: Any) -> None:
        """Make the distribution of `clean` `[B, H, W, 4]`; each of the numbers is `[B]`.

        Raises:
            TypeError: other numbers than those of the class.
        """
        if numbers.keys() != {*self.numbers}:
            raise TypeError(
                f"{type(self).__name__} needs {', '.join(self.numbers)}; got {', '.join(numbers)}"
            )
        self._clean = tf.convert_to_tensor(clean, tf.float32)
        super().__init__(
            tf.float32,
            tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"clean": clean, **numbers},
            name=type(self).__name__,
        )

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, Any]:
        one = tfp.util.ParameterProperties
        return {"clean": one(event_ndims=3), **{name: one() for name in cls.numbers}}

    def _of_pixels(self, dtype: tf.DType = tf.float64) -> list[tf.Tensor]:
        """Return the numbers of each image, `[B, 1, 1, 1]`, in order."""
        numbers = (tf.cast(self.parameters[name], dtype) for name in self.numbers)
        return [x[..., tf.newaxis, tf.newaxis, tf.newaxis] for x in numbers]

    def _event_shape(self) -> tf.TensorShape:
        return self._clean.shape[-3:]

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.shape(self._clean)[-3:]

    def _call_log_prob(self, value: Any, name: str, **kwargs: Any) -> tf.Tensor:
        value = as_float32(tf.convert_to_tensor(value, dtype_hint=tf.float32), "noise")
        return super()._call_log_prob(
            same_event(value, self._clean, "noise", "the clean image"), name, **kwargs
        )
