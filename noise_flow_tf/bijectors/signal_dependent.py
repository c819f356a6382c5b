"""The signal-dependent layer: noise whose variance is affine in the clean intensity."""

from typing import Any

import tensorflow as tf
from tensorflow_probability.python.internal import parameter_properties, tensor_util

from noise_flow_tf.bijectors.one_pass import OnePassBijector, per_image
from noise_flow_tf.bijectors.shapes import same_event


class SignalDependent(OnePassBijector):
    """Scales each pixel by the standard deviation of a heteroscedastic Gaussian.

    Eq. 12 and 13 of Noise Flow (Abdelhamed et al., ICCV 2019), with I the clean intensity:

        s = sqrt(beta1 * max(I, 0) + beta2)
        forward(x) = s * x
        inverse(y) = y / s
        forward_log_det_jacobian(x) = sum(log s)

    An intensity below 0, which black level subtraction can leave, has the variance of 0.

    >>> layer = SignalDependent(tf.fill([1, 1, 1, 4], 0.5), beta1=[0.02], beta2=[0.0])
    >>> print(layer.forward(tf.ones([1, 1, 1, 4])).numpy().ravel().round(3))
    [0.1 0.1 0.1 0.1]
    """

    def __init__(self, intensity: Any, beta1: Any, beta2: Any, validate_args: bool = False) -> None:
        """Make the bijector for one batch of clean images.

        Args:
            intensity: `[..., H, W, C]`, the clean intensity I, in [0, 1] apart from its noise.
            beta1: `[...]`, the shot-noise slope, positive.
            beta2: `[...]`, the variance at zero intensity, positive.
            validate_args: whether to check now that the variance is positive.
        """
        parameters = dict(locals())
        with tf.name_scope("signal_dependent"):
            self._intensity = tensor_util.convert_nonref_to_tensor(intensity, tf.float32)
            self._beta1 = tensor_util.convert_nonref_to_tensor(beta1, tf.float32)
            self._beta2 = tensor_util.convert_nonref_to_tensor(beta2, tf.float32)
            if validate_args:
                tf.debugging.assert_positive(
                    self._variance(), "beta1 * intensity + beta2 must be positive"
                )
            super().__init__(parameters, "signal_dependent", validate_args)

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {
            "intensity": parameter_properties.ParameterProperties(event_ndims=3),
            "beta1": parameter_properties.ParameterProperties(),
            "beta2": parameter_properties.ParameterProperties(),
        }

    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variance = self._variance_for(x)
        return x * tf.sqrt(variance), _log_det(variance)

    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variance = self._variance_for(y)
        return y * tf.math.rsqrt(variance), -_log_det(variance)

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return _log_det(self._variance_for(x))

    def _variance_for(self, image: tf.Tensor) -> tf.Tensor:
        image = same_event(image, self._intensity, "the noise", "the clean image")
        with tf.control_dependencies([image]):
            return self._variance()

    def _variance(self) -> tf.Tensor:
        signal = tf.maximum(tf.convert_to_tensor(self._intensity), 0.0)
        beta1, beta2 = tf.convert_to_tensor(self._beta1), tf.convert_to_tensor(self._beta2)
        return per_image(beta1) * signal + per_image(beta2)


def _log_det(variance: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.reduce_sum(tf.math.log(variance), axis=[-3, -2, -1])
