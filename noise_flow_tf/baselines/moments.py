"""The noise's second moment over the clean intensity, and noise level functions fitted to it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from noise_flow_tf.baselines.fitted import Batches, Condition, groups

_BINS = 4096
_SMALLEST = 1e-12
_FURTHEST = 20.0
"""How far a fitted logarithm may be from its start."""


class Moments(NamedTuple):
    """Noise by bins of the clean intensity: what the likelihood of an NLF depends on.

    Bins are equal in the square root of the intensity, so that they are narrow (6e-8) near black,
    where the variance changes most in proportion.

    Attributes:
        number: `[bins]`, of values.
        intensity: `[bins]`, the mean of max(clean, 0).
        square: `[bins]`, the mean of noise^2.
    """

    number: np.ndarray
    intensity: np.ndarray
    square: np.ndarray


def moments(batches: Batches, cameras: Sequence[str]) -> dict[Condition, Moments]:
    """Return the moments of noise by camera and ISO, in one pass over the batches.

    Raises:
        ValueError: as `groups`; noise that is 0 everywhere for a camera and ISO.
    """
    sums: dict[Condition, np.ndarray] = {}
    for condition, group in groups(batches, cameras):
        intensity = np.maximum(group.clean, 0).ravel()
        square = np.square(group.noise).ravel()
        place = np.minimum((np.sqrt(intensity) * _BINS).astype(int), 2 * _BINS - 1)
        new = [np.bincount(place, w, 2 * _BINS) for w in (None, intensity, square)]
        sums[condition] = sums.get(condition, 0) + np.stack(new)
    found = {}
    for condition, (count, intensity, square) in sorted(sums.items()):
        if not square.sum() > 0:
            raise ValueError(
                f"the noise of camera {cameras[condition[0]]} at ISO {condition[1]} is 0 "
                "everywhere; leave these images out"
            )
        some = count > 0
        of_bin = (intensity[some] / count[some], square[some] / count[some])
        found[condition] = Moments(count[some], *of_bin)
    return found


def fit_nlf(of: Moments) -> tuple[float, float]:
    """Return the (beta1, beta2) of maximum likelihood for n ~ N(0, beta1 * clean + beta2).

    >>> exact = Moments(np.ones(9), np.arange(9.0), 0.5 * np.arange(9.0) + 0.25)
    >>> [round(beta, 6) for beta in fit_nlf(exact)]
    [0.5, 0.25]
    """
    mean = np.array([np.average(of.intensity, weights=of.number), 1.0])
    start = np.log(np.average(of.square, weights=of.number) / 2) - np.log(mean + _SMALLEST)

    def variance(log_betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        terms = np.exp(log_betas)[:, np.newaxis] * [of.intensity, np.ones_like(of.intensity)]
        return terms.sum(0), terms

    beta1, beta2 = np.exp(most_likely(of.number, of.square, variance, start))
    return float(beta1), float(beta2)


def most_likely(
    count: np.ndarray,
    square: np.ndarray,
    variance: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    start: np.ndarray,
) -> np.ndarray:
    """Return the parameters of maximum likelihood for the variance of Gaussian noise, by L-BFGS.

    Args:
        count: `[bins]`, the number of values.
        square: `[bins]`, their mean square.
        variance: from the parameters `[P]`, the variance `[bins]` and its derivatives `[P, bins]`.
        start: `[P]`.
    """
    weight = count / count.sum()

    def nll(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        v, derivatives = variance(parameters)
        value = 0.5 * np.sum(weight * (np.log(v) + square / v))
        return value, derivatives @ (0.5 * weight * (1 - square / v) / v)

    limits = [(x - _FURTHEST, x + _FURTHEST) for x in start]
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000, "maxcor": 20}
    found = minimize(nll, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return found.x
