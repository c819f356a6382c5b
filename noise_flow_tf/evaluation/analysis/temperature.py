"""Marginal KL over the sampling temperature."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from noise_flow_tf.evaluation.histograms import divergence, histogram
from noise_flow_tf.evaluation.metrics import KL_STRIDE
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.protocol import NoiseModel, distribution
from noise_flow_tf.protocol import sample as draw

TEMPERATURES = tuple(round(0.1 * tenths, 1) for tenths in range(4, 13))
"""0.4 to 1.2, the standard deviation T of the latent z ~ N(0, T^2) when sampling."""


class KLOverTemperature:
    """The marginal KL of models' samples at each of `TEMPERATURES`, of every 5th patch.

    Models without a latent, which have no temperature, are left out.
    """

    def __init__(self, models: Mapping[str, NoiseModel], seed: int = 0) -> None:
        """Compile each of the `models` once, for all temperatures; `seed` is of the latents."""
        self._samplers = {name: _sampler(model) for name, model in models.items()}
        self._seed = seed
        self._number = 0
        self._kl: dict[str, list[list[float]]] = {}

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        """Add a batch of `{"noise", "clean", "iso", "camera", "nlf"}`."""
        subset = {name: tf.convert_to_tensor(values[::KL_STRIDE]) for name, values in batch.items()}
        seed = tf.constant([self._seed, self._number])
        self._number += 1
        real = [histogram(patch) for patch in subset["noise"].numpy()]
        for name, sample in self._samplers.items():
            for number, temperature in enumerate(TEMPERATURES):
                noise = sample(subset, tf.constant(temperature), seed)
                if noise is None:
                    break
                values = self._kl.setdefault(name, [[] for _ in TEMPERATURES])[number]
                values += [
                    divergence(p, histogram(n)) for p, n in zip(real, noise.numpy(), strict=True)
                ]

    def results(self) -> dict[str, list[float]]:
        """Return by model the mean over patches for each of `TEMPERATURES`, in nats."""
        return {name: [float(np.mean(kl)) for kl in lists] for name, lists in self._kl.items()}

    def above_one(self) -> dict[str, list[list[float]]]:
        """Return by model, for each of `TEMPERATURES`, (difference, standard error) to the KL at 1.

        The differences are paired, patch by patch; the errors take the patches as independent.
        """
        one = TEMPERATURES.index(1.0)
        results = {}
        for name, lists in self._kl.items():
            differences = np.array(lists) - np.array(lists[one])
            errors = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
            results[name] = np.stack([differences.mean(axis=1), errors], axis=1).tolist()
        return results


def _sampler(model: NoiseModel) -> Callable[..., tf.Tensor | None]:
    @tf.function(reduce_retracing=True, autograph=False)
    @own_graph()
    def sample(
        batch: Mapping[str, tf.Tensor], temperature: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor | None:
        p = distribution(model, batch)
        return draw(p, seed, temperature) if hasattr(p, "noise_of") else None

    return sample
