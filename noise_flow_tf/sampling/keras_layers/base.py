"""The common base of the layers for both Keras versions; it does not import Keras."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.sampling.keras_layers.sensor_noise import SensorNoise
from noise_flow_tf.sampling.keras_layers.which_keras import Keras, check_keras

_KerasLayer: Any = Any if TYPE_CHECKING else object


class NoiseFlowLayerBase(_KerasLayer):
    """Adds sampled noise to packed clean raw images, in training only, as `GaussianNoise` does.

    Images are `[B, H, W, 4]` or `[H, W, 4]` in [0, 1]. Each example has its own noise and, with
    several conditions, an ISO level and camera drawn for it. It works in functional, sequential and
    subclassed models, in `fit`, in `tf.data` maps (`dataset.map(lambda x: layer(x,
    training=True))`), under `tf.function`, and is saved with the noise model's weights in the Keras
    format and as a SavedModel (not in the legacy HDF5 format).

    There is one class for each Keras, `Keras3NoiseFlowLayer` for Keras 3 (`import keras`) and
    `TFKerasNoiseFlowLayer` for `tf_keras`; `NoiseFlowLayer` is the one for `tf.keras`. They draw
    the same numbers, and using a layer in a model of the other Keras is a TypeError.

    Under mixed precision, too, noise is computed in float32, from the images as they reach the
    layer; the output has the layer's compute dtype. XLA draws other numbers from the same seed,
    and a wrong image becomes NaN instead of an error: so this layer turns off `jit_compile` of
    Keras 3 models.

    The gradient to the input is exact: the noise is a function of the clean image and of a latent
    that does not depend on it, so that d output / d input = 1 + d noise / d clean. An input
    slightly outside [0, 1] has the noise of the nearest intensity inside; values that cannot be
    normalised raw intensities are an error (`conditions.packed`).

    >>> import noise_flow_tf as nf
    >>> layer = nf.NoiseFlowLayer(nf.NoiseFlow(seed=0), conditions=[(800, "S6")], seed=1)
    >>> clean = tf.fill([2, 8, 8, 4], 0.5)
    >>> bool(tf.reduce_all(layer(clean) == clean)), layer(clean, training=True).shape.as_list()
    (True, [2, 8, 8, 4])
    """

    keras_version: Keras
    """The Keras that the layer is for."""

    def __init__(
        self,
        model: NoiseFlow | dict[str, Any],
        conditions: Sequence[tuple[int, int | str]],
        weights: Sequence[float] | None = None,
        temperature: float = 1.0,
        clip: bool = False,
        seed: int | None = None,
        train_noise_model: bool = False,
        **kwargs: Any,
    ) -> None:
        """Make the layer.

        Args:
            model: the noise model, or its entry in `get_config`.
            conditions: (ISO, camera) pairs; of several, one is drawn for each example.
            weights: the relative frequency of each pair; None for equal ones.
            temperature: the standard deviation of the latent; 1 is the model's own distribution.
            clip: whether to clip the noisy image to [0, 1], as a sensor does.
            seed: fixes the sequence of draws; None draws another one each time.
            train_noise_model: whether the surrounding model trains the noise model's weights, too.
            **kwargs: `name` and other arguments of the Keras `Layer`.

        Raises:
            ValueError: no pair, an unknown ISO or camera, weights that are negative, all zero or
                not one per pair, a temperature that is negative or not finite.
        """
        # Keras would round the images to half precision before the noise is computed from them.
        super().__init__(autocast=False, **kwargs)
        noise = SensorNoise(model, conditions, weights, temperature, clip, seed, train_noise_model)
        self._sensor_noise = noise
        self.noise_model, self._random = noise.noise_model, noise.generator  # SavedModels need them
        self._track_weights(noise)

    def _track_weights(self, noise: SensorNoise) -> None:
        """Register the weights, if Keras tracks only variables of its own class."""

    @tf.autograph.experimental.do_not_convert
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        check_keras(self, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return the noisy images in training, the clean ones otherwise."""
        return self._sensor_noise.output(inputs, training, self.compute_dtype)

    def __repr__(self) -> str:
        # In its error, a sequential model of the other Keras shows only this.
        return f"<NoiseFlowLayer name={self.name}, {self.keras_version.description}>"

    def save_own_variables(self, store: Any) -> None:
        self._sensor_noise.save(store)

    def load_own_variables(self, store: Any) -> None:
        self._sensor_noise.load(store)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._sensor_noise.config()}
