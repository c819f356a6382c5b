"""The affine coupling layer of RealNVP and Glow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from noise_flow_tf.bijectors.one_pass import OnePassBijector, Updates


class ShiftAndLogScale(NamedTuple):
    """The output of a coupling's function for an image `[..., H, W, C]`.

    Attributes:
        shift: `[..., H, W, C]`, zero in the first C / 2 channels.
        log_scale: `[..., H, W, C]`, zero in the first C / 2 channels.
        moved: the updates that the function requests.
    """

    shift: tf.Tensor
    log_scale: tf.Tensor
    moved: Updates = ()


class AffineCoupling(OnePassBijector):
    """Scales and shifts the last half of the channels by a function of the first half.

    Eq. 10 and 11 of Noise Flow (Abdelhamed et al., ICCV 2019), in the direction of the release,
    written with a mask as in RealNVP (Dinh et al., ICLR 2017, Eq. 9): shift, log_scale = fn(x) are
    images of all channels that depend on the first half of `x` alone and are zero there, so that

        inverse(y) = y * exp(log_scale) + shift
        forward(x) = (x - shift) * exp(-log_scale)
        forward_log_det_jacobian(x) = -sum(log_scale)

    keep the first half. Splitting an image by channels would cost as much as a convolution.
    """

    def __init__(
        self, shift_and_log_scale_fn: Callable[[tf.Tensor], ShiftAndLogScale | tuple]
    ) -> None:
        """Make the bijector.

        Args:
            shift_and_log_scale_fn: maps `[..., H, W, C]` to (shift, log_scale), or to a
                `ShiftAndLogScale`; both depend on the first C / 2 channels alone and are zero in
                them.
        """
        parameters = dict(locals())
        with tf.name_scope("affine_coupling"):
            self._fn = shift_and_log_scale_fn
            super().__init__(parameters, "affine_coupling")

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {}

    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shift, log_scale, _ = ShiftAndLogScale(*self._fn(x))
        return (x - shift) * tf.exp(-log_scale), -_sum(log_scale)

    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.moving_inverse_and_log_det(y)[:2]

    def moving_inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Updates]:
        shift, log_scale, moved = ShiftAndLogScale(*self._fn(y))
        return y * tf.exp(log_scale) + shift, _sum(log_scale), list(moved)


def _sum(log_scale: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(log_scale, axis=[-3, -2, -1])
