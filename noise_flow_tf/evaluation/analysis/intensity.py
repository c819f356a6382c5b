"""How the variance of noise grows with the clean intensity."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

EDGES = np.linspace(0, 1, 33) ** 2
"""Of the bins of clean intensity in [0, 1]: narrower in the dark, where most pixels are."""


class VarianceOverIntensity:
    """The variance of noise in bins of clean intensity, for groups of images and several sources.

    A group is what shares a noise level function, such as a camera at an ISO level; a source is
    real noise, or a model's.

    >>> rng = np.random.default_rng(0)
    >>> clean = rng.uniform(size=(20, 32, 32, 4))
    >>> bins = VarianceOverIntensity()
    >>> bins.add("S6", clean, {"real": rng.normal(size=clean.shape) * np.sqrt(0.01 * clean)})
    >>> results = bins.results()["S6"]
    >>> bool(np.allclose(results["variance"]["real"], 0.01 * np.array(results["clean"]), rtol=0.2))
    True
    """

    def __init__(self, fewest: int = 1000) -> None:
        """Leave out bins with fewer than `fewest` values, whose variance is not known well."""
        self._fewest = fewest
        self._groups: dict[Hashable, dict[str, Any]] = {}

    def add(self, group: Hashable, clean: np.ndarray, noises: Mapping[str, np.ndarray]) -> None:
        """Add clean intensities and, of the same shape, each source's noise for them."""
        bins = np.clip(np.digitize(clean.ravel(), EDGES) - 1, 0, len(EDGES) - 2)
        sums = self._groups.setdefault(group, {"count": 0.0, "clean": 0.0, "noise": {}})
        sums["count"] += _sums(bins)
        sums["clean"] += _sums(bins, clean)
        for source, noise in noises.items():
            moments = np.stack(
                [_sums(bins, noise), _sums(bins, np.square(noise, dtype=np.float64))]
            )
            sums["noise"][source] = sums["noise"].get(source, 0.0) + moments

    def results(self) -> dict[Hashable, dict[str, Any]]:
        """Return by group lists over bins: `count`, mean `clean`, `variance` of each source."""
        results = {}
        for group, sums in self._groups.items():
            enough = sums["count"] >= self._fewest
            count = sums["count"][enough]
            results[group] = {
                "count": count.astype(int).tolist(),
                "clean": (sums["clean"][enough] / count).tolist(),
                "variance": {
                    source: (squares[enough] / count - np.square(total[enough] / count)).tolist()
                    for source, (total, squares) in sums["noise"].items()
                },
            }
        return results


def _sums(bins: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
    weights = None if values is None else np.asarray(values, np.float64).ravel()
    return np.bincount(bins, weights, minlength=len(EDGES) - 1).astype(np.float64)
