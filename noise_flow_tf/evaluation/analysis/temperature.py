"""Marginal KL over the sampling temperature."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from noise_flow_tf.evaluation import KL_STRIDE
from noise_flow_tf.evaluation.metrics import divergence, histogram
from noise_flow_tf.protocol import NoiseModel, distribution
from noise_flow_tf.protocol import sample as draw

TEMPERATURES = tuple(round(0.1 * tenths, 1) for tenths in range(4, 13))
"""0.4 to 1.2, the standard deviation T of the latent z ~ N(0, T^2) when sampling."""


class KLOverTemperature:
    """The marginal KL of models' samples at each of `TEMPERATURES`, of every 5th patch."""

    def __init__(self, models: Mapping[str, NoiseModel], seed: int = 0):
        """Compiles each of the `models` once, for all temperatures; `seed` is of the latents."""
        self._samplers = {name: _sampler(model) for name, model in models.items()}
        self._seed = seed
        self._number = 0
        self._kl = {name: [[] for _ in TEMPERATURES] for name in models}

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        """Adds a batch of `{"noise", "clean", "iso", "camera", "nlf"}`."""
        few = {name: tf.convert_to_tensor(values[::KL_STRIDE]) for name, values in batch.items()}
        seed = tf.constant([self._seed, self._number])
        self._number += 1
        real = [histogram(patch) for patch in few["noise"].numpy()]
        for name, sample in self._samplers.items():
            for temperature, values in zip(TEMPERATURES, self._kl[name], strict=True):
                noise = sample(few, tf.constant(temperature), seed).numpy()
                values += [divergence(p, histogram(n)) for p, n in zip(real, noise, strict=True)]

    def results(self) -> dict[str, list[float]]:
        """By model, the mean over patches for each of `TEMPERATURES`, in nats."""
        return {name: [float(np.mean(kl)) for kl in lists] for name, lists in self._kl.items()}

    def above_one(self) -> dict[str, list[list[float]]]:
        """By model, for each of `TEMPERATURES` (difference, standard error) to the KL at 1.

        The differences are paired, patch by patch; the errors take the patches as independent.
        """
        one = TEMPERATURES.index(1.0)
        told = {}
        for name, lists in self._kl.items():
            differences = np.array(lists) - np.array(lists[one])
            errors = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
            told[name] = np.stack([differences.mean(axis=1), errors], axis=1).tolist()
        return told


def _sampler(model: NoiseModel):
    @tf.function(reduce_retracing=True, autograph=False)
    def sample(batch, temperature, seed):
        return draw(distribution(model, batch), seed, temperature)

    return sample
