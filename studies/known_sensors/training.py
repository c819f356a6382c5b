"""Noise Flow trained on the noise of a sensor."""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf.training import schedules
from noise_flow_tf.training.names import BETA_2, RATES
from studies.known_sensors.noise import Condition, Part, batch_of

_BATCH = 16
_AVERAGE_BATCHES = 100


def trained(train: Mapping[Condition, Part], steps: int, seed: int) -> nf.NoiseFlow:
    """Train a Noise Flow as `noise-flow train` does, with the cosine schedule."""
    tf_keras.utils.set_random_seed(seed)
    batches = [{**batch_of(p.clean, c), "noise": tf.constant(p.noise)} for c, p in train.items()]
    data = {name: tf.concat([b[name] for b in batches], axis=0) for name in batches[0]}
    count = len(data["iso"])
    source = tf.data.Dataset.from_tensor_slices(data).shuffle(count, seed).repeat()
    source = source.batch(_BATCH, drop_remainder=True).prefetch(2)
    trainer = nf.Trainer(nf.NoiseFlow(seed=seed))
    trainer.compile(schedules.adam("cosine", RATES["cosine"], steps, beta_2=BETA_2["cosine"]))
    trainer.fit(source, steps_per_epoch=steps, epochs=1, verbose=0)
    trainer.reestimate_averages(source.take(_AVERAGE_BATCHES))
    return trainer.noise_model
