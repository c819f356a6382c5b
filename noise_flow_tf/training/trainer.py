"""Training by Keras: one step of maximum likelihood, and the metrics beside it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from noise_flow_tf.evaluation.metrics import nll_per_dimension
from noise_flow_tf.layers.coupling_network import BATCH_NORM_UPDATE, Moments
from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.saving import saved_model

_NOT_FINITE = "the loss or its gradient is not finite"
_FAILED = re.compile(rf"\[{_NOT_FINITE}\] \[(\d+)\] \[([01])\]" + r" \[(.*?)\]" * 4)


class DivergedError(ValueError):
    """Training met a loss or a gradient that is not finite; no weight has been moved by it."""


@tf_keras.utils.register_keras_serializable(package="noise_flow_tf")
class Trainer(tf_keras.Model):
    """A Keras model that fits a noise model to batches of patches.

    Datasets give `{"noise", "clean", "iso", "camera"}` batches; further keys are ignored. The loss
    is the release's, the mean over the batch of the negative log-likelihood in nats per patch
    (Eq. 8 of the paper). Reported are `nll`, in nats per dimension, and `latent_stddev`, the spread
    of the latent, which is 1 where the model fits.

    It is saved by `save("x.keras")`, and its weights by `save_weights("x.weights.h5")` or as a
    TensorFlow checkpoint.

    >>> from noise_flow_tf import NoiseFlow
    >>> trainer = Trainer(NoiseFlow("S-G", seed=0))
    >>> trainer.compile(tf_keras.optimizers.Adam(1e-4, epsilon=1e-8))
    """

    def __init__(self, noise_model: Any, camera: str | None = None, **kwargs):
        """Make the trainer.

        Args:
            noise_model: a `NoiseFlow`, or another noise model whose distribution has `one_pass`.
            camera: train nothing but this camera's own parameters; all others, batch norm's
                averages among them, stay the same bit for bit, whatever the optimizer.
            **kwargs: of `tf_keras.Model`.

        Raises:
            ValueError: a camera that the model does not have, or has no parameters for.
        """
        super().__init__(**kwargs)
        self.noise_model = noise_model
        self.camera = camera
        if camera is not None:
            self._column = int(noise_model.condition_space.camera_index(camera))
            if not noise_model.camera_parameters:
                raise ValueError(
                    f"architecture {noise_model.arch!r} has no parameters of a camera's own; sdn5, "
                    "sdn6 and eq16 have them"
                )
        self.built = True  # it has the variables of the noise model, and makes none
        self._loss = tf_keras.metrics.Mean(name="loss")
        self._nll = tf_keras.metrics.Mean(name="nll")
        self._latent_stddev = tf_keras.metrics.RootMeanSquaredError(name="latent_stddev")

    @property
    def metrics(self):
        return [self._loss, self._nll, self._latent_stddev]

    @property
    def trainable_weights(self):
        return super().trainable_weights if self.camera is None else self._camera_parameters

    @property
    def _camera_parameters(self) -> list[tf.Variable]:
        return self.noise_model.camera_parameters

    @property
    def num_trained(self) -> int:
        """How many scalars training changes."""
        if self.camera is None:
            return self.noise_model.num_parameters
        tables = self._camera_parameters
        return sum(t.shape.num_elements() // t.shape[-1] for t in tables)

    @property
    def checkpointed(self) -> dict[str, tf.Module]:
        """What of the model a checkpoint holds, by name."""
        return {"noise_model": self.noise_model}

    def compile(self, optimizer="rmsprop", **kwargs):
        """Keras' `compile`. It also makes the optimizer's variables: made in the first step, they
        would have the step traced twice.

        Args:
            optimizer: one of tf_keras, or its name.
            **kwargs: of Keras, but for loss and metrics, which are the trainer's own.

        Raises:
            TypeError: an optimizer of another Keras.
            ValueError: a loss or metrics; `jit_compile` under a strategy of several devices.
        """
        _check_optimizer(optimizer)
        for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if kwargs.get(name):
                raise ValueError(f"leave {name} out: the trainer has a loss and metrics of its own")
        replicas = self.distribute_strategy.num_replicas_in_sync
        if kwargs.get("jit_compile") and replicas > 1:
            raise ValueError(
                f"jit_compile trains on one device, and this strategy has {replicas}; leave "
                "jit_compile out"
            )
        super().compile(optimizer, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        return super().get_compile_config()

    def compile_from_config(self, config):
        self.compile(**tf_keras.utils.deserialize_keras_object(config))

    def call(self, batch, training=False):
        """The distribution of the noise of a batch."""
        return self.noise_model(batch["clean"], batch["iso"], batch["camera"], training=training)

    def fit(self, *args, **kwargs):
        """Keras' `fit`; raises a DivergedError at the first step that is not finite.

        That step moves neither weights nor batch norm's averages.
        """
        try:
            return super().fit(*args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            failed = _FAILED.search(error.message)
            if failed is None:
                raise
            told = _told(*failed.groups(), steps_per_epoch=kwargs.get("steps_per_epoch"))
            raise DivergedError(told) from error

    def make_train_function(self, force=False):
        """Keras' function of a step. XLA drops assertions, so there the loss is looked at after."""
        step = super().make_train_function(force)
        if not self.jit_compile or step is None:
            return step

        def stopping_step(iterator):
            logs = step(iterator)
            if not np.isfinite(logs["loss"]):
                raise DivergedError(
                    f"training diverged: {_NOT_FINITE} at step {int(self.optimizer.iterations)}, "
                    "and no weight has been moved by it; a lower learning rate (--lr) may help, if "
                    "no noise or clean image there has NaN, and each ISO and camera is known (with "
                    "jit_compile these make NaN, too)"
                )
            return logs

        if step is self.train_function:  # else it is the one of an earlier call
            self.train_function = stopping_step
        return self.train_function

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data):
        batch = _batch_of(data)
        with tf.GradientTape() as tape:
            p = self(batch, training=self.camera is None)
            latent, log_prob, moved = p.one_pass(batch["noise"])
            nll = -log_prob
            loss = tf.reduce_sum(nll) / _over_replicas(tf.cast(tf.size(nll), nll.dtype))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        if self.jit_compile:
            nll = self._update_where_finite(nll, gradients, moved)
            return self._report(nll, latent)
        with tf.control_dependencies([self._stop_unless_finite(nll, gradients, batch)]):
            gradients = [tf.identity(gradient) for gradient in gradients]
            moved = [(average, tf.identity(value)) for average, value in moved]
        self._apply(gradients, variables)
        for average, value in moved:
            average.assign(value)
        return self._report(nll, latent)

    def _apply(self, gradients, variables) -> None:
        """Apply gradients; of a camera's parameters, change its own column alone."""
        before = [tf.identity(variable) for variable in variables] if self.camera else []
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for table, old in zip(variables, before, strict=False):
            is_own = tf.range(table.shape[-1]) == self._column
            table.assign(tf.where(is_own, table, old))

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data):
        batch = _batch_of(data)
        latent, log_prob = self(batch).latent_and_log_prob(batch["noise"])
        return self._report(-log_prob, latent)

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
        averages = [
            average
            for module in self.noise_model.submodules
            if isinstance(module, Moments)
            for average in (module.mean, module.variance)
        ]
        for average in averages:
            average.assign(tf.zeros_like(average))
        count = 0
        for batch in self.distribute_strategy.experimental_distribute_dataset(batches):
            self._move_averages(batch)
            count += 1
        if not count:
            raise ValueError("batch norm's averages need at least one batch")
        for average in averages:
            average.assign(average * (1 / (1 - (1 - BATCH_NORM_UPDATE) ** count)))

    @tf.function(reduce_retracing=True, autograph=False)
    def _move_averages(self, batch):
        def of_replica(batch):  # a bound method would lose its trainer in strategy.run
            for average, value in self(batch, training=True).one_pass(batch["noise"]).moved:
                average.assign(value)

        self.distribute_strategy.run(of_replica, [batch])

    def save(self, filepath, *args, **kwargs):
        """Keras' `save` of a `.keras` file, with the noise model's weights.

        Raises:
            ValueError: another format of Keras, which would leave the weights out.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{filepath}: a Trainer is saved as .keras; a SavedModel of its noise model is "
                "written by noise_flow_tf.saving.saved_model.save(model, path)"
            )
        super().save(filepath, *args, **kwargs)

    def save_weights(self, filepath, *args, **kwargs):
        """Keras' `save_weights` to `.weights.h5` or a TensorFlow checkpoint.

        Raises:
            ValueError: Keras' older HDF5 format, which would leave the weights out.
        """
        _check_weights_format(filepath, kwargs)
        super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """Keras' `load_weights` of what `save_weights` wrote."""
        _check_weights_format(filepath, kwargs)
        return super().load_weights(filepath, *args, **kwargs)

    def save_own_variables(self, store):
        for number, variable in enumerate(self.noise_model.variables):
            store[str(number)] = variable.numpy()

    def load_own_variables(self, store):
        variables = self.noise_model.variables
        shapes = [list(store[name].shape) for name in sorted(store.keys(), key=int)]
        if shapes != [variable.shape.as_list() for variable in variables]:
            raise ValueError("these are the weights of another noise model than the trainer's")
        for number, variable in enumerate(variables):
            variable.assign(store[str(number)])

    def get_config(self):
        recipe = saved_model.recipe(self.noise_model)
        return {"name": self.name, "camera": self.camera, "noise_model": recipe}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = NoiseFlow(**config["noise_model"])
        return cls(model, config.get("camera"), name=config["name"])

    def _update_where_finite(self, nll, gradients, moved):
        """One step under XLA: changes nothing, and gives NaN, where a number is not finite."""
        finite = tf.math.is_finite(tf.reduce_sum(nll) + tf.linalg.global_norm(gradients))
        variables = self.trainable_variables
        before = [tf.identity(variable) for variable in variables]
        gradients = [tf.where(finite, g, tf.zeros_like(g)) for g in gradients]
        self._apply(gradients, variables)
        for variable, old in zip(variables, before, strict=True):
            # Adam moves a weight by its momentum, too, when the gradient is zero.
            variable.assign(tf.where(finite, variable, old))
        for average, value in moved:
            average.assign(tf.where(finite, value, average))
        return tf.where(finite, nll, np.float32(np.nan))

    def _stop_unless_finite(self, nll, gradients, batch):
        finite = tf.math.is_finite(nll)
        all_finite = tf.reduce_all(finite) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        unhappy_replicas = _over_replicas(tf.cast(~all_finite, nll.dtype))

        given = tf.math.is_finite(tf.reduce_sum(batch["noise"] + batch["clean"], axis=[1, 2, 3]))
        told = [_NOT_FINITE, self.optimizer.iterations, all_finite, given, finite]
        told += [tf.broadcast_to(batch[name], tf.shape(nll)) for name in ("iso", "camera")]
        return tf.raw_ops.Assert(condition=unhappy_replicas < 0.5, data=told, summarize=-1)

    def _report(self, nll, latent):
        self._loss.update_state(nll)
        self._nll.update_state(nll_per_dimension(-nll, latent))
        self._latent_stddev.update_state(tf.zeros_like(latent), latent)
        return {metric.name: metric.result() for metric in self.metrics}


