"""Training of a new camera's parameters."""

import tensorflow as tf
import tf_keras

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.training.trainer import Trainer


def fit_camera(
    model: NoiseFlow,
    camera: str,
    batches: tf.data.Dataset,
    steps: int = 300,
    learning_rate: float = 0.05,
) -> NoiseFlow:
    """Train the parameters of one camera, such as one that `with_camera` added.

    Maximum likelihood (Eq. 8 of the paper) by Adam under a cosine decay to zero. The likelihoods of
    all other cameras stay the same bit for bit.

    Args:
        model: the model; it is trained in place.
        camera: the camera's code.
        batches: pairs of that camera, as `Trainer` takes them; repeated as `steps` needs.
        steps: how many batches to train on.
        learning_rate: the highest one, at the start.

    Returns:
        `model`.

    Raises:
        ValueError: an unknown camera, an architecture without camera parameters, or no batch.
    """
    trainer = Trainer(model, camera)
    if not list(batches.take(1)):
        raise ValueError("the dataset of the new camera has no batch")
    rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    trainer.compile(tf_keras.optimizers.Adam(rate, epsilon=1e-8))
    trainer.fit(batches.repeat(), steps_per_epoch=steps, epochs=1, verbose=0)
    return model
