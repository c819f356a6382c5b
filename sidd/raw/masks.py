"""Pixels of a burst that say nothing of its noise: hot, blinking, clipped, or of what moved."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from sidd.raw.bursts import Burst
from sidd.raw.calibration import NoiseLevel
from sidd.raw.statistics import BLOCK, MARGIN, Statistics

REGION = 4 * BLOCK
"""Side in pixels of the regions that are looked at for what moved."""

_FEWEST_BLINKING = 5
_HOT = 8.0
_BLINKING = 6.0
_FLASH = 30.0
_EXCESS, _ERRORS = 0.3, 8.0


@dataclass(frozen=True, eq=False)
class Masks:
    """Which pixels are left out, bool [H, W] each; a pixel may be in several.

    Attributes:
        hot: far from all its neighbours of the same colour, above or below, or bad in darks.
        blinking: with noise that is far too large in at least two frames, or by far in one, as of
            a flash.
        clipped: within `MARGIN` standard deviations of a clipping level.
        moving: in regions with far too much noise: something moved, or its light changed.
        mean: float32 [H, W], the mean of all frames; the median of blinking pixels.
    """

    hot: np.ndarray
    blinking: np.ndarray
    clipped: np.ndarray
    moving: np.ndarray
    mean: np.ndarray

    @property
    def any(self) -> np.ndarray:
        """Their union."""
        return self.hot | self.blinking | self.clipped | self.moving

    def shares(self) -> dict[str, float]:
        """Return the part of the pixels in each, by name, and in any."""
        names = ("hot", "blinking", "clipped", "moving", "any")
        return {name: float(getattr(self, name).mean()) for name in names}


def find(
    burst: Burst,
    gain: np.ndarray,
    level: NoiseLevel,
    statistics: Statistics,
    bad: np.ndarray | None = None,
) -> Masks:
    """Find the pixels of a burst that are left out, given the noise that it should have.

    Args:
        burst: the burst.
        gain: [N, 2, 2], brightness of the frames.
        level: the noise.
        statistics: of all pixels.
        bad: bool [H, W], pixels that are known to be hot or to blink, as from darks.
    """
    mean = np.empty(burst.shape, np.float32)
    clipped = np.empty(burst.shape, bool)
    blinking = np.zeros(burst.shape, bool)
    for rows in burst.bands():
        frames = burst.intensities(rows, gain)
        mean[rows] = frames.mean(0)
        expected = level.of_image(mean[rows])
        margin = MARGIN * np.sqrt(expected)
        clipped[rows] = (mean[rows] - margin <= burst.tiled(burst.lowest, rows)) | (
            mean[rows] + margin >= burst.tiled(burst.highest, rows)
        )
        blinking[rows], medians = _blinking(frames, mean[rows], expected)
        mean[rows][blinking[rows]] = medians
    moving = np.zeros(burst.shape, bool)
    regions = moving_regions(statistics, statistics.usable(burst, level), level)
    whole = np.kron(regions, np.ones((REGION, REGION), bool))
    height, width = (min(*sizes) for sizes in zip(whole.shape, burst.shape, strict=True))
    moving[:height, :width] = whole[:height, :width]
    hot = _hot(mean, level, len(burst.levels))
    return Masks(hot if bad is None else hot | bad, blinking, clipped, moving, mean)


def moving_regions(statistics: Statistics, usable: np.ndarray, level: NoiseLevel) -> np.ndarray:
    """Return the regions with far too much noise, bool [ceil(H / REGION), ceil(W / REGION)].

    Of a block, the median over the four places counts, which a single bad pixel does not move.
    """
    ratio = statistics.variance / level.of_places(statistics.mean)
    complete: np.ndarray = np.asarray(usable.all((2, 3)))
    weight = np.where(complete, statistics.count.sum((2, 3)), 0)
    ratio = np.median(ratio.reshape(*complete.shape, 4), axis=-1) * weight
    blocks = REGION // BLOCK
    height, width = ratio.shape
    padding = ((0, -height % blocks), (0, -width % blocks))
    ratio, weight = (
        np.pad(x, padding)
        .reshape((height + padding[0][1]) // blocks, blocks, -1, blocks)
        .sum((1, 3))
        for x in (ratio, weight)
    )
    pixels = np.maximum(weight, 1)
    error = np.sqrt(2 / (pixels * (statistics.frames - 1)))
    return np.asarray(weight > 0) & (ratio / pixels > 1 + np.maximum(_EXCESS, _ERRORS * error))


def _blinking(
    frames: np.ndarray, mean: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels [h, w] of which two frames are far from the median, and their medians.

    One frame alone may be the tail of the noise, which belongs to it, unless it is much farther.
    With fewer than five frames, only that is found.
    """
    count = len(frames)
    found = np.zeros(mean.shape, bool)
    variance = np.einsum("nhw,nhw->hw", frames, frames) / count - mean**2
    variance *= count / (count - 1)
    limit = chi2.isf(1e-5, count - 1) / (count - 1)
    places = np.nonzero(variance > limit * expected)
    samples = frames[:, places[0], places[1]]
    middle = np.median(samples, axis=0)
    distance = np.sort(np.abs(samples - middle), axis=0) / np.sqrt(expected[places])
    far = distance[-1] > _FLASH
    if count >= _FEWEST_BLINKING:
        far |= distance[-2] > _BLINKING
    found[places] = far
    return found, middle[far]


def _hot(mean: np.ndarray, level: NoiseLevel, frames: int) -> np.ndarray:
    """Return the pixels [H, W] beyond all neighbours of their colour by more than these differ."""
    hot = np.zeros(mean.shape, bool)
    error = np.sqrt(level.of_image(mean) / frames)
    for row, column in np.ndindex(2, 2):
        plane = np.pad(mean[row::2, column::2], 1, mode="reflect")
        height, width = plane.shape[0] - 2, plane.shape[1] - 2
        around = [
            plane[y : y + height, x : x + width]
            for y in range(3)
            for x in range(3)
            if (y, x) != (1, 1)
        ]
        low, high = around[0].copy(), around[0].copy()
        for one in around[1:]:
            np.minimum(low, one, out=low)
            np.maximum(high, one, out=high)
        far = high - low + _HOT * error[row::2, column::2]
        middle = plane[1:-1, 1:-1]
        hot[row::2, column::2] = (middle > high + far) | (middle < low - far)
    return hot
