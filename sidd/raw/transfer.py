"""The photon transfer: the variance of noise against intensity, and the line through it.

Janesick, "Photon transfer", SPIE 2007; variance = slope x + offset as in Foi et al., TIP 2008.
"""

from dataclasses import dataclass

import numpy as np

_BINS = 80
_FEWEST = 16
_WIDTH = 6.0


@dataclass(frozen=True, eq=False)
class Points:
    """Bins of blocks of one channel.

    Attributes:
        intensity, variance, error: [K], mean of the blocks' intensities and of their variances,
            and the standard error of the latter.
        count: [K], blocks.
    """

    intensity: np.ndarray
    variance: np.ndarray
    error: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class Line:
    """variance = slope x + offset, with standard errors."""

    slope: float
    offset: float
    slope_error: float
    offset_error: float


def bins(mean: np.ndarray, variance: np.ndarray, noise: np.ndarray, most: int = _BINS) -> Points:
    """Return blocks [n] in at most `most` bins of intensity.

    A bin is wider than six standard deviations `noise` [n] of a block's mean, so that its blocks
    are not sorted by their noise, and has at least 16 blocks.
    """
    order = np.argsort(mean, kind="stable")
    mean, variance, noise = mean[order], variance[order].astype(float), noise[order]
    smallest = max(_FEWEST, len(mean) // most)
    edges = [0]
    while len(mean) - edges[-1] >= 2 * smallest:
        start = edges[-1]
        wide = np.searchsorted(mean, mean[start] + _WIDTH * noise[start])
        end = max(start + smallest, int(wide))
        if len(mean) - end < smallest:
            break
        edges.append(end)
    edges.append(len(mean))
    count = np.diff(edges)
    starts = edges[:-1]
    x = np.add.reduceat(mean.astype(float), starts) / count
    y = np.add.reduceat(variance, starts) / count
    scatter = np.add.reduceat(variance**2, starts) / count - y**2
    error = np.sqrt(np.maximum(scatter, 0) / np.maximum(count - 1, 1))
    return Points(x, y, error, count)


def fit_line(points: Points, smallest_offset: float) -> Line:
    """Fit a line by weighted least squares.

    The error of a bin is taken from the line's own variance, in proportion, as measured errors are
    small where variances happen to be. Errors of the result grow with the misfit. An offset below
    `smallest_offset`, which quantisation alone has, becomes that.
    """
    x, y, count = points.intensity, points.variance, points.count
    relative = np.sum(points.error * np.sqrt(count) / np.maximum(y, 1e-30) * count) / count.sum()
    relative = max(float(relative), 1e-6)
    expected = np.maximum(y, 1e-30)
    for _ in range(10):
        error = relative * expected / np.sqrt(count)
        design = np.stack([x, np.ones_like(x)], axis=1) / error[:, None]
        inverse = np.linalg.pinv(design.T @ design)
        slope, offset = inverse @ (design.T @ (y / error))
        expected = np.maximum(slope * x + offset, 0.05 * np.maximum(y, 1e-30))
    if offset < smallest_offset:
        offset = smallest_offset
        slope = np.sum(x * (y - offset) / error**2) / np.sum(x**2 / error**2)
    misfit = np.sum(((y - slope * x - offset) / error) ** 2) / max(len(x) - 2, 1)
    errors = np.sqrt(np.diag(inverse) * max(1.0, float(misfit)))
    return Line(float(slope), float(offset), float(errors[0]), float(errors[1]))
