"""The one fit loop, of noise models and denoisers alike."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from noise_flow_tf.saving.run_folder import RunFolder, newest_first
from noise_flow_tf.training import callbacks, strategies
from noise_flow_tf.training.checkpoints import BestWeights, CheckpointCallback, Checkpoints
from noise_flow_tf.training.divergence import DivergedError
from noise_flow_tf.training.interruption import Interruption, WorkerLostError, is_of_another_worker
from noise_flow_tf.training.progress import Progress
from noise_flow_tf.training.schedules import evaluation_epochs
from noise_flow_tf.training.steps import CheckedTrainer


@dataclass(frozen=True)
class Length:
    """How long training takes, and how often it evaluates and saves.

    Each evaluation is after an epoch of `schedules.evaluation_epochs`, and measures batch norm's
    averages on `average_batches` training batches first.
    """

    steps_per_epoch: int
    epochs: int
    epochs_full_valid: int
    average_batches: int
    checkpoint_every: int


class Task(Protocol):
    """What is trained, on what, and what is special about it.

    `score` is the metric of the test set, higher or lower, that chooses the best weights;
    `validation` the test set's batches; `trainer` makes a compiled trainer within the strategy's
    scope; `batches` are the endless training batches of one of several replicas, from any place
    on; `callbacks`, which may write TensorBoard's files to a folder, are those of this task alone.
    """

    score: str
    highest: bool
    validation: tf.data.Dataset

    def trainer(self, length: Length) -> CheckedTrainer: ...

    def batches(self, shard: tuple[int, int] = ..., first_batch: int = ...) -> tf.data.Dataset: ...

    def callbacks(self, trainer: CheckedTrainer, folder: Path) -> list[Any]: ...


def fit(
    task: Task,
    length: Length,
    strategy: tf.distribute.Strategy,
    run: RunFolder,
    writing: RunFolder,
) -> list[dict[str, float]]:
    """Train from the beginning, or from the last checkpoint of `run`, and return the history.

    Write to `writing`, which on a worker that is not the chief is another folder than `run`.

    Raises:
        ValueError: checkpoints that cannot be read, or a DivergedError.
        Interrupted: a signal came; the state is saved. Or a WorkerLostError.
        OSError: a file that cannot be written.
    """
    with strategy.scope():
        trainer = task.trainer(length)
    checkpoints = Checkpoints(trainer, writing.last, length.steps_per_epoch, task.score)
    checkpoints.restore(run.last)
    done, _ = checkpoints.position
    model = next(iter(trainer.checkpointed.values()))
    history = callbacks.History(writing.history, model, run.read_history(done))
    devices = strategy.num_replicas_in_sync
    on = "1 device" if devices == 1 else f"{devices} devices"
    print(f"{trainer.num_trained} parameters to train, on {on}")
    progress = Progress(length.epochs, length.steps_per_epoch, checkpoints.step)
    with Interruption(strategy) as interruption, closing(progress):
        kept: list[Any] = [
            callbacks.StopOnDivergence(),
            *task.callbacks(trainer, writing.tensorboard),
            BestWeights(writing.best, checkpoints, f"val_{task.score}", task.highest),
            history,
            progress,
            callbacks.MeasuredCurves(writing.tensorboard),
            CheckpointCallback(checkpoints, interruption, length.checkpoint_every),
        ]
        if count := length.average_batches:
            kept.insert(0, callbacks.ReestimateAverages(task.batches().take(count)))
        try:
            trainer.fit(
                strategies.in_shares(lambda shard: task.batches(shard, checkpoints.step)),
                steps_per_epoch=length.steps_per_epoch,
                validation_data=task.validation,
                validation_freq=evaluation_epochs(length.epochs, length.epochs_full_valid),
                epochs=length.epochs,
                verbose=0,
                callbacks=kept,
            )
        except DivergedError as error:
            good = _last_kept(writing)
            raise DivergedError(
                f"{error}; last good checkpoint: {good}; start another run"
            ) from error
        except tf.errors.OpError as error:
            if strategies.num_workers(strategy) == 1 or not is_of_another_worker(error):
                raise
            raise WorkerLostError(error, _last_kept(run)) from error
    return history.rows


def _last_kept(run: RunFolder) -> str:
    """Return the newest checkpoint of a run, for messages."""
    return str(next(iter(newest_first(run.last)), "none"))
