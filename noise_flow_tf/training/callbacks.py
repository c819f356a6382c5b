"""What a run shows and keeps while it trains."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar

_NLL_TAG = "epoch_nll"


class LearnedCurves(tf_keras.callbacks.Callback):
    """Writes what the model has learned to TensorBoard after each epoch.

    Those are `NoiseFlow.curves()`: beta1, beta2, the gain of every ISO level and the camera
    factors, each kind drawn together under "Custom scalars"; and the NLL of the baselines as level
    lines in the chart of Keras' own `epoch_nll`.
    """

    def __init__(self, noise_model: Any, folder: Path, baseline_nll: Mapping[str, float]):
        """Writes below `folder`; `baseline_nll` is in nats per dimension, by name."""
        super().__init__()
        self._noise_model = noise_model
        self._learned = tf.summary.create_file_writer(str(folder / "learned"))
        self._baselines = {
            name: (nll, tf.summary.create_file_writer(str(folder / name)))
            for name, nll in baseline_nll.items()
        }

    def on_train_begin(self, logs=None):
        kinds: dict[str, list[str]] = {}
        for name in self._noise_model.curves():
            kinds.setdefault(name.split("/")[0], []).append(f"^{name}$")
        charts = [
            layout_pb2.Chart(title=kind, multiline=layout_pb2.MultilineChartContent(tag=tags))
            for kind, tags in kinds.items()
        ]
        category = layout_pb2.Category(title="what the model has learned", chart=charts)
        layout = custom_scalar.pb(layout_pb2.Layout(category=[category])).value[0]
        with self._learned.as_default():
            tf.summary.write(
                layout.tag, tf.constant(layout.tensor.string_val[0]), 0, layout.metadata
            )

    def on_epoch_end(self, epoch, logs=None):
        with self._learned.as_default(epoch):
            for name, value in self._noise_model.curves().items():
                tf.summary.scalar(name, value)
        for nll, writer in self._baselines.values():
            with writer.as_default(epoch):
                tf.summary.scalar(_NLL_TAG, nll)

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
        if "val_nll" in (logs or {}):
            with self._writer.as_default(epoch):
                for name, picture in self._draw().items():
                    tf.summary.image(name, picture[np.newaxis])

    def on_train_end(self, logs=None):
        self._writer.close()


class BestWeights(tf_keras.callbacks.ModelCheckpoint):
    """Keeps the weights with the lowest test NLL, looking after epochs that were evaluated."""

    def __init__(self, prefix: Path):
        super().__init__(
            str(prefix), monitor="val_nll", mode="min", save_best_only=True, save_weights_only=True
        )

    def on_epoch_end(self, epoch, logs=None):
        if "val_nll" in (logs or {}):
            super().on_epoch_end(epoch, logs)


class StopOnDivergence(tf_keras.callbacks.Callback):
    """Ends training with a ValueError when the loss, or the test loss, is not finite."""

    def on_train_batch_end(self, batch, logs=None):
        self._check("loss", logs, f"step {batch + 1} of an epoch")

    def on_epoch_end(self, epoch, logs=None):
        self._check("val_loss", logs, f"the end of epoch {epoch + 1}")

    @staticmethod
    def _check(name, logs, when):
        if name in logs and not np.isfinite(logs[name]):
            raise ValueError(
                f"training diverged: {name} was {logs[name]} at {when}; a lower learning rate "
                "(--lr) may help"
            )


def last_weights(prefix: Path) -> tf_keras.callbacks.Callback:
    """Keeps the weights and the optimiser's state of the last epoch."""
    return tf_keras.callbacks.ModelCheckpoint(str(prefix), save_weights_only=True)


def keras_curves(folder: Path) -> tf_keras.callbacks.Callback:
    """Keras' own curves of loss, NLL and latent spread in training and in evaluation."""
    return tf_keras.callbacks.TensorBoard(str(folder), write_graph=False)


class History(tf_keras.callbacks.CSVLogger):
    """Keras' history as CSV, with what the model has learned in further columns."""

    def __init__(self, path: Path, noise_model: Any):
        super().__init__(str(path))
        self._noise_model = noise_model

    def on_epoch_end(self, epoch, logs=None):
        learned = {name: value.numpy() for name, value in self._noise_model.curves().items()}
        super().on_epoch_end(epoch, {**(logs or {}), **learned})
