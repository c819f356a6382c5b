"""The affine coupling layer of RealNVP and Glow."""

import weakref
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors


class AffineCoupling(tfb.Bijector):
    """Scales and shifts the last half of the channels by a function of the first half.

    Eq. 10 and 11 of Noise Flow (Abdelhamed et al., ICCV 2019), in the direction of the release,
    written with a mask as in RealNVP (Dinh et al., ICLR 2017, Eq. 9): shift, log_scale = fn(x) are
    images of all channels that look at the first half of `x` alone and are zero there, so that

        inverse(y) = y * exp(log_scale) + shift
        forward(x) = (x - shift) * exp(-log_scale)
        forward_log_det_jacobian(x) = -sum(log_scale)

    keep the first half. Cutting an image into its channels would cost as much as a convolution.
    `fn` runs once for an image: a bijector's log-det is asked for apart from its value, so the
    outcome for the last image is kept, as long as that image lives.
    """

    def __init__(
        self,
        shift_and_log_scale_fn: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        validate_args=False,
        name="affine_coupling",
    ):
        """Builds the layer.

        Args:
            shift_and_log_scale_fn: maps `[..., H, W, C]` to two tensors of that shape, which depend
                on the first C / 2 channels alone and are zero in them. For `look_together` it also
                maps a list of images to a list of such pairs.
            validate_args: kept for the bijector interface; nothing is checked at run time.
            name: the name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._fn = shift_and_log_scale_fn
            self._known: list[weakref.ref] = []
            self._outcome: tuple[tf.Tensor, tf.Tensor] | None = None
            super().__init__(
                forward_min_event_ndims=3,
                validate_args=validate_args,
                parameters=parameters,
                dtype=tf.float32,
                name=name,
            )

    @staticmethod
    def look_together(couplings: Sequence["AffineCoupling"], images: Sequence[tf.Tensor]) -> None:
        """Runs the function that couplings have in common on an image for each, all at once."""
        pairs = list(zip(couplings, images, strict=True))
        if not all(coupling._knows(image) for coupling, image in pairs):
            outcomes = couplings[0]._fn(list(images))
            for (coupling, image), outcome in zip(pairs, outcomes, strict=True):
                coupling._keep(image, outcome)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _forward(self, x):
        shift, log_scale = self._shift_and_log_scale(x)
        y = (x - shift) * tf.exp(-log_scale)
        self._known.append(weakref.ref(y))
        return y

    def _inverse(self, y):
        shift, log_scale = self._shift_and_log_scale(y)
        x = y * tf.exp(log_scale) + shift
        self._known.append(weakref.ref(x))
        return x

    def _forward_log_det_jacobian(self, x):
        _, log_scale = self._shift_and_log_scale(x)
        return -tf.reduce_sum(log_scale, axis=[-3, -2, -1])

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)

    def _shift_and_log_scale(self, image):
        """`fn` of an image, whose first half is the same in the data and in the latent."""
        if not self._knows(image):
            self._keep(image, self._fn(image))
        return self._outcome

    def _knows(self, image):
        return any(image is known() for known in self._known)

    def _keep(self, image, outcome):
        self._outcome = outcome
        self._known = [weakref.ref(image)]
