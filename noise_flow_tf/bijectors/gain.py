"""The gain layer: one scale for a whole image."""

import math
from typing import Any

import tensorflow as tf
from tensorflow_probability.python.internal import parameter_properties, tensor_util

from noise_flow_tf.bijectors.one_pass import OnePassBijector, per_image
from noise_flow_tf.bijectors.shapes import sizes


class Gain(OnePassBijector):
    """Scales an image by the gain of its sensor.

    Eq. 14 and 15 of Noise Flow (Abdelhamed et al., ICCV 2019), with D = H * W * C:

        forward(x) = gamma * x
        inverse(y) = y / gamma
        forward_log_det_jacobian(x) = D * log(gamma)

    >>> print(Gain([2.0]).forward_log_det_jacobian(tf.zeros([1, 2, 2, 4]), 3).numpy().round(2))
    [11.09]
    """

    def __init__(self, gamma: Any, validate_args: bool = False) -> None:
        """Make the bijector.

        Args:
            gamma: `[...]`, the gain of each image, or a scalar; positive.
            validate_args: whether to check now that `gamma` is positive.
        """
        parameters = dict(locals())
        with tf.name_scope("gain"):
            self._gamma = tensor_util.convert_nonref_to_tensor(gamma, tf.float32)
            if validate_args:
                tf.debugging.assert_positive(self._gamma, "gamma must be positive")
            super().__init__(parameters, "gain", validate_args)

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {"gamma": parameter_properties.ParameterProperties()}

    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        gamma = tf.convert_to_tensor(self._gamma)
        return x * per_image(gamma), _log_det(gamma, x)

    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        gamma = tf.convert_to_tensor(self._gamma)
        return y / per_image(gamma), -_log_det(gamma, y)

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return _log_det(tf.convert_to_tensor(self._gamma), x)


def _log_det(gamma: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    dimensions = tf.cast(math.prod(sizes(image)[-3:]), tf.float32)
    return dimensions * tf.math.log(gamma)
