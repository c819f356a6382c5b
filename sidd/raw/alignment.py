"""How the frames of a burst differ: in brightness, because light flickers, and in position."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from sidd.raw.bursts import Burst

MAX_GAIN = 0.1
"""Frames whose brightness differs by more from the others' are not of the same setting."""

_SCALES = (1, 4, 16)
_MOST_NOISE = 0.1
_BLUR = 1.0
_CORRELATED = 2 * np.sqrt(np.pi) * _BLUR  # errors of a blurred image are so much larger


@dataclass(frozen=True, eq=False)
class Shifts:
    """The displacement of each frame against the burst's median position.

    Attributes:
        pixels: [N, 2], down and right, in pixels.
        errors: [N, 2], standard errors; infinite, with 0 pixels, for a scene without texture.
    """

    pixels: np.ndarray
    errors: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """[N], in pixels, whatever the direction."""
        return np.hypot(*self.pixels.T)

    @property
    def wobble(self) -> float:
        """The variance of the positions along either axis, in square pixels, less its error's."""
        errors = np.where(np.isfinite(self.errors), self.errors, 0) ** 2
        spread = np.where(np.isfinite(self.errors), self.pixels, 0).var(0, ddof=1)
        return float(np.maximum(spread - errors.mean(0), 0).mean())

    def beyond(self, limit: float) -> np.ndarray:
        """Return the frames that moved by more than `limit` pixels, errors taken into account."""
        error = np.hypot(*np.where(np.isfinite(self.errors), self.errors, 0).T)
        return np.flatnonzero(self.lengths - 2 * error > limit)

    @property
    def measurable(self) -> bool:
        """Whether the scene has enough texture."""
        return bool(np.isfinite(self.errors).any())


def gains(burst: Burst) -> np.ndarray:
    """Return the brightness [N, 2, 2] of each frame and place of the cell, 1 on average.

    It is the slope of a frame against the mean of all, over the pixels that no frame has clipped:
    the same pixels for all frames, so that none is favoured. A dark frame has no slope to speak of
    and gets 1, because its own noise is in the mean too.
    """
    count = len(burst.levels)
    products, squares = np.zeros((count, 2, 2)), np.zeros((2, 2))
    for rows in burst.bands():
        frames = burst.intensities(rows)
        mean = frames.mean(0)
        mean[burst.clipped(rows).any(0)] = 0
        for row in (0, 1):
            for column in (0, 1):
                part = mean[row::2, column::2]
                squares[row, column] += np.vdot(part, part)
                for number in range(count):
                    products[number, row, column] += np.vdot(
                        frames[number, row::2, column::2].copy(), part
                    )
    found = np.where(squares > 0, products / np.where(squares > 0, squares, 1), 1)
    return found / found.mean(0)


def is_bright(burst: Burst) -> bool:
    """Return whether there is light enough to compare the brightness of frames."""
    return float(burst.frame(0, np.ones((len(burst.levels), 2, 2))).mean()) > 0.005


def shifts(burst: Burst, gain: np.ndarray) -> Shifts:
    """Measure how far each frame lies from the others, on grey images of a cell per pixel.

    A frame minus the mean is a shift times the mean's gradient, plus noise: least squares, on three
    scales, because the finest does not see large shifts. The largest significant one counts. A
    scale on which more than a tenth of the gradient's energy is noise is not used.
    """
    mean = np.zeros((burst.shape[0] // 2, burst.shape[1] // 2), np.float32)
    for grey in _grey(burst, gain):
        mean += grey / np.float32(len(burst.levels))
    found = np.zeros((len(burst.levels), 2))
    errors = np.full((len(burst.levels), 2), np.inf)
    solvers = [_Solver(mean, scale) for scale in _SCALES if min(mean.shape) >= 32 * scale]
    for number, grey in enumerate(_grey(burst, gain)):
        for solver in solvers:
            shift, error = solver.solve(grey, len(burst.levels))
            larger = np.hypot(*shift) > 1.5 * np.hypot(*found[number]) + 3 * np.hypot(*error)
            for axis in (0, 1):
                if np.isfinite(error[axis]) and (larger or not np.isfinite(errors[number, axis])):
                    found[number, axis], errors[number, axis] = shift[axis], error[axis]
    return Shifts(found - np.median(found, axis=0), errors)


class _Solver:
    """Least squares of shifts against one image at one scale."""

    def __init__(self, mean: np.ndarray, scale: int) -> None:
        self._scale = scale
        self._mean = self._small(mean)
        down, right = np.gradient(self._mean)
        self._gradient = np.stack([down.ravel(), right.ravel(), np.ones(down.size, np.float32)])
        normal = (self._gradient @ self._gradient.T).astype(float)
        self._energy = np.diag(normal)[:2]
        self._inverse = np.linalg.pinv(normal)

    def solve(self, grey: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift (down, right) in pixels, and its standard errors, infinite if unknown.

        The mean's own noise has 1 / (N - 1) of the variance of a frame's distance from the mean.
        """
        difference = self._small(grey) - self._mean
        own = [np.vdot(one, one) / (frames - 1) for one in np.gradient(difference)]
        difference = difference.ravel()
        found = self._inverse @ (self._gradient @ difference)
        rest = difference - found @ self._gradient
        variance = float(rest @ rest) / rest.size
        errors = np.sqrt(np.diag(self._inverse)[:2] * variance) * _CORRELATED
        errors[self._energy * _MOST_NOISE <= own] = np.inf
        return np.where(np.isfinite(errors), -2 * self._scale * found[:2], 0), (
            2 * self._scale * errors
        )

    def _small(self, image: np.ndarray) -> np.ndarray:
        scale = self._scale
        size = (image.shape[1] // scale, image.shape[0] // scale)
        if scale > 1:
            image = cv2.resize(image[: size[1] * scale, : size[0] * scale], size,
                               interpolation=cv2.INTER_AREA)  # fmt: skip
        return cv2.GaussianBlur(image, (0, 0), _BLUR)


def _grey(burst: Burst, gain: np.ndarray) -> Iterator[np.ndarray]:
    """Iterate over the frames, each the mean of its cells, float32 [H / 2, W / 2]."""
    for number, frame in enumerate(burst.levels):
        grey = np.zeros((burst.shape[0] // 2, burst.shape[1] // 2), np.float32)
        for row in (0, 1):
            for column in (0, 1):
                factor = 0.25 / (burst.scale[row, column] * gain[number, row, column])
                grey += (frame[row::2, column::2] - np.float32(burst.black[row, column])) * (
                    np.float32(factor)
                )
        yield grey
