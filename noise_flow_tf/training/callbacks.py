"""What a run shows and keeps while it trains."""

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
from noise_flow_tf.saving.files import write_csv
from noise_flow_tf.training.divergence import DivergedError

Logs = dict[str, float] | None


class LearnedCurves(tf_keras.callbacks.Callback):
    """Write what the model has learned to TensorBoard after each epoch.

    Those are `NoiseFlow.summaries()`, each group drawn together under "Custom scalars"; and NLL and
    KL of the baselines as level lines in the charts of Keras' own `epoch_nll` and `epoch_kl`.
    """

    def __init__(
        self, noise_model: Any, folder: Path, baselines: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Write below `folder`; `baselines` has by name `nll`, nats per dimension, and `kl`."""
        super().__init__()
        self._noise_model = noise_model
        self._learned = tf.summary.create_file_writer(str(folder / "learned"))
        self._baselines = {
            name: (scores, tf.summary.create_file_writer(str(folder / name)))
            for name, scores in baselines.items()
        }

    def on_train_begin(self, logs: Logs = None) -> None:
        charts = [
            layout_pb2.Chart(title=group, multiline={"tag": [f"^{tag(group, x)}$" for x in values]})
            for group, values in self._noise_model.summaries().items()
        ]
        category = layout_pb2.Category(title="what the model has learned", chart=charts)
        layout = custom_scalar.pb(layout_pb2.Layout(category=[category])).value[0]
        with self._learned.as_default():
            tf.summary.write(
                layout.tag, tf.constant(layout.tensor.string_val[0]), 0, layout.metadata
            )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        with self._learned.as_default(epoch):
            for name, value in tagged(self._noise_model.summaries()).items():
                tf.summary.scalar(name, value)
        for scores, writer in self._baselines.values():
            with writer.as_default(epoch):
                for metric in ("nll", "kl"):
                    tf.summary.scalar(f"epoch_{metric}", scores[metric])

    def on_train_end(self, logs: Logs = None) -> None:
        self._learned.close()
        for _, writer in self._baselines.values():
            writer.close()


class NoisePictures(tf_keras.callbacks.Callback):
    """Write pictures of patches to TensorBoard after each evaluation."""

    def __init__(self, folder: Path, draw: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """`draw` gives, by name, rendered pictures uint8 `[H, W, 3]` of the model's samples."""
        super().__init__()
        self._draw = draw
        self._writer = tf.summary.create_file_writer(str(folder / "pictures"))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if any(name.startswith("val_") for name in logs or {}):
            with self._writer.as_default(epoch):
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


def keras_curves(folder: Path) -> tf_keras.callbacks.Callback:
    """Return Keras' own curves of loss and metrics in training and in evaluation."""
    return tf_keras.callbacks.TensorBoard(str(folder), write_graph=False)


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
        measured = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self._begun, 3)
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, **measured, **learned})
        write_csv(self._path, self.rows)
