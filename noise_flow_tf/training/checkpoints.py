"""The state of a training run on disk, from which it resumes as if nothing had happened."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras
from tqdm import tqdm

from noise_flow_tf.saving.files import readable
from noise_flow_tf.saving.run_folder import newest_first
from noise_flow_tf.training.callbacks import Logs
from noise_flow_tf.training.interruption import Interruption, is_of_another_worker
from noise_flow_tf.training.steps import CheckedTrainer

_KEPT = 2


class Checkpoints:
    """Checkpoints of all that training changes, the newest two of them on disk.

    Those are the weights and batch norm's averages, the optimiser with its step, the sums behind
    the metrics of the epoch, and the best score so far. Where in the training set a run stands
    follows from the step.
    """

    def __init__(
        self, trainer: CheckedTrainer, folder: Path, steps_per_epoch: int, score: str = "nll"
    ) -> None:
        """Make the checkpoints of a compiled `trainer` in `folder`; write nothing yet.

        `score` is the metric by which `BestWeights` chooses.
        """
        self._trainer = trainer
        self._steps_per_epoch = steps_per_epoch
        with trainer.distribute_strategy.scope():
            trainer.optimizer.build(trainer.trainable_variables)
            self.best = tf.Variable(float("inf"), trainable=False, name=f"best_{score}")
        state = {"optimizer": trainer.optimizer, "metrics": trainer.metrics}
        state |= trainer.checkpointed | {f"best_{score}": self.best}
        self._manager = _manager(folder, _KEPT, "step", state)

    @property
    def step(self) -> int:
        """How many steps have been taken since the beginning."""
        return int(self._trainer.optimizer.iterations.numpy())

    @property
    def position(self) -> tuple[int, int]:
        """The epoch, counted from 0, and the steps taken in it."""
        return divmod(self.step, self._steps_per_epoch)

    def save(self) -> None:
        """Write a checkpoint, then remove the oldest beyond two.

        Raises:
            OSError: the disk is full or not writable; the earlier checkpoints are kept.
        """
        _save(self._manager, self.step)

    def restore(self, folder: Path) -> None:
        """Restore the newest checkpoint in `folder` that can be read, if there is any.

        Print which one that is, and which newer ones cannot be read.

        Raises:
            ValueError: there are checkpoints, and none can be read.
        """
        prefixes = newest_first(folder)
        for prefix in prefixes:
            try:
                with readable(prefix) as path:
                    self._manager.checkpoint.restore(path).assert_consumed()
            except Exception as error:  # TensorFlow raises many kinds for a damaged file
                tqdm.write(f"checkpoint {prefix} is damaged: {str(error).splitlines()[0]}")
                continue
            tqdm.write(f"resuming from checkpoint {prefix}")
            return
        if prefixes:
            raise ValueError(
                f"none of the {len(prefixes)} checkpoints in {folder} can be read; start "
                "again with --overwrite"
            )


class BestWeights(tf_keras.callbacks.Callback):
    """Keep the weights with the best test score of the epochs that were evaluated."""

    def __init__(
        self, folder: Path, checkpoints: Checkpoints, metric: str = "val_nll", highest: bool = False
    ) -> None:
        """Write to `folder` the weights with the lowest `metric`, or with the highest.

        The best one so far is kept in `checkpoints`, negated if the highest is wanted.
        """
        super().__init__()
        self._folder, self._best = folder, checkpoints.best
        self._metric, self._sign = metric, -1 if highest else 1

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        score = self._sign * (logs or {}).get(self._metric, self._sign * float("inf"))
        if score < self._best.numpy():
            _save(_manager(self._folder, 1, "epoch", self.model.checkpointed), epoch + 1)
            self._best.assign(score)


class CheckpointCallback(tf_keras.callbacks.Callback):
    """Save after each epoch and every so many steps, and when training is to stop.

    It must be the last callback: what the others keep of an epoch is then on disk before its
    checkpoint.
    """

    def __init__(self, checkpoints: Checkpoints, interruption: Interruption, every: int) -> None:
        """Save to `checkpoints` every so many steps; leave training at an `interruption`."""
        super().__init__()
        self._checkpoints = checkpoints
        self._interruption = interruption
        self._every = every
        self._sums: list[tuple[tf.Variable, Any]] = []

    def set_model(self, model: CheckedTrainer) -> None:
        """Give `fit` the epoch and step to begin at, as Keras' BackupAndRestore does."""
        super().set_model(model)
        place = self._checkpoints.position
        model._training_state = SimpleNamespace(
            maybe_load_initial_counters_from_ckpt=lambda *_, **__: place
        )
        if place[1]:
            self._sums = [(v, v.numpy()) for metric in model.metrics for v in metric.variables]

    def on_train_end(self, logs: Logs = None) -> None:
        self.model._training_state = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Restore the interrupted epoch's sums, which `fit` has just reset."""
        for variable, value in self._sums:
            variable.assign(value)
        self._sums = []

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        total = self._checkpoints.step
        stop = self._interruption.wanted(total)
        if not stop and total % self._every:
            return
        epoch, step = self._checkpoints.position
        if step:
            self._checkpoints.save()
            if stop:
                self._interruption.leave(epoch, step)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._checkpoints.save()
        if self._interruption.wanted():
            self._interruption.leave(*self._checkpoints.position)


def _manager(
    folder: Path, kept: int, name: str, objects: Mapping[str, Any]
) -> tf.train.CheckpointManager:
    return tf.train.CheckpointManager(
        tf.train.Checkpoint(**objects), str(folder), max_to_keep=kept, checkpoint_name=name
    )


def _save(manager: tf.train.CheckpointManager, number: int) -> None:
    try:
        manager.save(checkpoint_number=number)
    except tf.errors.OpError as error:
        if is_of_another_worker(error):
            raise
        folder = Path(manager.directory)
        for leftover in folder.glob("*_temp"):
            shutil.rmtree(leftover, ignore_errors=True)
        reason = error.message.splitlines()[0].rpartition("}} ")[2].partition(" [Op:")[0]
        reason = reason.rpartition("; ")[2]  # without the name of a temporary file
        kept = ", ".join(prefix.name for prefix in newest_first(folder)) or "nothing"
        raise OSError(
            f"{folder}: a checkpoint cannot be written: {reason}; kept there: {kept}"
        ) from error
