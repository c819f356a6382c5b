"""The invertible 1x1 convolution of Glow in its LU parametrization."""

import math
from typing import Any

import tensorflow as tf
from tensorflow_probability.python.internal import parameter_properties, tensor_util

from noise_flow_tf.bijectors.one_pass import OnePassBijector
from noise_flow_tf.bijectors.shapes import as_batch, sizes


class InvertibleConv1x1(OnePassBijector):
    """Mixes the channels of each pixel by one invertible matrix.

    Section 3.2 of Glow (Kingma and Dhariwal, NeurIPS 2018). A pixel is a row vector; the density
    multiplies it by A = P L U, sampling by A^-1, from triangular solves:

        inverse(y) = y A
        forward(x) = x A^-1
        forward_log_det_jacobian(x) = -H * W * sum(log |diag U|)
    """

    def __init__(self, permutation: Any, lower: Any, upper: Any, log_diagonal: Any) -> None:
        """Make the bijector.

        Args:
            permutation: `[C, C]`, the permutation matrix P.
            lower: `[C, C]`, the unit lower triangular L.
            upper: `[C, C]`, the upper triangular U.
            log_diagonal: `[C]`, log |diag U|; an argument of its own as it is what is trained.

        Raises:
            ValueError: the matrices are not square or not of one size.
        """
        parameters = dict(locals())
        with tf.name_scope("conv1x1"):
            self._permutation = tensor_util.convert_nonref_to_tensor(permutation, tf.float32)
            self._lower = tensor_util.convert_nonref_to_tensor(lower, tf.float32)
            self._upper = tensor_util.convert_nonref_to_tensor(upper, tf.float32)
            self._log_diagonal = tensor_util.convert_nonref_to_tensor(log_diagonal, tf.float32)
            channels = self._log_diagonal.shape[-1]
            for matrix in (self._permutation, self._lower, self._upper):
                if matrix.shape != [channels, channels]:
                    raise ValueError(
                        f"permutation, lower and upper must be [{channels}, {channels}] as "
                        f"log_diagonal has {channels} values; got shape {matrix.shape.as_list()}"
                    )
            super().__init__(parameters, "conv1x1")

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {
            "permutation": parameter_properties.ParameterProperties(event_ndims=2),
            "lower": parameter_properties.ParameterProperties(event_ndims=2),
            "upper": parameter_properties.ParameterProperties(event_ndims=2),
            "log_diagonal": parameter_properties.ParameterProperties(event_ndims=1),
        }

    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        transposed = tf.linalg.matrix_transpose(tf.convert_to_tensor(self._permutation))
        lower, upper = tf.convert_to_tensor(self._lower), tf.convert_to_tensor(self._upper)
        unmixed = tf.linalg.triangular_solve(lower, transposed, lower=True)
        inverse = tf.linalg.triangular_solve(upper, unmixed, lower=False)
        return _mix(x, inverse), self._forward_log_det_jacobian(x)

    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        permutation = tf.convert_to_tensor(self._permutation)
        lower, upper = tf.convert_to_tensor(self._lower), tf.convert_to_tensor(self._upper)
        return _mix(y, permutation @ lower @ upper), -self._forward_log_det_jacobian(y)

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(math.prod(sizes(x)[-3:-1]), tf.float32)
        return -pixels * tf.reduce_sum(tf.convert_to_tensor(self._log_diagonal))


def _mix(image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    kernel = matrix[tf.newaxis, tf.newaxis]
    mixed = tf.nn.conv2d(as_batch(image), kernel, strides=1, padding="VALID")
    return mixed if image.shape.rank == 4 else tf.reshape(mixed, sizes(image))
