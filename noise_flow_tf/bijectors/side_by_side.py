"""The parts of a batch side by side."""

import weakref
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.bijectors.affine_coupling import AffineCoupling

tfb = tfp.bijectors


class Cut:
    """How the batches of one flow are cut into parts; knows the parts of what was put together.

    Between two layers nobody needs the whole batch. It is put together for the sake of their
    interface, and a graph leaves out what nobody needs.
    """

    def __init__(self, sizes: Sequence[int]):
        """Cuts batches into parts of so many images."""
        self._sizes = list(sizes)
        self._known: list[tuple[weakref.ref, list[tf.Tensor]]] = []

    def parts(self, image: tf.Tensor) -> list[tf.Tensor]:
        """The parts of a batch `[..., B, H, W, C]`, or of one that broadcasts to it."""
        parts = next((parts for known, parts in self._known if image is known()), None)
        if parts is None:
            batch = [sum(self._sizes), 1, 1, 1]
            shape = tf.broadcast_dynamic_shape(tf.shape(image), batch)
            parts = tf.split(tf.broadcast_to(image, shape), self._sizes, axis=-4)
            self._remember(image, parts)
        return parts

    def join(self, parts: list[tf.Tensor]) -> tf.Tensor:
        """The batch of these parts."""
        image = tf.concat(parts, axis=-4)
        self._remember(image, parts)
        return image

    def _remember(self, image, parts):
        alive = [entry for entry in self._known if entry[0]() is not None]
        self._known = [*alive, (weakref.ref(image), parts)]


class SideBySide(tfb.Bijector):
    """Applies a bijector of its own to each part of a batch.

    With couplings of few channels each operation is so small that a second thread hardly speeds it
    up. Parts that do not depend on each other can run at the same time, one on each core. Couplings
    look at their parts together, as batch norm may need the moments of all.
    """

    def __init__(
        self,
        bijectors: Sequence[tfb.Bijector],
        cut: Cut,
        validate_args=False,
        name="side_by_side",
    ):
        """Builds the bijector.

        Args:
            bijectors: one for each part, of images `[..., b, H, W, C]`.
            cut: how batches are cut; bijectors of one chain share it.
            validate_args: kept for the bijector interface; nothing is checked at run time.
            name: the name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name):
            self._bijectors = list(bijectors)
            self._cut = cut
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
        return self._cut.join([b.forward(part) for b, part in self._parts(x)])

    def _inverse(self, y):
        return self._cut.join([b.inverse(part) for b, part in self._parts(y)])

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
        parts = self._cut.parts(image)
        if all(isinstance(b, AffineCoupling) for b in self._bijectors):
            AffineCoupling.look_together(self._bijectors, parts)
        return zip(self._bijectors, parts, strict=True)