def _batch_of(data: Any) -> Mapping[str, tf.Tensor]:
    """The batch in what Keras hands to a step."""
    batch, target, weight = tf_keras.utils.unpack_x_y_sample_weight(data)
    if target is not None or weight is not None:
        raise ValueError(
            "a Trainer takes batches of noise, clean, iso and camera; leave targets and sample "
            "weights out"
        )
    return batch


def _check_optimizer(optimizer: Any) -> None:
    if isinstance(optimizer, (str, dict, tf_keras.optimizers.Optimizer)):
        return
    kind = type(optimizer)
    raise TypeError(
        f"the optimizer is a {kind.__module__}.{kind.__qualname__}, and a Trainer is a model of "
        "tf_keras; pass one of tf_keras, such as tf_keras.optimizers.Adam(1e-2, epsilon=1e-8)"
    )


def _check_weights_format(filepath: Any, options: Mapping[str, Any]) -> None:
    path = str(filepath)
    older = path.endswith((".h5", ".hdf5")) or options.get("save_format") == "h5"
    if (older and not path.endswith(".weights.h5")) or path.endswith(".keras"):
        raise ValueError(
            f"{path}: a Trainer keeps its weights in a file x.weights.h5, or in a TensorFlow "
            "checkpoint if the name has no ending"
        )


def _over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The sum of a value over all replicas."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def _told(step: str, here: str, *per_patch: str, steps_per_epoch: int | None) -> str:
    """Blames the patches whose pixels are not finite, else those whose NLL is not, else all."""
    epoch, step = divmod(int(step), steps_per_epoch) if steps_per_epoch else (None, int(step))
    place = f"step {step + 1}" if epoch is None else f"epoch {epoch + 1}, step {step + 1}"
    if here == "1":
        return (
            f"training diverged: {_NOT_FINITE} at {place}, on another device than the one that "
            "says so; a lower learning rate (--lr) may help, if no noise or clean image there has "
            "NaN"
        )
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
