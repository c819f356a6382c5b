"""The gain layer: one scale for a whole image."""

import math

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import parameter_properties

from noise_flow_tf.shapes import sizes

tfb = tfp.bijectors


class Gain(tfb.Bijector):
    """Scales an image by the gain of its sensor.

    Eq. 14 and 15 of Noise Flow (Abdelhamed et al., ICCV 2019), with D = H * W * C:

        forward(x) = gamma * x
        inverse(y) = y / gamma
        forward_log_det_jacobian(x) = D * log(gamma)

    >>> print(Gain([2.0]).forward_log_det_jacobian(tf.zeros([1, 2, 2, 4]), 3).numpy().round(2))
    [11.09]
    """

    def __init__(self, gamma, validate_args=False, name="gain"):
        """Builds the layer.

        Args:
            gamma: `[B]` or a scalar, the gain, positive.
            validate_args: whether to check at run time that `gamma` is positive.
            name: the name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._gamma = tf.convert_to_tensor(gamma, tf.float32, name="gamma")
            if validate_args:
                tf.debugging.assert_positive(self._gamma, "gamma must be positive")
            super().__init__(
                forward_min_event_ndims=3,
                validate_args=validate_args,
                parameters=parameters,
                dtype=tf.float32,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype):
        return {"gamma": parameter_properties.ParameterProperties()}

    def _forward(self, x):
        return x * self._gamma[..., tf.newaxis, tf.newaxis, tf.newaxis]

    def _inverse(self, y):
        return y / self._gamma[..., tf.newaxis, tf.newaxis, tf.newaxis]

    def _forward_log_det_jacobian(self, x):
        dimensions = tf.cast(math.prod(sizes(x)[-3:]), x.dtype)
        return dimensions * tf.math.log(self._gamma)
