"""What trainers of all kinds share: one checked step, its report, batch norm's averages."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from noise_flow_tf.bijectors import Updates
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.training.divergence import DivergedError, StepRecord


class Outcome(NamedTuple):
    """What a training step computes of a batch.

    Attributes:
        losses: `[B]`, one per patch.
        loss: what is minimised: this replica's part of it, a scalar.
        measured: what `update_metrics` takes besides the losses.
        images: what the losses are of, `[B, H, W, 4]` each.
        conditions: what is known of each patch, by name.
        moved: averages of batch norm, and their new values.
    """

    losses: tf.Tensor
    loss: tf.Tensor
    measured: Sequence[tf.Tensor]
    images: Sequence[tf.Tensor]
    conditions: Mapping[str, tf.Tensor] = {}
    moved: Updates = ()


class CheckedTrainer(tf_keras.Model):
    """A Keras model whose steps move nothing by a loss or a gradient that is not finite.

    The metrics are made with the trainer: Keras makes those of `compile(metrics=...)` at the first
    step, and the checkpoint of an interrupted epoch must restore their sums.

    Attributes:
        conditions: the names of what is known of each patch.
        checkpointed: what of the model a checkpoint holds, by name; the first is what is trained.
    """

    conditions: Sequence[str] = ()
    train_function: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True  # it has the variables of what it trains, and makes none
        self._steps_per_epoch: int | None = None

    @property
    def checkpointed(self) -> dict[str, tf.Module]:
        raise NotImplementedError

    @property
    def num_trained(self) -> int:
        """How many scalars training changes."""
        return sum(variable.shape.num_elements() for variable in self.trainable_variables)

    def outcome(self, data: Any) -> Outcome:
        """Compute, in training, the outcome of what Keras hands to a step."""
        raise NotImplementedError

    def update_metrics(self, losses: tf.Tensor, *measured: tf.Tensor) -> None:
        """Add a batch to the metrics."""
        raise NotImplementedError

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """Compile as Keras does, and make the optimizer's variables.

        Made in the first step, they would have the step traced twice.

        Args:
            optimizer: one of tf_keras, or its name.
            **kwargs: of Keras, but for loss and metrics, which are the trainer's own.

        Raises:
            TypeError: an optimizer of another Keras.
            ValueError: a loss or metrics; `jit_compile` under a strategy of several devices.
        """
        if not isinstance(optimizer, (str, dict, tf_keras.optimizers.Optimizer)):
            kind = type(optimizer)
            raise TypeError(
                f"the optimizer is a {kind.__module__}.{kind.__qualname__}, and a trainer is a "
                "model of tf_keras; pass one of tf_keras, such as tf_keras.optimizers.Adam(1e-2, "
                "epsilon=1e-8)"
            )
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
        self._record = StepRecord(self.distribute_strategy, self.conditions)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**tf_keras.utils.deserialize_keras_object(config))

    def fit(self, *args: Any, **kwargs: Any) -> tf_keras.callbacks.History:
        """Keras' `fit`; raises a DivergedError at the first step that is not finite.

        That step moves neither weights nor a noise model's averages of batch norm.
        """
        self._steps_per_epoch = kwargs.get("steps_per_epoch")
        try:
            return super().fit(*args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            message = self._record.failure(self._steps_per_epoch)
            if message is None:
                raise
            raise DivergedError(message) from error

    def make_train_function(self, force: bool = False) -> Callable:
        """Keras' function of a step. XLA drops assertions, so that the loss is checked after it."""
        step = super().make_train_function(force)
        if not self.jit_compile or step is None:
            return step

        def stopping_step(iterator: Any) -> dict[str, tf.Tensor]:
            logs = step(iterator)
            if not np.isfinite(logs["loss"]):
                message = self._record.failure(self._steps_per_epoch)
                raise DivergedError(
                    f"{message}; with jit_compile, an unknown ISO or camera makes NaN, too"
                )
            return logs

        if step is self.train_function:  # else it is the one of an earlier call
            self.train_function = stopping_step
        return self.train_function

    @tf.autograph.experimental.do_not_convert
    @own_graph()
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            losses, loss, measured, images, conditions, moved = self.outcome(data)
        gradients = tape.gradient(loss, variables)
        step = self.optimizer.iterations
        finite = self._record.write(step, losses, gradients, images, conditions)
        if self.jit_compile:
            losses = self._update_where_finite(finite, losses, gradients, moved)
            return self.report(losses, *measured)
        with tf.control_dependencies([tf.raw_ops.Assert(condition=finite, data=["not finite"])]):
            gradients = [tf.identity(gradient) for gradient in gradients]
            moved = [(average, tf.identity(value)) for average, value in moved]
        self.apply(gradients, variables)
        for average, value in moved:
            average.assign(value)
        return self.report(losses, *measured)

    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> None:
        """Apply gradients."""
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def report(self, losses: tf.Tensor, *measured: tf.Tensor) -> dict[str, tf.Tensor]:
        """Add a batch to the metrics, and return them by name."""
        self.update_metrics(losses, *measured)
        return {metric.name: metric.result() for metric in self.metrics}

    def moving_averages(self, batches: Iterable) -> Iterator[None]:
        """Move batch norm's averages as in training by one batch after the other.

        Raises:
            ValueError: there is no batch.
        """
        batch = None
        for batch in self.distribute_strategy.experimental_distribute_dataset(batches):
            self._move_averages(batch)
            yield
        if batch is None:
            raise ValueError("batch norm's averages need at least one batch")

    @tf.function(reduce_retracing=True, autograph=False)
    def _move_averages(self, batch: Any) -> None:
        @own_graph()
        def of_replica(batch: Any) -> None:  # a bound method would lose its trainer in strategy.run
            for average, value in self.outcome(batch).moved:
                average.assign(value)

        self.distribute_strategy.run(of_replica, [batch])

    def _update_where_finite(
        self, finite: tf.Tensor, losses: tf.Tensor, gradients: Sequence[tf.Tensor], moved: Updates
    ) -> tf.Tensor:
        """Take one step under XLA; change nothing, and return NaN, if a number is not finite."""
        variables = self.trainable_variables
        before = [tf.identity(variable) for variable in variables]
        gradients = [tf.where(finite, g, tf.zeros_like(g)) for g in gradients]
        self.apply(gradients, variables)
        for variable, old in zip(variables, before, strict=True):
            # Adam moves a weight by its momentum, too, when the gradient is zero.
            variable.assign(tf.where(finite, variable, old))
        for average, value in moved:
            average.assign(tf.where(finite, value, average))
        return tf.where(finite, losses, np.float32(np.nan))
