"""How the variance and the tails of noise go with the clean intensity."""

import numpy as np
from numpy.typing import ArrayLike

from noise_flow_tf.evaluation.noises import Noises, checked

EDGES = np.linspace(0, 1, 17) ** 2
"""Of the bins of clean intensity in [0, 1]: narrower in the dark, where most pixels are."""

FEWEST_FOR_VARIANCE = 100
FEWEST_FOR_KURTOSIS = 1000
"""A bin with fewer noise values does not count."""

_FEWEST_BINS = 3
_LEAST_COURSE = 20.0
"""R^2 is undefined if the log variance varies over bins by less than 10 times its own error."""


def variance_ratio(real: ArrayLike, synthetic: ArrayLike, clean: ArrayLike) -> float:
    """Return by which factor synthetic noise is stronger: the ratio of variances, best at 1.

    The variance of both noises is taken in bins of the clean intensity with at least 100 values;
    the result is the geometric mean of synthetic / real over bins, weighted by their values.

    Args:
        real: real noise `[B, h, w, 4]`, in units of raw intensity.
        synthetic: sampled noise for the same patches.
        clean: the patches, in [0, 1].

    Raises:
        ValueError: noise of another shape, empty, integer, constant or not finite; or no bin with
            100 values.

    >>> noise, clean = np.random.default_rng(0).normal(size=[2, 1, 32, 32, 4])
    >>> round(variance_ratio(noise, 2 * noise, 0 * clean), 6)
    4.0
    """
    noises = checked(real, synthetic, clean, least=1)
    return _known(ratio_of_sums(variance_sums(noises).sum(axis=0)), FEWEST_FOR_VARIANCE)


def variance_r2(real: ArrayLike, synthetic: ArrayLike, clean: ArrayLike) -> float:
    """Return how much of the course of the variance over intensity synthetic noise has, R^2.

    R^2 = 1 - sum(w (log v_real - log v_synthetic)^2) / sum(w (log v_real - mean)^2), over bins of
    the clean intensity with at least 100 values, w their number. It is of logarithms, because the
    error of an estimated variance is proportional to it, so that these weights are the right ones;
    1 is best, 0 is as good as noise of one well-chosen strength, and a wrong strength is negative.
    Real noise whose variance does not depend on intensity has no R^2.

    Args:
        real: real noise `[B, h, w, 4]`, in units of raw intensity.
        synthetic: sampled noise for the same patches.
        clean: the patches, in [0, 1].

    Raises:
        ValueError: noise of another shape, empty, integer, constant or not finite; fewer than
            three bins with 100 values; or a variance that is the same in all of them.
    """
    noises = checked(real, synthetic, clean, least=1)
    sums = variance_sums(noises).sum(axis=0)
    value = r2_of_sums(sums)
    if value is None and len(_log_variances(sums)[0]) >= _FEWEST_BINS:
        raise ValueError("the variance of the real noise does not depend on intensity: no R2")
    return _known(value, FEWEST_FOR_VARIANCE, _FEWEST_BINS)


def kurtosis_error(real: ArrayLike, synthetic: ArrayLike, clean: ArrayLike) -> float:
    """Return how far the tails of synthetic noise are from those of real noise.

    The excess kurtosis m4 / m2^2 - 3 of both noises is taken in bins of the clean intensity with at
    least 1000 values; the result is the mean over bins of |synthetic - real|, weighted by values.

    Args:
        real: real noise `[B, h, w, 4]`, in units of raw intensity.
        synthetic: sampled noise for the same patches.
        clean: the patches, in [0, 1].

    Raises:
        ValueError: noise of another shape, empty, integer, constant or not finite; or no bin with
            1000 values.
    """
    noises = checked(real, synthetic, clean, least=1)
    return _known(kurtosis_of_sums(moment_sums(noises, 4).sum(axis=0)), FEWEST_FOR_KURTOSIS)


def variance_sums(noises: Noises) -> np.ndarray:
    """Return `moment_sums` up to squares."""
    return moment_sums(noises, 2)


def tail_sums(noises: Noises) -> np.ndarray:
    """Return `moment_sums` up to fourth powers."""
    return moment_sums(noises, 4)


def moment_sums(noises: Noises, highest: int) -> np.ndarray:
    """Return sums of powers 0 to `highest` of noise by bin, `[B, bins, 2, highest + 1]`.

    The two are the real and the synthetic noise. Sums add over patches.
    """
    count, bins = len(noises.clean), len(EDGES) - 1
    flat = noises.clean.reshape(count, -1)
    found = np.clip(np.digitize(flat, EDGES) - 1, 0, bins - 1)
    index = (found + bins * np.arange(count)[:, None]).ravel()
    sums = np.empty((count, bins, 2, highest + 1))
    for which, noise in enumerate((noises.real, noises.synthetic)):
        values = noise.reshape(-1).astype(np.float64)
        powers = np.ones_like(values)
        for power in range(highest + 1):
            of_bin = np.bincount(index, powers, minlength=count * bins)
            sums[:, :, which, power] = of_bin.reshape(count, bins)
            powers *= values
    return sums


def ratio_of_sums(sums: np.ndarray) -> float | None:
    """Return the `variance_ratio` of `variance_sums`; None if no bin has enough values."""
    weights, logs = _log_variances(sums)
    if not len(weights):
        return None
    return float(np.exp(weights @ (logs[:, 1] - logs[:, 0]) / weights.sum()))


def r2_of_sums(sums: np.ndarray) -> float | None:
    """Return the `variance_r2` of `variance_sums`; None if there are too few bins or no course."""
    weights, logs = _log_variances(sums)
    if len(weights) < _FEWEST_BINS:
        return None
    centred = logs[:, 0] - weights @ logs[:, 0] / weights.sum()
    total = weights @ np.square(centred)
    if total < _LEAST_COURSE * len(weights):  # by chance alone, it is 2 per bin
        return None
    return float(1 - weights @ np.square(logs[:, 0] - logs[:, 1]) / total)


def kurtosis_of_sums(sums: np.ndarray) -> float | None:
    """Return the `kurtosis_error` of `moment_sums`; None if no bin has enough values."""
    sums = sums[sums[:, 0, 0] >= FEWEST_FOR_KURTOSIS]
    m1, m2, m3, m4 = np.moveaxis(sums[..., 1:] / sums[..., :1], -1, 0)
    variance = m2 - m1**2
    varies = (variance > 0).all(axis=1)
    if not varies.any():
        return None
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    kurtosis = fourth[varies] / variance[varies] ** 2
    weights = sums[varies, 0, 0]
    return float(weights @ np.abs(kurtosis[:, 1] - kurtosis[:, 0]) / weights.sum())


def _log_variances(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of values of each bin with enough of them, and log variances `[., 2]`."""
    sums = sums[sums[:, 0, 0] >= FEWEST_FOR_VARIANCE]
    means = sums[..., 1:] / sums[..., :1]
    variance = means[..., 1] - np.square(means[..., 0])
    varies = (variance > 0).all(axis=1)
    return sums[varies, 0, 0], np.log(variance[varies])


def _known(value: float | None, fewest: int, bins: int = 1) -> float:
    if value is None:
        raise ValueError(
            f"fewer than {bins} bins of the clean intensity have {fewest} noise values that vary; "
            "give more or other patches"
        )
    return value
