"""What the layers have in common."""

import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.conditions import Conditions, Known

CHANNELS = 4


class Layer(tf.Module):
    """A trainable part of the flow.

    Each has a method `bijectors(conditions: Conditions, training: bool)`: the part's bijectors for
    a batch, from the data side to the latent side. `reach` is how many pixels away these look.
    A layer with parameters of its own for each camera names their variable, cameras along the last
    axis, in `of_cameras`; `added` is one more column of it, trained apart (`new_camera`).
    """

    reach = 0
    of_cameras: str | None = None
    known: Known | None = None
    added: tf.Variable | None = None

    def curves(self) -> dict[str, tf.Tensor]:
        """The scalars that tell a person what the part has learned, by name."""
        return {}

    def _at_camera(self, conditions: Conditions) -> tf.Tensor:
        """The camera parameters of each example, `[..., B]`."""
        return tf.gather(self.camera_table(), conditions.camera, axis=-1)

    def camera_table(self) -> tf.Tensor:
        """The camera parameters `[..., cameras]`, those of an added camera last."""
        table = tf.convert_to_tensor(getattr(self, self.of_cameras))
        if self.added is None:
            return table
        return tf.concat([table, self.added[..., tf.newaxis]], axis=-1)


def live(value, variable, conditions=None, shape=None):
    """What `value()` gives at each use, a function of `variable` and others.

    Of the shape of the batch of `conditions`, or of another `shape`.
    """
    shape = conditions.iso.shape if shape is None else shape
    return tfp.util.DeferredTensor(variable, lambda _: value(), shape=shape)
