"""What a run shows and keeps while it trains."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from noise_flow_tf.layers import tagged
from noise_flow_tf.saving.files import write_csv
from noise_flow_tf.training.divergence import DivergedError

Logs = dict[str, float] | None


_CHARTS = {
    "nll": "1 fit/1 NLL in nats per dimension",
    "kl": "1 fit/2 marginal KL in nats",
    "psnr": "1 fit/1 PSNR in dB",
    "latent_stddev": "3 training/1 standard deviation of the latent",
    "loss": "3 training/2 loss",
    "learning_rate": "3 training/3 learning rate",
}
"""TensorBoard's charts by metric; it sorts them by name, and opens the first two groups."""
_APART = ("beta",)
"""Groups of learned values that differ by orders of magnitude: each has a chart of its own."""


class _Lines:
    """Writes one sub-run of TensorBoard for each line, so that lines have colours of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def add(self, line: str, chart: str, value: Any, epoch: int) -> None:
        """Write a value at an epoch, counted from 0; steps are counted from 1 as in the history."""
        if line not in self._writers:
            self._writers[line] = tf.summary.create_file_writer(str(self._folder / line))
        with self._writers[line].as_default(epoch + 1):
            tf.summary.scalar(chart, value)

    def flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class LearnedCurves(tf_keras.callbacks.Callback):
    """Write what the model has learned to TensorBoard after each epoch.

    Those are `NoiseFlow.summaries()`, one chart for each group; and NLL and KL of the baselines as
    level lines in the charts of `MeasuredCurves`.
    """

    def __init__(
        self, noise_model: Any, folder: Path, baselines: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Write below `folder`; `baselines` has by name `nll`, nats per dimension, and `kl`."""
        super().__init__()
        self._noise_model = noise_model
        self._baselines = baselines
        self._lines = _Lines(folder)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        charts: dict[str, dict[str, tf.Tensor]] = {}
        for group, values in self._noise_model.summaries().items():
            if group in _APART:
                charts |= {label: {"train": value} for label, value in values.items()}
            elif len(values) > 1:
                charts[group] = {self._line_of(label): value for label, value in values.items()}
            else:
                charts[group] = {"train": next(iter(values.values()))}
        digits = len(str(len(charts)))
        values = [
            (line, f"2 learned/{number:0{digits}d} {chart}", value)
            for number, (chart, lines) in enumerate(charts.items(), 1)
            for line, value in lines.items()
        ] + [
            (name, _CHARTS[metric], scores[metric])
            for name, scores in self._baselines.items()
            for metric in ("nll", "kl")
        ]
        for line, chart, value in sorted(values, key=lambda one: one[0]):
            self._lines.add(line, chart, value, epoch)
        self._lines.flush()

    def _line_of(self, label: str) -> str:
        """Return a name by which lines that share a chart follow each other.

        TensorBoard gives its seven colours to lines by their age in seconds, then by name.
        """
        return f"camera {label}" if label in self._noise_model.cameras else label

    def on_train_end(self, logs: Logs = None) -> None:
        self._lines.close()


class MeasuredCurves(tf_keras.callbacks.Callback):
    """Write what was measured in training and in evaluation to TensorBoard after each epoch."""

    def __init__(self, folder: Path) -> None:
        """Write below `folder`, to the sub-runs `train` and `validation`."""
        super().__init__()
        self._lines = _Lines(folder)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        optimizer = self.model.optimizer
        rate = optimizer._learning_rate  # a schedule, or a variable
        rate = rate(optimizer.iterations) if callable(rate) else rate
        for name, value in {**_without_loss(logs), "learning_rate": rate}.items():
            metric = name.removeprefix("val_")
            line = "train" if metric == name else "validation"
            self._lines.add(line, _CHARTS.get(metric, f"3 training/{metric}"), value, epoch)
        self._lines.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        self._lines.close()


class NoisePictures(tf_keras.callbacks.Callback):
    """Write pictures of patches to TensorBoard after each evaluation."""

    def __init__(self, folder: Path, draw: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """`draw` gives, by name, rendered pictures uint8 `[H, W, 3]` of the model's samples."""
        super().__init__()
        self._draw = draw
        self._writer = tf.summary.create_file_writer(str(folder / "pictures"))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if any(name.startswith("val_") for name in logs or {}):
            with self._writer.as_default(epoch + 1):  # as in the history
                for name, picture in self._draw().items():
                    tf.summary.image(name, picture[np.newaxis])

    def on_train_end(self, logs: Logs = None) -> None:
        self._writer.close()


class ReestimateAverages(tf_keras.callbacks.Callback):
    """Let batch norm's averages catch up with the weights before each evaluation."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        """Use training `batches`, see `Trainer.reestimate_averages`."""
        super().__init__()
        self._batches = batches

    def on_test_begin(self, logs: Logs = None) -> None:
        self.model.reestimate_averages(self._batches)


class MarginalKL(tf_keras.callbacks.Callback):
    """Add the marginal KL of the test set to the logs, `val_kl`, for the callbacks after this."""

    def __init__(self, measure: Callable[[], float]) -> None:
        """Take the function that `evaluation.sampled_kl` returns."""
        super().__init__()
        self._measure = measure

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None and "val_nll" in logs:
            logs["val_kl"] = self._measure()


class StopOnDivergence(tf_keras.callbacks.Callback):
    """End training with a DivergedError when the test loss is not finite."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("val_loss", 0.0)
        if not np.isfinite(loss):
            raise DivergedError(
                f"training diverged: the test loss was {loss} after epoch {epoch + 1}; a lower "
                "learning rate (--lr) may help"
            )


class History(tf_keras.callbacks.Callback):
    """Keras' history as CSV, with what the model has learned in further columns.

    One row per epoch, counted from 1, with its `seconds`; what was not measured is left empty.
    """

    def __init__(
        self, path: Path, noise_model: Any = None, rows: Iterable[Mapping[str, float]] = ()
    ) -> None:
        """Write to `path`; `rows` are those of earlier epochs if a run is resumed.

        The columns include the `summaries()` of `noise_model` if it has some.
        """
        super().__init__()
        self.rows = [dict(row) for row in rows]
        self._path = path
        self._noise_model = noise_model

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begun = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        summaries: dict[str, dict[str, Any]] = getattr(self._noise_model, "summaries", dict)()
        learned = {name: float(value) for name, value in tagged(summaries).items()}
        measured = {name: float(value) for name, value in _without_loss(logs).items()}
        seconds = round(time.monotonic() - self._begun, 3)
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, **measured, **learned})
        write_csv(self._path, self.rows)


def _without_loss(logs: Logs) -> dict[str, float]:
    """Leave out a noise model's loss, which is its NLL again, in nats per patch."""
    logs = logs or {}
    same = ("loss", "val_loss") if "nll" in logs else ()
    return {name: value for name, value in logs.items() if name not in same}
