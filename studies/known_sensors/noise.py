"""Noise of known sensors, a Noise Flow as a sensor, and batches of both."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.protocol import Batch, distribution, sample
from sidd.offline.known_sensors import (
    GaussianSensor,
    KnownSensor,
    PoissonGaussianSensor,
    dequantise,
)
from sidd.offline.synthetic import camera_iso_pairs

_TEST_BATCH = 70

Condition = tuple[str, int]
"""A camera and an ISO level."""


class ModelSensor(KnownSensor):
    """A noise model as a sensor: it draws its samples, and its likelihood is the truth.

    Its conditions are those that the model was made for; its `variance` is that of a large sample's
    mean scale, `nf.predicted_scale` squared.
    """

    def __init__(self, model: nf.NoiseFlow) -> None:
        self._model = model

        @tf.function(reduce_retracing=True, autograph=False)
        @own_graph()
        def drawn(batch: Batch, seed: tf.Tensor) -> tf.Tensor:
            return sample(distribution(model, batch), seed)

        @tf.function(reduce_retracing=True, autograph=False)
        @own_graph()
        def scored(batch: Batch) -> tf.Tensor:
            return distribution(model, batch).log_prob(batch["noise"])

        self._drawn, self._scored = drawn, scored

    def variance(self, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        return np.square(nf.predicted_scale(self._model, clean, iso, camera).numpy())

    def draw(
        self, clean: np.ndarray, camera: str, iso: int, random: np.random.Generator
    ) -> np.ndarray:
        seed = tf.constant(random.integers(2**31 - 1, size=2), tf.int32)
        return self._drawn(batch_of(clean, (camera, iso)), seed).numpy()

    def log_prob(self, noise: np.ndarray, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        batch = batch_of(clean, (camera, iso)) | {"noise": tf.constant(noise)}
        return self._scored(batch).numpy().astype(np.float64)


class Part(NamedTuple):
    """Draws of one condition: patches and noise `[N, h, w, 4]`, as models see it, and the truth.

    `truth` has the exact NLL of each patch, `[N]`, in nats per dimension of a density.
    """

    clean: np.ndarray
    noise: np.ndarray
    truth: np.ndarray


def all_sensors(model: nf.NoiseFlow | None) -> dict[str, KnownSensor]:
    """Return the sensors by name."""
    sensors: dict[str, KnownSensor] = {
        "white": GaussianSensor(),
        "correlated": GaussianSensor(correlated=True),
        "poisson_gaussian": PoissonGaussianSensor(),
    }
    return sensors if model is None else sensors | {"model": ModelSensor(model)}


def draws(
    sensor: KnownSensor, clean: np.ndarray, random: np.random.Generator, with_truth: bool = True
) -> dict[Condition, Part]:
    """Draw noise for patches, each with a random one of SIDD's pairs of camera and ISO level.

    Without `with_truth`, which takes long for sensors with levels, the exact NLL is NaN.
    """
    pairs = camera_iso_pairs()
    chosen = random.integers(len(pairs), size=len(clean))
    parts = {}
    for number, (camera, iso) in enumerate(pairs):
        patches = clean[chosen == number]
        if not len(patches):
            continue
        noise = sensor.draw(patches, camera, iso, random)
        truth = np.full(len(patches), np.nan)
        if with_truth:
            truth = -sensor.log_prob(noise, patches, camera, iso) / patches[0].size
        if sensor.bits is not None:
            truth -= sensor.bits * np.log(2)  # nats of mass to those of a density
            noise = dequantise(noise, sensor.bits, random)
        parts[camera, iso] = Part(patches, noise, truth)
    return parts


def batch_of(clean: np.ndarray, condition: Condition) -> dict[str, tf.Tensor]:
    camera, iso = condition
    return {
        "clean": tf.constant(clean),
        "iso": tf.fill([len(clean)], iso),
        "camera": tf.fill([len(clean)], sidd.CAMERAS.index(camera)),
    }


def batches_of(sensor: KnownSensor, part: Part, condition: Condition) -> Iterator[Batch]:
    """Yield batches of a condition, with the NLF of the sensor's true variance."""
    offset, one = (
        float(sensor.variance(np.full([1, 2, 2, 4], y, np.float32), *condition).mean())
        for y in (0.0, 1.0)
    )
    extra = 0.0 if sensor.bits is None else 2 * 4.0**-sensor.bits / 12  # steps, and dequantisation
    for start in range(0, len(part.clean), _TEST_BATCH):
        members = slice(start, start + _TEST_BATCH)
        batch = batch_of(part.clean[members], condition)
        nlf = tf.tile([[one - offset, offset + extra]], [len(part.clean[members]), 1])
        yield batch | {"noise": tf.constant(part.noise[members]), "nlf": nlf}


def count(parts: Mapping[Condition, Part]) -> int:
    return sum(len(part.clean) for part in parts.values())
