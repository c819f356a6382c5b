"""Training a denoiser by Keras."""

from collections.abc import Iterable

import tensorflow as tf
import tf_keras

from noise_flow_tf.denoising.dncnn import DnCNN
from noise_flow_tf.training.steps import CheckedTrainer, Outcome

RELEASE_DROPS = {30: 10, 60: 20}
"""After which epochs the release's learning rate is divided by what."""

_LEAST_ERROR = 1e-10


def psnr(clean: tf.Tensor, denoised: tf.Tensor) -> tf.Tensor:
    """Return the peak signal-to-noise ratio `[B]` in dB of images `[B, H, W, 4]`, for a peak of 1.

    The denoised image is clipped to [0, 1] first; 100 dB is the most.

    >>> print(psnr(tf.zeros([1, 8, 8, 4]), tf.fill([1, 8, 8, 4], 0.1)).numpy().round(3))
    [20.]
    """
    error = tf.square(tf.clip_by_value(denoised, 0.0, 1.0) - clean)
    mean = tf.maximum(tf.reduce_mean(error, axis=[1, 2, 3]), _LEAST_ERROR)
    return -10 * tf.math.log(mean) / tf.math.log(10.0)


class DenoiserTrainer(CheckedTrainer):
    """A Keras model that trains a denoiser on batches `(noisy, clean)`.

    The loss is the release's, half the sum of squared errors, summed over the batch as well; as
    `loss` its mean over patches is reported, and as `psnr` the mean over patches of `psnr`.
    """

    def __init__(self, network: DnCNN) -> None:
        """Make the trainer of `network`."""
        super().__init__()
        self.network = network
        self._loss = tf_keras.metrics.Mean(name="loss")
        self._psnr = tf_keras.metrics.Mean(name="psnr")

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        return [self._loss, self._psnr]

    @property
    def checkpointed(self) -> dict[str, tf.Module]:
        return {"network": self.network}

    def call(self, noisy: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the denoised batch."""
        return self.network(noisy, training=training)

    def outcome(self, data: tuple[tf.Tensor, tf.Tensor], training: bool = True) -> Outcome:
        noisy, clean = data
        denoised = self.network(noisy, training=training)
        losses = tf.reduce_sum(tf.square(denoised - clean), axis=[1, 2, 3]) / 2
        return Outcome(losses, tf.reduce_sum(losses), [clean, denoised], images=[noisy, clean])

    def update_metrics(self, losses: tf.Tensor, *measured: tf.Tensor) -> None:
        self._loss.update_state(losses)
        self._psnr.update_state(psnr(*measured))

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        outcome = self.outcome(data, training=False)
        return self.report(outcome.losses, *outcome.measured)

    def reestimate_averages(self, batches: Iterable) -> None:
        """Set batch norm's averages to the mean of the moments that batches have.

        With momentum 0 they are those of the last training batch alone, which differ from batch to
        batch by what noise it had (see `Trainer.reestimate_averages`).

        Raises:
            ValueError: there is no batch.
        """
        averages = [v for n in self.network.batch_norms for v in (n.moving_mean, n.moving_variance)]
        sums = [tf.zeros_like(average) for average in averages]
        count = 0
        for _ in self.moving_averages(batches):
            sums = list(map(tf.add, sums, averages))
            count += 1
        for total, average in zip(sums, averages, strict=True):
            average.assign(total / count)
