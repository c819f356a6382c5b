"""Training by Keras: one step of maximum likelihood, and the metrics beside it."""

from typing import Any

import tensorflow as tf
import tf_keras

from noise_flow_tf.metrics import nll_per_dimension


class Trainer(tf_keras.Model):
    """A Keras model that fits a noise model to batches of patches.

    Datasets give `{"noise", "clean", "iso", "camera"}` batches; further keys are ignored. The loss
    is the release's, the mean over the batch of the negative log-likelihood in nats per patch
    (Eq. 8 of the paper). Reported are `nll`, in nats per dimension, and `latent_stddev`, the spread
    of the latent, which is 1 where the model fits.

    >>> from noise_flow_tf import NoiseFlow
    >>> trainer = Trainer(NoiseFlow("S-G", seed=0))
    >>> trainer.compile(tf_keras.optimizers.Adam(1e-4, epsilon=1e-8))
    """

    def __init__(self, noise_model: Any, **kwargs):
        """Makes the trainer of `noise_model`, a `NoiseFlow` or what is called like one."""
        super().__init__(**kwargs)
        self.noise_model = noise_model
        self._loss = tf_keras.metrics.Mean(name="loss")
        self._nll = tf_keras.metrics.Mean(name="nll")
        self._latent_stddev = tf_keras.metrics.RootMeanSquaredError(name="latent_stddev")

    @property
    def metrics(self):
        return [self._loss, self._nll, self._latent_stddev]

    def call(self, batch, training=False):
        """The distribution of the noise of a batch."""
        return self.noise_model(batch["clean"], batch["iso"], batch["camera"], training=training)

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            p = self(batch, training=True)
            nll = -p.log_prob(batch["noise"])
            loss = tf.reduce_sum(nll) / _global_batch_size(nll)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._report(p, nll, batch["noise"])

    def test_step(self, batch):
        p = self(batch)
        return self._report(p, -p.log_prob(batch["noise"]), batch["noise"])

    def _report(self, p, nll, noise):
        self._loss.update_state(nll)
        self._nll.update_state(nll_per_dimension(-nll, noise))
        latent = p.bijector.inverse(noise)
        self._latent_stddev.update_state(tf.zeros_like(latent), latent)
        return {metric.name: metric.result() for metric in self.metrics}


def _global_batch_size(nll: tf.Tensor) -> tf.Tensor:
    """How many patches the batch has on all replicas, whose gradients Keras adds up."""
    size = tf.cast(tf.size(nll), nll.dtype)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return size
    return context.all_reduce(tf.distribute.ReduceOp.SUM, size)
