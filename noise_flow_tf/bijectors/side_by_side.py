"""The parts of a batch side by side."""

import weakref
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors


class SideBySide(tfb.Bijector):
    """Applies a bijector of its own to each part of a batch.

    With couplings of few channels each operation is so small that a second thread hardly speeds it
    up. Parts that do not depend on each other can run at the same time, one on each core.
    """

    def __init__(
        self,
        bijectors: Sequence[tfb.Bijector],
        sizes: Sequence[int],
        validate_args=False,
        name="side_by_side",
    ):
        """Builds the bijector.

        Args:
            bijectors: one for each part, of images `[..., b, H, W, C]`.
            sizes: how many images each part has; together those of the batch.
            validate_args: kept for the bijector interface; nothing is checked at run time.
            name: the name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._bijectors = list(bijectors)
            self._sizes = list(sizes)
            self._known: list[tuple[weakref.ref, list[tf.Tensor]]] = []
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
        return self._join([b.forward(part) for b, part in self._parts(x)])

    def _inverse(self, y):
        return self._join([b.inverse(part) for b, part in self._parts(y)])

    def _forward_log_det_jacobian(self, x):
        return self._log_det(
            [(b.forward_log_det_jacobian(part), part) for b, part in self._parts(x)]
        )

    def _inverse_log_det_jacobian(self, y):
        return self._log_det(
            [(b.inverse_log_det_jacobian(part), part) for b, part in self._parts(y)]
        )

    @staticmethod
    def _log_det(of_parts):
        return tf.concat(
            [tf.broadcast_to(log_det, tf.shape(part)[:-3]) for log_det, part in of_parts], axis=-1
        )

    def _parts(self, image):
        """Each bijector with its part of an image: the one it knows, if the image was made of them.

        A bijector's log-det is asked for apart from its value, and finds what it has in common with
        it by the tensor.
        """
        parts = next((parts for known, parts in self._known if image is known()), None)
        if parts is None:
            whole = tf.broadcast_to(
                image, tf.broadcast_dynamic_shape(tf.shape(image), [sum(self._sizes), 1, 1, 1])
            )
            parts = tf.split(whole, self._sizes, axis=-4)
            self._remember(image, parts)
        return zip(self._bijectors, parts, strict=True)

    def _join(self, parts):
        image = tf.concat(parts, axis=-4)
        self._remember(image, parts)
        return image

    def _remember(self, image, parts):
        self._known = [*self._known[-1:], (weakref.ref(image), parts)]
