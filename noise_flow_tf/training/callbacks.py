"""What a run shows and keeps while it trains."""

import csv
import io
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar

from noise_flow_tf.layers import tag, tagged
from noise_flow_tf.saving.run_folder import write_text
from noise_flow_tf.training.trainer import DivergedError

_BASELINE_TAGS = {"epoch_nll": "nll", "epoch_kl": "kl"}


class LearnedCurves(tf_keras.callbacks.Callback):
    """Writes what the model has learned to TensorBoard after each epoch.

    Those are `NoiseFlow.summaries()`: beta1, beta2, the gain of every ISO level and the camera
    factors, each kind drawn together under "Custom scalars"; and NLL and KL of the baselines as
    level lines in the charts of Keras' own `epoch_nll` and `epoch_kl`.
    """

    def __init__(
        self, noise_model: Any, folder: Path, baselines: Mapping[str, Mapping[str, float]]
    ):
        """Writes below `folder`; `baselines` has by name `nll`, nats per dimension, and `kl`."""
        super().__init__()
        self._noise_model = noise_model
        self._learned = tf.summary.create_file_writer(str(folder / "learned"))
        self._baselines = {
            name: (scores, tf.summary.create_file_writer(str(folder / name)))
            for name, scores in baselines.items()
        }

    def on_train_begin(self, logs=None):
        charts = []
        for group, values in self._noise_model.summaries().items():
            tags = [f"^{tag(group, label)}$" for label in values]
            lines = layout_pb2.MultilineChartContent(tag=tags)
            charts.append(layout_pb2.Chart(title=group, multiline=lines))
        category = layout_pb2.Category(title="what the model has learned", chart=charts)
        layout = custom_scalar.pb(layout_pb2.Layout(category=[category])).value[0]
        with self._learned.as_default():
            tf.summary.write(
                layout.tag, tf.constant(layout.tensor.string_val[0]), 0, layout.metadata
            )

    def on_epoch_end(self, epoch, logs=None):
        with self._learned.as_default(epoch):
            for name, value in tagged(self._noise_model.summaries()).items():
                tf.summary.scalar(name, value)
        for scores, writer in self._baselines.values():
            with writer.as_default(epoch):
                for tag, metric in _BASELINE_TAGS.items():
                    tf.summary.scalar(tag, scores[metric])

    def on_train_end(self, logs=None):
        for writer in (self._learned, *(writer for _, writer in self._baselines.values())):
            writer.close()


class NoisePictures(tf_keras.callbacks.Callback):
    """Writes pictures of patches to TensorBoard after each evaluation."""

    def __init__(self, folder: Path, draw: Callable[[], Mapping[str, np.ndarray]]):
        """`draw` gives, by name, rendered pictures uint8 `[H, W, 3]` of the model's samples."""
        super().__init__()
        self._draw = draw
        self._writer = tf.summary.create_file_writer(str(folder / "pictures"))

    def on_epoch_end(self, epoch, logs=None):
        if any(name.startswith("val_") for name in logs or {}):
            with self._writer.as_default(epoch):
                for name, picture in self._draw().items():
                    tf.summary.image(name, picture[np.newaxis])

    def on_train_end(self, logs=None):
        self._writer.close()


class ReestimateAverages(tf_keras.callbacks.Callback):
    """Before each evaluation, lets batch norm's averages catch up with the weights."""

    def __init__(self, batches: tf.data.Dataset):
        """Uses training `batches`, see `Trainer.reestimate_averages`."""
        super().__init__()
        self._batches = batches

    def on_test_begin(self, logs=None):
        self.model.reestimate_averages(self._batches)


class MarginalKL(tf_keras.callbacks.Callback):
    """After each evaluation, adds the marginal KL of the test set to the logs as `val_kl`.

    Callbacks that are to see it stand behind this one.
    """

    def __init__(self, measure: Callable[[], float]):
        """`measure` as `evaluation.sampled_kl` gives it."""
        super().__init__()
        self._measure = measure

    def on_epoch_end(self, epoch, logs=None):
        if "val_nll" in logs:
            logs["val_kl"] = self._measure()


class StopOnDivergence(tf_keras.callbacks.Callback):
    """Ends training with a ValueError when the test loss is not finite."""

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("val_loss", 0.0)
        if not np.isfinite(loss):
            raise ValueError(
                f"training diverged: the test loss was {loss} after epoch {epoch + 1}; a lower "
                "learning rate (--lr) may help"
            )


class StopAtNaN(tf_keras.callbacks.Callback):
    """Ends training with a DivergedError after the first step whose loss is not finite.

    It must stand before `CheckpointCallback`: the weights that such a step leaves are not saved.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise DivergedError(
                f"training diverged: the loss was {loss} at epoch {self._epoch + 1}, step "
                f"{batch + 1}; a lower learning rate (--lr) may help"
            )


def keras_curves(folder: Path) -> tf_keras.callbacks.Callback:
    """Keras' own curves of loss and metrics in training and in evaluation."""
    return tf_keras.callbacks.TensorBoard(str(folder), write_graph=False)


class History(tf_keras.callbacks.Callback):
    """Keras' history as CSV, with what the model has learned in further columns.

    One row an epoch, counted from 1, with its `seconds`; what was not measured is left empty.
    """

    def __init__(
        self, path: Path, noise_model: Any = None, rows: Iterable[Mapping[str, float]] = ()
    ):
        """Writes to `path`; `rows` are those of the epochs before, where a run goes on.

        `noise_model` is the one that learns, if what is trained is one with `summaries()`.
        """
        super().__init__()
        self.rows = list(rows)
        self._path = path
        self._noise_model = noise_model

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        summaries = self._noise_model.summaries() if self._noise_model is not None else {}
        learned = {name: float(value) for name, value in tagged(summaries).items()}
        measured = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self._begun, 3)
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, **measured, **learned})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._path, text.getvalue())
