"""Mean and temporal variance of a burst: by block for the photon transfer, by row and column.

Variance is linear in intensity, so the mean variance of a block is that of its mean intensity,
whatever texture is in it, and a block's mean has little noise of its own: binning blocks by it does
not sort them by their noise.
"""

from dataclasses import dataclass

import numpy as np

from sidd.raw.bursts import Burst
from sidd.raw.calibration import NoiseLevel

BLOCK = 8
"""Side of a block in pixels; it has 16 pixels of each place of the cell."""

MARGIN = 4.0
"""A pixel within so many standard deviations of a clipping level counts as clipped in all frames:
leaving out the clipped samples alone would select by noise."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of one burst, temporal.

    Attributes:
        frames: how many.
        mean, variance: [h, w, 2, 2] by block and place of the cell, of the pixels that count.
        low, high: [h, w, 2, 2], the smallest and largest mean of a pixel in the block.
        gradient: [h, w, 2, 2], mean square of the change of intensity per pixel.
        count: [h, w, 2, 2], pixels that count.
        rows, columns: of the frames' mean residuals.
    """

    frames: int
    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    gradient: np.ndarray
    count: np.ndarray
    rows: "Lines"
    columns: "Lines"

    def usable(self, burst: Burst, level: NoiseLevel | None) -> np.ndarray:
        """Return which blocks have no pixel near a clipping level, bool [h, w, 2, 2].

        How near depends on the noise: as `level` says, or as it is in the block itself.
        """
        low, high = (
            MARGIN * np.sqrt(self.variance if level is None else level.of_places(x))
            for x in (self.low, self.high)
        )
        clear = (self.low - low > burst.lowest) & (self.high + high < burst.highest)
        return clear & (self.count > 0)


@dataclass(frozen=True, eq=False)
class Lines:
    """Weighted mean residuals of the rows (or columns) of each frame, by the pixels that count.

    Attributes:
        residual: [N, H], less the frame's mean.
        sampling: [H], the variance that it has from the noise of single pixels.
        share: [H], the part of a line's own variance that `sampling` includes.
    """

    residual: np.ndarray
    sampling: np.ndarray
    share: np.ndarray


