"""Training a denoiser by Keras."""

from collections.abc import Iterable

import tensorflow as tf
import tf_keras

from noise_flow_tf.denoising.dncnn import DnCNN

_LEAST_ERROR = 1e-10


def psnr(clean: tf.Tensor, denoised: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio `[B]` in dB of images `[B, H, W, 4]`, for a peak of 1.

    The denoised image is clipped to [0, 1] first; 100 dB is the most.

    >>> print(psnr(tf.zeros([1, 8, 8, 4]), tf.fill([1, 8, 8, 4], 0.1)).numpy().round(3))
    [20.]
    """
    error = tf.square(tf.clip_by_value(denoised, 0.0, 1.0) - clean)
    mean = tf.maximum(tf.reduce_mean(error, axis=[1, 2, 3]), _LEAST_ERROR)
    return -10 * tf.math.log(mean) / tf.math.log(10.0)


class DenoiserTrainer(tf_keras.Model):
    """A Keras model that trains a denoiser on batches `(noisy, clean)`.

    The loss is the release's, half the sum of squared errors, summed over the batch as well; as
    `loss` its mean over patches is reported, and as `psnr` the mean over patches of `psnr`.

    Its own steps, not those of `compile(loss=..., metrics=...)`: Keras makes such metrics at the
    first step only, and the checkpoint of an interrupted epoch has to give them their sums back.
    """

    def __init__(self, network: DnCNN):
        """Makes the trainer of `network`."""
        super().__init__()
        self.network = network
        self._loss = tf_keras.metrics.Mean(name="loss")
        self._psnr = tf_keras.metrics.Mean(name="psnr")

    @property
    def metrics(self):
        return [self._loss, self._psnr]

    @property
    def checkpointed(self) -> dict[str, tf.Module]:
        """What of the model a checkpoint holds, by name."""
        return {"network": self.network}

    def call(self, noisy, training=False):
        """The denoised batch."""
        return self.network(noisy, training=training)

    def train_step(self, data):
        noisy, clean = data
        with tf.GradientTape() as tape:
            denoised = self.network(noisy, training=True)
            losses = _half_squared_errors(clean, denoised)
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply_gradients(
            zip(gradients, self.network.trainable_variables, strict=True)
        )
        return self._report(losses, clean, denoised)

    def test_step(self, data):
        noisy, clean = data
        denoised = self.network(noisy)
        return self._report(_half_squared_errors(clean, denoised), clean, denoised)

    def reestimate_averages(self, batches: Iterable) -> None:
        """Sets batch norm's averages to the mean of the moments that batches have.

        With momentum 0 they are those of the last training batch alone, which differ from batch to
        batch by what noise it had (see `Trainer.reestimate_averages`).

        Args:
            batches: as for training.

        Raises:
            ValueError: there is no batch.
        """
        averages = [v for n in self.network.batch_norms for v in (n.moving_mean, n.moving_variance)]
        sums = [tf.zeros_like(average) for average in averages]
        count = 0
        for batch in self.distribute_strategy.experimental_distribute_dataset(batches):
            self._move_averages(batch)
            sums = [total + average for total, average in zip(sums, averages, strict=True)]
            count += 1
        if not count:
            raise ValueError("batch norm's averages need at least one batch")
        for total, average in zip(sums, averages, strict=True):
            average.assign(total / count)

    @tf.function(reduce_retracing=True)
    def _move_averages(self, batch):
        def of_replica(batch):
            self.network(batch[0], training=True)

        self.distribute_strategy.run(of_replica, [batch])

    def _report(self, losses, clean, denoised):
        self._loss.update_state(losses)
        self._psnr.update_state(psnr(clean, denoised))
        return {metric.name: metric.result() for metric in self.metrics}


def _half_squared_errors(clean: tf.Tensor, denoised: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(denoised - clean), axis=[1, 2, 3]) / 2
