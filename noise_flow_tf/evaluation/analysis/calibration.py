"""Whether the latent of noise is the standard normal that a perfect model makes of it."""

from collections.abc import Hashable
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from noise_flow_tf.evaluation.analysis.correlation import Correlation, correlation_error

_EDGES = np.linspace(-20, 20, 4001)
_PROBABILITIES = ndtr(np.linspace(-4, 4, 41))


class Calibration:
    """Moments, quantiles and whiteness of latents; for a perfect model those of white N(0, 1).

    >>> calibration = Calibration()
    >>> calibration.add("S6", np.random.default_rng(0).normal(size=(50, 32, 32, 4)))
    >>> results = calibration.results()["all"]
    >>> [round(abs(results[name]), 1) for name in ("mean", "variance", "excess_kurtosis")]
    [0.0, 1.0, 0.0]
    """

    def __init__(self) -> None:
        self._powers: dict[Hashable, np.ndarray] = {}
        self._histogram = np.zeros(len(_EDGES) + 1)
        self._correlation = Correlation(max_lag=1)

    def add(self, group: Hashable, latent: np.ndarray) -> None:
        """Add the latent of one image's noise, all patches `[N, h, w, 4]`, to its group."""
        values = np.asarray(latent, np.float64).ravel()
        powers = np.array([np.sum(values**k) for k in range(5)])
        self._powers[group] = self._powers.get(group, 0.0) + powers
        self._histogram += np.bincount(np.digitize(values, _EDGES), minlength=len(_EDGES) + 1)
        self._correlation.add(latent)

    def results(self) -> dict[str, Any]:
        """Return `all`, and below `groups` each group: `mean`, `variance`, `excess_kurtosis`.

        `all` has also `whiteness`, the RMS of the correlation coefficients of neighbours and
        channels, 0 for white noise; and `quantiles`, a list of (standard normal's, latent's).

        Raises:
            ValueError: there is no image.
        """
        if not self._powers:
            raise ValueError("calibration needs at least one image")
        rho = self._correlation.mean()
        every = np.sum(list(self._powers.values()), axis=0)
        cumulated = np.cumsum(self._histogram)[:-1] / self._histogram.sum()
        return {
            "all": {
                **_moments(every),
                "whiteness": correlation_error(rho, np.zeros_like(rho)),
                "quantiles": [
                    [float(ndtri(p)), float(np.interp(p, cumulated, _EDGES))]
                    for p in _PROBABILITIES
                ],
            },
            "groups": {group: _moments(powers) for group, powers in self._powers.items()},
        }


def _moments(powers: np.ndarray) -> dict[str, float]:
    count, *sums = powers
    m1, m2, m3, m4 = (total / count for total in sums)
    variance = m2 - m1**2
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    return {
        "mean": float(m1),
        "variance": float(variance),
        "excess_kurtosis": float(fourth / variance**2 - 3),
    }
