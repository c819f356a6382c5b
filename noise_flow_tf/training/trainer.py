"""Training by Keras: one step of maximum likelihood, and the metrics beside it."""

import re
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tf_keras

from noise_flow_tf.coupling_network import BATCH_NORM_UPDATE, Moments
from noise_flow_tf.metrics import nll_per_dimension

_NOT_FINITE = "the loss or its gradient is not finite"
_FAILED = re.compile(rf"\[{_NOT_FINITE}\] \[(\d+)\]" + r" \[(.*?)\]" * 4)


class DivergedError(ValueError):
    """Training met a loss or a gradient that is not finite; no weight has been moved by it."""


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

    @property
    def checkpointed(self) -> dict[str, tf.Module]:
        """What of the model a checkpoint holds, by name."""
        return {"noise_model": self.noise_model}

    def compile(self, *args, **kwargs):
        """Keras' `compile`. It also makes the optimizer's variables: made in the first step, they
        would have the step traced twice.
        """
        super().compile(*args, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def call(self, batch, training=False):
        """The distribution of the noise of a batch."""
        return self.noise_model(batch["clean"], batch["iso"], batch["camera"], training=training)

    def fit(self, *args, **kwargs):
        """Keras' `fit`; raises a DivergedError at the first step that is not finite.

        That step moves no weight, but has moved batch norm's averages.
        """
        try:
            return super().fit(*args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            failed = _FAILED.search(error.message)
            if failed is None:
                raise
            told = _told(*failed.groups(), steps_per_epoch=kwargs.get("steps_per_epoch"))
            raise DivergedError(told) from error

    @tf.autograph.experimental.do_not_convert
    def train_step(self, batch):
        with tf.GradientTape() as tape:
            p = self(batch, training=True)
            latent = p.bijector.inverse(batch["noise"])
            nll = -p.log_prob(batch["noise"])
            loss = tf.reduce_sum(nll) / _over_replicas(tf.cast(tf.size(nll), nll.dtype))
        gradients = tape.gradient(loss, self.trainable_variables)
        with tf.control_dependencies([self._stop_unless_finite(nll, gradients, batch)]):
            gradients = [tf.identity(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._report(nll, latent)

    @tf.autograph.experimental.do_not_convert
    def test_step(self, batch):
        p = self(batch)
        latent = p.bijector.inverse(batch["noise"])
        return self._report(-p.log_prob(batch["noise"]), latent)

    def reestimate_averages(self, batches: Iterable) -> None:
        """Sets batch norm's averages to the moments that batches have under the present weights.

        While weights move fast, the averages lag behind them, and a model that is evaluated with
        them does worse than it does on a batch's own moments ("precise batch norm", Wu and Johnson,
        "Rethinking 'Batch' in BatchNorm", 2021). From zero, they move as in training over all
        `batches`, and are then freed of their start as Adam's moments are, by 1 - 0.9^n.

        Args:
            batches: as for training; 20 and more of them are enough for averages that move by 0.1.

        Raises:
            ValueError: there is no batch.
        """
        run = self.distribute_strategy.run
        run(self._scale_averages, [tf.constant(0.0)])
        count = 0
        for batch in self.distribute_strategy.experimental_distribute_dataset(batches):
            run(self._move_averages, [batch])
            count += 1
        if not count:
            raise ValueError("batch norm's averages need at least one batch")
        run(self._scale_averages, [tf.constant(1 / (1 - (1 - BATCH_NORM_UPDATE) ** count))])

    @tf.function(autograph=False)
    def _scale_averages(self, factor):
        for module in self.noise_model.submodules:
            if isinstance(module, Moments):
                module.mean.assign(module.mean * factor)
                module.variance.assign(module.variance * factor)

    @tf.function(reduce_retracing=True, autograph=False)
    def _move_averages(self, batch):
        self(batch, training=True).log_prob(batch["noise"])

    def _stop_unless_finite(self, nll, gradients, batch):
        finite = tf.math.is_finite(nll)
        all_finite = tf.reduce_all(finite) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        unhappy_replicas = _over_replicas(tf.cast(~all_finite, nll.dtype))

        given = tf.math.is_finite(tf.reduce_sum(batch["noise"] + batch["clean"], axis=[1, 2, 3]))
        told = [_NOT_FINITE, self.optimizer.iterations, given, finite]
        told += [tf.broadcast_to(batch[name], tf.shape(nll)) for name in ("iso", "camera")]
        return tf.raw_ops.Assert(condition=unhappy_replicas < 0.5, data=told, summarize=-1)

    def _report(self, nll, latent):
        self._loss.update_state(nll)
        self._nll.update_state(nll_per_dimension(-nll, latent))
        self._latent_stddev.update_state(tf.zeros_like(latent), latent)
        return {metric.name: metric.result() for metric in self.metrics}


def _over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The sum of a value over all replicas."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def _told(step: str, *per_patch: str, steps_per_epoch: int | None) -> str:
    """Blames the patches whose pixels are not finite, else those whose NLL is not, else all."""
    epoch, step = divmod(int(step), steps_per_epoch) if steps_per_epoch else (None, int(step))
    place = f"step {step + 1}" if epoch is None else f"epoch {epoch + 1}, step {step + 1}"
    patches = list(zip(*(values.split() for values in per_patch), strict=True))
    bad_pixels = [patch for patch in patches if patch[0] == "0"]
    blamed = bad_pixels or [patch for patch in patches if patch[1] == "0"] or patches
    isos, cameras = (
        ", ".join(sorted({patch[i] for patch in blamed}, key=lambda text: (len(text), text)))
        for i in (2, 3)
    )
    cure = (
        "the noise or the clean image there is not finite"
        if bad_pixels
        else "a lower learning rate (--lr) may help"
    )
    return (
        f"training diverged: {_NOT_FINITE} at {place}, in {len(blamed)} of {len(patches)} patches, "
        f"of ISO {isos} and camera {cameras}; {cure}"
    )
