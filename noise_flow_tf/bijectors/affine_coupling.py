"""The affine coupling layer of RealNVP and Glow."""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors


class AffineCoupling(tfb.Bijector):
    """Scales and shifts the last half of the channels by a function of the first half.

    Eq. 10 and 11 of Noise Flow (Abdelhamed et al., ICCV 2019), in the direction of the release:
    with (a, b) the halves of the channels, and shift, log_scale = fn(a),

        inverse(y) = (a, b * exp(log_scale) + shift)
        forward(x) = (a, (b - shift) * exp(-log_scale))
        forward_log_det_jacobian(x) = -sum(log_scale)

    `fn` runs once for an image: a bijector's log-det is asked for apart from its value, so the
    outcome for the last image is kept.
    """

    def __init__(
        self,
        shift_and_log_scale_fn: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        validate_args=False,
        name="affine_coupling",
    ):
        """Builds the layer.

        Args:
            shift_and_log_scale_fn: maps `[..., H, W, C / 2]` to two tensors of that shape.
            validate_args: kept for the bijector interface; nothing is checked at run time.
            name: the name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._fn = shift_and_log_scale_fn
            self._known: list[tf.Tensor] = []
            self._outcome: tuple[tf.Tensor, tf.Tensor] | None = None
            super().__init__(
                forward_min_event_ndims=3,
                validate_args=validate_args,
                parameters=parameters,
                dtype=tf.float32,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _forward(self, x):
        a, b = tf.split(x, 2, axis=-1)
        shift, log_scale = self._shift_and_log_scale(x, a)
        y = tf.concat([a, (b - shift) * tf.exp(-log_scale)], axis=-1)
        self._known.append(y)
        return y

    def _inverse(self, y):
        a, b = tf.split(y, 2, axis=-1)
        shift, log_scale = self._shift_and_log_scale(y, a)
        x = tf.concat([a, b * tf.exp(log_scale) + shift], axis=-1)
        self._known.append(x)
        return x

    def _forward_log_det_jacobian(self, x):
        _, log_scale = self._shift_and_log_scale(x, x[..., : x.shape[-1] // 2])
        return -tf.reduce_sum(log_scale, axis=[-3, -2, -1])

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)

    def _shift_and_log_scale(self, image, first_half):
        """`fn` of the first half, which is the same in the data and in the latent."""
        if not any(image is known for known in self._known):
            self._outcome = self._fn(first_half)
            self._known = [image]
        return self._outcome
