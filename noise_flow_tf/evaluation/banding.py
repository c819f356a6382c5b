"""Banding: the noise that whole rows, or whole columns, of a sensor share."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noise_flow_tf.evaluation.noises import Noises, checked, unpacked

AXES = {"row": 1, "column": 2}
"""By what is shared, the axis of `[B, 2h, 2w]` along which rows, or columns, are numbered."""


def band_correlation(noise: ArrayLike, of: str = "row") -> float:
    """Return the part of the noise's variance that all pixels of a row, or column, share.

    Of each row of a patch's Bayer plane, the means of the left and the right half are taken; the
    result is their covariance over the rows, divided by the variance of the noise. Neighbours'
    correlation hardly counts, as halves are far apart: independent pixels have 0 on average, and
    row noise of variance b beside independent noise of variance a has b / (a + b).

    Args:
        noise: `[B, h, w, 4]`, in units of raw intensity, in the orientation of the file.
        of: "row" or "column".

    Raises:
        ValueError: noise of another shape, empty, too small, integer, constant or not finite.

    >>> white = np.random.default_rng(0).normal(size=[50, 32, 32, 4])
    >>> abs(round(band_correlation(white), 2))
    0.0
    """
    if of not in AXES:
        raise ValueError(f"banding is of {' or '.join(AXES)}; got {of!r}")
    noises = checked(noise, noise)
    shared, variance = _sums(noises.real, AXES[of]).sum(axis=0)
    return float(shared / variance)


def row_sums(noises: Noises) -> np.ndarray:
    """Return, per patch, shared and whole variance of both noises by row, `[B, 2, 2]`."""
    return _of_both(noises, "row")


def column_sums(noises: Noises) -> np.ndarray:
    """Return, per patch, shared and whole variance of both noises by column, `[B, 2, 2]`."""
    return _of_both(noises, "column")


def difference_of_sums(sums: np.ndarray) -> float | None:
    """Return the synthetic noise's `band_correlation` less the real one's; None without noise."""
    (real, synthetic), (of_real, of_synthetic) = sums.T
    if not (of_real > 0 and of_synthetic > 0):
        return None
    return float(synthetic / of_synthetic - real / of_real)


def _of_both(noises: Noises, of: str) -> np.ndarray:
    return np.stack([_sums(noise, AXES[of]) for noise in noises[:2]], axis=1)


def _sums(noise: np.ndarray, axis: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return, per patch, the covariance of half rows' means, and the variance, `[B, 2]`."""
    planes = np.moveaxis(unpacked(noise).astype(np.float64), axis, 1)
    half = planes.shape[2] // 2
    left, right = planes[:, :, :half].mean(axis=2), planes[:, :, half:].mean(axis=2)
    left, right = (side - side.mean(axis=1, keepdims=True) for side in (left, right))
    shared = np.sum(left * right, axis=1) / (planes.shape[1] - 1)
    return np.stack([shared, planes.reshape(len(planes), -1).var(axis=1)], axis=1)
