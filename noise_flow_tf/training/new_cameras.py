"""Training of a new camera's parameters."""

import tensorflow as tf
import tf_keras

from noise_flow_tf.new_camera import NewCamera
from noise_flow_tf.training.trainer import Trainer


def fit_camera(
    model: NewCamera, batches: tf.data.Dataset, steps: int = 300, learning_rate: float = 0.05
) -> NewCamera:
    """Trains the parameters of a camera that `add_camera` added, on pairs of that camera.

    Maximum likelihood (Eq. 8 of the paper) by Adam under a cosine decay to zero.

    Args:
        model: what `add_camera` gave; it is trained in place.
        batches: as `Trainer` takes them, `{"noise", "clean", "iso", "camera"}` with the camera's
            code or its index in `model.cameras`; gone through as often as `steps` needs.
        steps: how many batches to train on.
        learning_rate: the highest one, at the start.

    Returns:
        `model`.

    Raises:
        ValueError: a model that `add_camera` did not make, or no batch.
    """
    if not isinstance(model, NewCamera):
        raise ValueError(
            "the model has no camera to train apart from the rest; add_camera(model, name) adds one"
        )
    if not list(batches.take(1)):
        raise ValueError("the dataset of the new camera has no batch")
    trainer = Trainer(model)
    rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    trainer.compile(tf_keras.optimizers.Adam(rate, epsilon=1e-8))
    trainer.fit(batches.repeat(), steps_per_epoch=steps, epochs=1, verbose=0)
    return model
