"""What the bijectors of Noise Flow have in common."""

import abc

import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors


class NoCache:
    """Stands in for TFP's cache of a bijector's values: it computes each of them anew.

    TFP's own cache knows a tensor again, but not that a weight has moved since, and it cannot be
    shared by threads.
    """

    def __get__(self, bijector, _=None):
        return self if bijector is None else _Uncached(bijector)


class _Uncached:
    def __init__(self, bijector: tfb.Bijector):
        self._bijector = bijector

    def forward(self, x, **kwargs):
        return self._bijector._forward(x, **kwargs)

    def inverse(self, y, **kwargs):
        return self._bijector._inverse(y, **kwargs)

    def forward_attributes(self, x, **kwargs):
        return {}

    def inverse_attributes(self, y, **kwargs):
        return {}


class OnePassBijector(tfb.Bijector):
    """A bijector of images `[..., H, W, C]` that gives value and log-det-Jacobian together.

    A subclass defines `forward_and_log_det` and `inverse_and_log_det`; what TFP asks for one by one
    follows from them. Both are pure functions of the image and of the parameters, which are read at
    each use: where a parameter is a `tf.Variable` or a `tfp.util.DeferredTensor`, a bijector
    follows its changes, and gradients reach it, whenever the bijector was made.
    """

    _cache = NoCache()

    def __init__(self, parameters: dict, validate_args: bool, name: str):
        """Takes what the subclass was made with, as `tfb.Bijector` does."""
        super().__init__(
            forward_min_event_ndims=3,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @abc.abstractmethod
    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The image `[..., H, W, C]` that `x` becomes, and log |det d forward(x) / d x|, nats.

        The log-det-Jacobian has the shape of the batch, or one that broadcasts to it.
        """

    @abc.abstractmethod
    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The image `[..., H, W, C]` that becomes `y`, and log |det d inverse(y) / d y|, nats.

        The log-det-Jacobian has the shape of the batch, or one that broadcasts to it.
        """

    def moving_inverse_and_log_det(self, y: tf.Tensor):
        """`inverse_and_log_det`, and what the pass is to change: pairs (variable, new value)."""
        return *self.inverse_and_log_det(y), []

    def _forward(self, x):
        return self.forward_and_log_det(as_float32(x, "x"))[0]

    def _inverse(self, y):
        return self.inverse_and_log_det(as_float32(y, "y"))[0]

    def _forward_log_det_jacobian(self, x):
        return self.forward_and_log_det(as_float32(x, "x"))[1]

    def _inverse_log_det_jacobian(self, y):
        return self.inverse_and_log_det(as_float32(y, "y"))[1]


def as_float32(values: tf.Tensor, name: str) -> tf.Tensor:
    """Values of any floating type as float32.

    Raises:
        TypeError: values of another type.
    """
    if values.dtype == tf.float32:
        return values
    if not values.dtype.is_floating:
        raise TypeError(
            f"{name} must be floating-point noise in units of raw intensity; got "
            f"{values.dtype.name}"
        )
    return tf.cast(values, tf.float32)


def per_image(parameter: tf.Tensor) -> tf.Tensor:
    """One value for each image, `[...]`, as `[..., 1, 1, 1]`."""
    return parameter[..., tf.newaxis, tf.newaxis, tf.newaxis]
