"""A model for one's own camera: two ways to fit it, each from a measured noise level function."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from noise_flow_tf import architecture
from noise_flow_tf.baselines import CameraNLF
from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.training import schedules
from noise_flow_tf.training.callbacks import ReestimateAverages
from noise_flow_tf.training.names import BETA_2
from noise_flow_tf.training.new_cameras import fit_camera
from noise_flow_tf.training.progress import Progress
from noise_flow_tf.training.trainer import Trainer

NLF = tuple[float, float]
"""(beta1, beta2): the variance of noise is beta1 y + beta2 of a clean intensity y in [0, 1]."""

_ROUNDS = 10
_AVERAGED = 32
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Fitted:
    """A model of a camera, and its NLL in nats per dimension on held-out noise.

    Attributes:
        model: with the best weights on the held-out noise, those of the start among them.
        start: the NLL before training.
        nll: the NLL of `model`.
        steps: after how many training steps it was the best; 0 for the start.
    """

    model: NoiseFlow
    start: float
    nll: float
    steps: int


def of_camera(batches: tf.data.Dataset, camera: str) -> tf.data.Dataset:
    """Give all batches of a dataset the camera's code."""
    return batches.map(lambda b: {**b, "camera": tf.fill(tf.shape(b["iso"]), camera)})


def add_camera(
    model: NoiseFlow,
    camera: str,
    nlf: Mapping[int, NLF],
    batches: tf.data.Dataset,
    steps: int = 300,
    seed: int = 0,
) -> NoiseFlow:
    """Copy a model with one more camera whose parameters follow its measured NLFs.

    They are fitted to Gaussian noise that is drawn from the NLF at the clean intensities of
    `batches`: what other cameras' flow steps make of such noise is accounted for.

    Args:
        model: the model of other cameras.
        camera: the new one's code.
        nlf: by ISO level; levels that the model does not have are added.
        batches: with `clean` and `iso`, of the ISO levels of `nlf`.
        steps: how many batches to fit to.
        seed: of the drawn noise.

    Raises:
        ValueError: as `NoiseFlow.with_camera`.
    """
    added = model.with_camera(camera, sorted(nlf))

    def drawn(number: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        of_image = _nlf_of(nlf, batch["iso"])
        slope, offset = (of_image[:, i, None, None, None] for i in (0, 1))
        variance = slope * tf.maximum(batch["clean"], 0) + tf.maximum(offset, _SMALLEST)
        key = tf.stack([seed, tf.cast(number, tf.int32)])
        normal = tf.random.stateless_normal(tf.shape(batch["clean"]), key)
        return {**batch, "noise": tf.sqrt(variance) * normal}

    simulated = of_camera(batches, camera).repeat().take(steps).enumerate().map(drawn)
    return fit_camera(added, camera, simulated, steps)


def model_of_its_own(
    model: NoiseFlow, camera: str, nlf: Mapping[int, NLF], seed: int = 0
) -> NoiseFlow:
    """Make a model of one camera alone, whose noise is that of its NLFs before it is trained.

    It has as many flow steps as `model`, which rotate white noise at first and change no density,
    behind a layer `nlf`. The steps of `model` itself would carry the correlation of its cameras.
    """
    steps = [code for code in architecture.parse(model.arch) if not architecture.CODES[code].kind]
    levels = sorted(nlf)
    own = NoiseFlow(
        "|".join(["nlf", *steps]), model.width, seed, cameras=[camera], iso_levels=levels
    )
    table = np.maximum([nlf[iso] for iso in levels], _SMALLEST)
    own.camera_parameters[0].assign(np.log(table).T[:, :, np.newaxis])
    return own


def fit(
    model: NoiseFlow,
    camera: str,
    batches: tf.data.Dataset,
    held_out: tf.data.Dataset,
    steps: int,
    learning_rate: float,
    alone: bool = False,
) -> Fitted:
    """Train a model in place, and keep the weights that are best on held-out noise.

    Args:
        model: has the camera.
        camera: the code of the camera that all batches are of.
        batches: to train on, repeated as needed.
        held_out: to choose the weights by.
        steps: how many batches to train on.
        learning_rate: the highest one; see `schedules.learning_rate`.
        alone: train the camera's own parameters alone.
    """
    trainer = Trainer(model, camera if alone else None)
    trainer.compile(schedules.adam("cosine", learning_rate, steps, beta_2=BETA_2["cosine"]))
    batches, held_out = (of_camera(data, camera) for data in (batches, held_out))
    start = trainer.evaluate(held_out, verbose=0, return_dict=True)["nll"]
    per_round = -(-steps // _ROUNDS)
    best = _Best(model, start, per_round)
    averages = [] if alone else [ReestimateAverages(batches.repeat().take(_AVERAGED))]
    trainer.fit(
        batches.repeat(),
        steps_per_epoch=per_round,
        epochs=_ROUNDS,
        validation_data=held_out,
        verbose=0,
        callbacks=[*averages, best, Progress(_ROUNDS, per_round)],
    )
    best.restore()
    return Fitted(model, start, best.nll, best.steps)


class _Best(tf_keras.callbacks.Callback):
    """Keeps the weights with the lowest NLL on the validation data, from the start on."""

    def __init__(self, model: NoiseFlow, start: float, per_round: int) -> None:
        super().__init__()
        self._variables, self._per_round = model.variables, per_round
        self.nll, self.steps = start, 0
        self._keep()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if logs and logs["val_nll"] < self.nll:
            self.nll, self.steps = logs["val_nll"], (epoch + 1) * self._per_round
            self._keep()

    def _keep(self) -> None:
        self._weights = [variable.numpy() for variable in self._variables]

    def restore(self) -> None:
        for variable, value in zip(self._variables, self._weights, strict=True):
            variable.assign(value)


class CalibratedNLF:
    """The noise level function of a camera at each ISO level, called like a noise model."""

    def __init__(self, nlf: Mapping[int, NLF]) -> None:
        self._nlf, self._model = nlf, CameraNLF()

    def __call__(self, clean: Any, iso: Any, camera: Any, training: bool = False) -> Any:
        return self._model(clean, iso, camera, nlf=_nlf_of(self._nlf, iso))


def _nlf_of(nlf: Mapping[int, NLF], iso: Any) -> tf.Tensor:
    """Return the NLFs `[B, 2]` of ISO levels `[B]`."""
    levels = sorted(nlf)
    place = tf.searchsorted(tf.constant(levels), tf.cast(iso, tf.int32))
    return tf.gather(tf.constant([nlf[level] for level in levels], tf.float32), place)


class OfCamera:
    """A noise model whose images are all of one camera, whatever the batches' indices say.

    So models of different cameras can be scored on the same batches.
    """

    def __init__(self, model: NoiseFlow, camera: str) -> None:
        self._model, self._camera = model, camera

    def __call__(self, clean: Any, iso: Any, camera: Any, training: bool = False) -> Any:
        return self._model(clean, iso, self._camera, training=training)
