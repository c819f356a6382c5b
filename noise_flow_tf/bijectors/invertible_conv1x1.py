"""The invertible 1x1 convolution of Glow in its LU parametrization."""

import math

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import parameter_properties

from noise_flow_tf.shapes import sizes

tfb = tfp.bijectors


class InvertibleConv1x1(tfb.Bijector):
    """Mixes the channels of each pixel by one invertible matrix.

    Section 3.2 of Glow (Kingma and Dhariwal, NeurIPS 2018). A pixel is a row vector; the density
    direction multiplies it by A = P L U, sampling by the inverse from triangular solves:

        inverse(y) = y A
        forward(x) = x A^-1
        forward_log_det_jacobian(x) = -H * W * sum(log |diag U|)
    """

    def __init__(
        self, permutation, lower, upper, log_diagonal, validate_args=False, name="conv1x1"
    ):
        """Builds the layer.

        Args:
            permutation: `[C, C]`, the permutation matrix P.
            lower: `[C, C]`, the unit lower triangular L.
            upper: `[C, C]`, the upper triangular U.
            log_diagonal: `[C]`, log |diag U|, given apart because it is what training knows.
            validate_args: kept for the bijector interface; nothing is checked at run time.
            name: the name of the bijector.

        Raises:
            ValueError: the matrices are not square or not of one size.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._permutation = tf.convert_to_tensor(permutation, tf.float32, name="permutation")
            self._lower = tf.convert_to_tensor(lower, tf.float32, name="lower")
            self._upper = tf.convert_to_tensor(upper, tf.float32, name="upper")
            self._log_diagonal = tf.convert_to_tensor(log_diagonal, tf.float32, name="log_diagonal")
            channels = self._log_diagonal.shape[-1]
            for matrix in (self._permutation, self._lower, self._upper):
                if matrix.shape != [channels, channels]:
                    raise ValueError(
                        f"permutation, lower and upper must be [{channels}, {channels}] as "
                        f"log_diagonal has {channels} values; got shape {matrix.shape.as_list()}"
                    )
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
            "permutation": parameter_properties.ParameterProperties(event_ndims=2),
            "lower": parameter_properties.ParameterProperties(event_ndims=2),
            "upper": parameter_properties.ParameterProperties(event_ndims=2),
            "log_diagonal": parameter_properties.ParameterProperties(event_ndims=1),
        }

    def _forward(self, x):
        transposed = tf.linalg.matrix_transpose(self._permutation)
        unmixed = tf.linalg.triangular_solve(self._lower, transposed, lower=True)
        return _mix(x, tf.linalg.triangular_solve(self._upper, unmixed, lower=False))

    def _inverse(self, y):
        return _mix(y, self._permutation @ self._lower @ self._upper)

    def _forward_log_det_jacobian(self, x):
        pixels = tf.cast(math.prod(sizes(x)[-3:-1]), x.dtype)
        return -pixels * tf.reduce_sum(self._log_diagonal)


def _mix(image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(image, matrix[tf.newaxis, tf.newaxis], strides=1, padding="VALID")
