"""The signal-dependent layer: noise whose variance is affine in the clean intensity."""

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import parameter_properties

tfb = tfp.bijectors


class SignalDependent(tfb.Bijector):
    """Scales each pixel by the standard deviation of a heteroscedastic Gaussian.

    Eq. 12 and 13 of Noise Flow (Abdelhamed et al., ICCV 2019), with I the clean intensity:

        s = sqrt(beta1 * I + beta2)
        forward(x) = s * x
        inverse(y) = y / s
        forward_log_det_jacobian(x) = sum(log s)

    >>> layer = SignalDependent(tf.fill([1, 1, 1, 4], 0.5), beta1=[0.02], beta2=[0.0])
    >>> print(layer.forward(tf.ones([1, 1, 1, 4])).numpy().ravel().round(3))
    [0.1 0.1 0.1 0.1]
    """

    def __init__(self, intensity, beta1, beta2, validate_args=False, name="signal_dependent"):
        """Builds the layer for one batch of clean images.

        Args:
            intensity: `[B, H, W, C]`, the clean intensity I in [0, 1], not negative.
            beta1: `[B]`, the shot-noise slope, positive.
            beta2: `[B]`, the variance at zero intensity, positive.
            validate_args: whether to check at run time that the variance is positive.
            name: the name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._intensity = tf.convert_to_tensor(intensity, tf.float32, name="intensity")
            self._beta1 = tf.convert_to_tensor(beta1, tf.float32, name="beta1")
            self._beta2 = tf.convert_to_tensor(beta2, tf.float32, name="beta2")
            variance = _per_image(self._beta1) * self._intensity + _per_image(self._beta2)
            if validate_args:
                tf.debugging.assert_positive(variance, "beta1 * intensity + beta2 must be positive")
            self._variance = variance
            super().__init__(
                forward_min_event_ndims=3,
                validate_args=validate_args,
                parameters=parameters,
                dtype=tf.float32,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype):
        return {
            "intensity": parameter_properties.ParameterProperties(event_ndims=3),
            "beta1": parameter_properties.ParameterProperties(),
            "beta2": parameter_properties.ParameterProperties(),
        }

    def _forward(self, x):
        return x * tf.sqrt(self._variance)

    def _inverse(self, y):
        return y * tf.math.rsqrt(self._variance)

    def _forward_log_det_jacobian(self, x):
        return 0.5 * tf.reduce_sum(tf.math.log(self._variance), axis=[-3, -2, -1])


def _per_image(parameter: tf.Tensor) -> tf.Tensor:
    return parameter[..., tf.newaxis, tf.newaxis, tf.newaxis]