def measure(
    burst: Burst,
    gain: np.ndarray,
    variance: NoiseLevel | None = None,
    masked: np.ndarray | None = None,
    description: str | None = None,
) -> Statistics:
    """Measure the statistics of a burst, in bands of rows.

    Args:
        burst: at least two frames.
        gain: [N, 2, 2] from `sidd.raw.alignment.gains`.
        variance: the noise level, by which pixels weigh in the means of rows and columns.
        masked: bool [H, W], pixels that do not count.
        description: of the progress bar.
    """
    count, width = len(burst.levels), burst.shape[1]
    blocks: list[tuple[np.ndarray, ...]] = []
    row_sums, column_sums = [], _Sums(count, width)
    for rows in burst.bands(description):
        residual = burst.intensities(rows, gain)
        mean = residual.mean(0)
        residual -= mean
        spread = np.einsum("nhw,nhw->hw", residual, residual) / np.float32(count - 1)
        counts = np.ones_like(mean) if masked is None else (~masked[rows]).astype(np.float32)
        height = (len(mean) // BLOCK) * BLOCK
        blocks.append(_blocks(mean[:height], spread[:height], counts[:height]))
        weight = counts
        if variance is not None:
            expected = variance.of_image(mean)
            sd = MARGIN * np.sqrt(expected)
            weight = counts * (mean - sd > burst.tiled(burst.lowest, rows))
            weight = weight * (mean + sd < burst.tiled(burst.highest, rows)) / expected
        weight = weight.astype(np.float32)
        row_sums.append(_Sums(count, len(mean)).add(residual, spread, weight, "nhw,hw->nh", 1))
        column_sums.add(residual, spread, weight, "nhw,hw->nw", 0)
    mean, spread, low, high, gradient, counts = map(np.concatenate, zip(*blocks, strict=True))
    lines = _Sums.joined(row_sums).lines(), column_sums.lines()
    return Statistics(count, mean, spread, low, high, gradient, counts, *lines)


class _Sums:
    """Sums over the pixels of lines: of weights, weighted residuals and their variances."""

    def __init__(self, frames: int, lines: int) -> None:
        self.residual = np.zeros((frames, lines))
        self.weight, self.square, self.variance = np.zeros((3, lines))

    def add(
        self, residual: np.ndarray, spread: np.ndarray, weight: np.ndarray, sum_: str, axis: int
    ) -> "_Sums":
        self.residual += np.einsum(sum_, residual, weight)
        self.weight += weight.sum(axis)
        square = weight * weight
        self.square += square.sum(axis)
        self.variance += (square * spread).sum(axis)
        return self

    @staticmethod
    def joined(parts: list["_Sums"]) -> "_Sums":
        whole = _Sums(len(parts[0].residual), 0)
        for name in ("residual", "weight", "square", "variance"):
            setattr(whole, name, np.concatenate([getattr(part, name) for part in parts], axis=-1))
        return whole

    def lines(self) -> Lines:
        used = self.weight > 0
        weight = np.where(used, self.weight, 1)
        mean = self.residual / weight
        whole = self.residual.sum(1) / max(self.weight.sum(), 1e-30)
        sampling = np.where(used, self.variance / weight**2, np.inf)
        return Lines(mean - whole[:, None], sampling, self.square / weight**2)


def _blocks(mean: np.ndarray, spread: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return mean, variance, lowest, highest, gradient and count of the blocks, [h, w, 2, 2]."""
    shape = (len(mean) // BLOCK, BLOCK // 2, 2, mean.shape[1] // BLOCK, BLOCK // 2, 2)

    def split(image: np.ndarray) -> np.ndarray:
        cut = image[:, : shape[3] * BLOCK].reshape(shape)
        return cut.transpose(0, 3, 2, 5, 1, 4).reshape(shape[0], shape[3], 2, 2, -1)

    slope = np.zeros_like(mean)
    slope[:-2] = (mean[2:] - mean[:-2]) ** 2 / 4
    slope[:, :-2] += (mean[:, 2:] - mean[:, :-2]) ** 2 / 4
    mean, spread, slope, count = split(mean), split(spread), split(slope), split(count)
    total = count.sum(-1)
    divisor = np.maximum(total, 1)
    average = (mean * count).sum(-1) / divisor
    return (
        average,
        (spread * count).sum(-1) / divisor,
        np.where(count > 0, mean, average[..., None]).min(-1),
        np.where(count > 0, mean, average[..., None]).max(-1),
        (slope * count).sum(-1) / divisor,
        total,
    )


def line_noise(lines: list[tuple[int, Lines]]) -> tuple[float, float, float]:
    """Return the standard deviation of lines' offsets, its error, and neighbours' correlation.

    Args:
        lines: of each burst, with its number of frames.

    The offsets' variance is that of the residuals less what single pixels contribute; lines weigh
    by how well they say it.
    """
    residuals = [one.residual for _, one in lines]
    total = np.concatenate([(one.residual**2).sum(0) / (n - 1) for n, one in lines])
    sampling = np.concatenate([one.sampling for _, one in lines])
    share = np.concatenate([one.share for _, one in lines])
    frames = np.concatenate([np.full(len(one.sampling), n - 1) for n, one in lines])
    used = np.isfinite(sampling) & (share < 0.5)
    if np.count_nonzero(used) < 8:
        return np.nan, np.nan, np.nan
    total, sampling, share, frames = (x[used] for x in (total, sampling, share, frames))
    estimate = (total - sampling) / (1 - share)
    found = 0.0
    for _ in range(5):
        weight = frames / (sampling + found) ** 2
        found = max(0.0, float(np.average(estimate, weights=weight)))
    error = float(np.sqrt(2 / np.sum(frames / (sampling + found) ** 2)))
    deviation = float(np.sqrt(found))
    products = sum(float((r[:, 2:] * r[:, :-2]).sum()) for r in residuals)
    squares = sum(float((r[:, 2:] ** 2).sum()) for r in residuals)
    correlation = products / squares if squares else 0.0
    return deviation, error / (2 * max(deviation, np.sqrt(error))), correlation
