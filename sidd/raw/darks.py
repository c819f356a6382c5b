"""Frames with the lens cap on: black level, read noise, its tails, and the fixed pattern.

Tails are those of a Tukey-lambda distribution, as in Wei et al., "A physics-based noise formation
model for extreme low-light raw denoising", CVPR 2020.
"""

from dataclasses import dataclass

import numpy as np

from sidd.errors import SiddError
from sidd.offline.noise_physics import tukey_lambda
from sidd.raw.bursts import Burst
from sidd.raw.calibration import Four, NoiseLevel, in_channels
from sidd.raw.masks import find
from sidd.raw.statistics import Lines, Statistics, measure

MOST_CLIPPED = 1e-3
"""Darks with a larger part of clipped samples do not show the noise."""

BRIGHTEST = 0.02
"""Darks whose mean exceeds this part of the range have light in them."""

_STEPS, _REACH = 50, 40  # of the histogram, per standard deviation and in standard deviations
_TAIL, _BODY = 5e-4, 0.1
_LAMBDAS = np.linspace(-0.4, 0.4, 17)
_DRAWS = 1 << 18


@dataclass(frozen=True, eq=False)
class Darks:
    """What darks show; intensities as in `sidd.raw.calibration`.

    Attributes:
        burst: the darks, without their levels.
        statistics: for the photon transfer, of which they are the point at intensity 0.
        black, read: per channel, level and standard deviation.
        kurtosis, dsnu: as in `Calibration`.
        tail: ratio of the widths of the distribution at 0.05% and at 10% from its ends.
        histogram: (centres in standard deviations, counts) of the noise.
        row_profile, column_profile: mean of rows and columns over all frames: the fixed pattern.
        bad: bool [H, W], the pixels that are hot or blink.
    """

    burst: Burst
    statistics: Statistics
    black: Four
    read: Four
    kurtosis: float
    tail: float
    dsnu: float
    histogram: tuple[np.ndarray, np.ndarray]
    row_profile: np.ndarray
    column_profile: np.ndarray
    bad: np.ndarray

    @property
    def hot(self) -> float:
        """The part of the pixels that are hot or blink."""
        return float(self.bad.mean())

    def tukey_lambda(self, row: float) -> float | None:
        """Return the shape of read noise whose burst would have the darks' tails.

        Simulated with as many frames, row noise of standard deviation `row`, and rounding to
        levels; None beyond the shapes that are tried, -0.4 to 0.4.
        """
        total = float(np.mean(np.square(self.read)))
        step = float(np.mean(1 / self.burst.scale))
        if self.burst.levels.dtype != np.uint16:
            step = 0.0
        tails = [_simulated_tail(shape, total, row, step, self.statistics.frames)
                 for shape in _LAMBDAS]  # fmt: skip
        order = np.argsort(tails)
        if not min(tails) <= self.tail <= max(tails):
            return None
        return float(np.interp(self.tail, np.array(tails)[order], _LAMBDAS[order]))


def measure_darks(burst: Burst) -> Darks:
    """Measure darks.

    Raises:
        SiddError: if there is light in them, or the camera clipped them.
    """
    _check(burst)
    gain = np.ones((len(burst.levels), 2, 2))
    first = measure(burst, gain)
    typical = np.median(first.variance, axis=(0, 1))
    level = NoiseLevel(np.zeros((2, 2)), np.maximum(typical, 1e-12))
    masks = find(burst, gain, level, first)
    bad = masks.hot | masks.blinking
    statistics = measure(burst, gain, masked=bad)
    weight = statistics.count / statistics.count.sum((0, 1))
    variance = (statistics.variance * weight).sum((0, 1))
    mean = (statistics.mean * weight).sum((0, 1))
    fixed = np.array([
        masks.mean[row::2, column::2][~bad[row::2, column::2]].var()
        for row, column in np.ndindex(2, 2)
    ])  # fmt: skip
    fixed = fixed - variance.ravel() / len(burst.levels)
    good = np.where(bad, np.nan, masks.mean)
    counts, kurtosis = _histogram(burst, bad, np.sqrt(variance))
    centres = np.arange(-_STEPS * _REACH, _STEPS * _REACH + 1) / _STEPS
    return Darks(
        burst=burst.emptied(),
        statistics=statistics,
        black=in_channels(burst.black + mean * burst.scale),
        read=in_channels(np.sqrt(variance)),
        kurtosis=kurtosis,
        tail=_tail(centres, counts),
        dsnu=float(np.sqrt(max(fixed.mean(), 0))),
        histogram=(centres, counts),
        row_profile=np.nanmean(good, axis=1),
        column_profile=np.nanmean(good, axis=0),
        bad=bad,
    )


def lines_of(darks: Darks) -> tuple[Lines, Lines]:
    """Return the rows and columns of darks."""
    return darks.statistics.rows, darks.statistics.columns


def _check(burst: Burst) -> None:
    middle = np.median(burst.levels[0][::7, ::7] - burst.black.mean()) / burst.scale.mean()
    if middle > BRIGHTEST:
        raise SiddError(
            f"{burst.name}: the darks have light in them, {100 * middle:.1f}% of the range; put "
            "the lens cap on"
        )
    clipped = np.mean([burst.clipped(rows).mean() for rows in burst.bands()])
    if clipped > MOST_CLIPPED:
        raise SiddError(
            f"{burst.name}: {100 * clipped:.0f}% of the samples of the darks are clipped: this "
            "camera takes the black level off and clips at 0 before it writes the file, so that "
            "darks do not show its noise; leave --darks out"
        )


def _histogram(burst: Burst, bad: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, float]:
    """Return counts of the noise in steps of standard deviations, and its excess kurtosis."""
    count = len(burst.levels)
    counts = np.zeros(2 * _STEPS * _REACH + 1, np.int64)
    fourth = second = 0.0
    factor = np.sqrt(count / (count - 1))
    for rows in burst.bands():
        noise = burst.intensities(rows)
        noise -= noise.mean(0)
        noise *= burst.tiled(factor / deviation, rows)
        noise = noise[:, ~bad[rows]]
        places = np.rint(np.clip(noise, -_REACH, _REACH) * _STEPS).astype(np.int64)
        counts += np.bincount(places.ravel() + _STEPS * _REACH, minlength=len(counts))
        square = np.square(noise, dtype=np.float64)
        second += square.sum()
        fourth += np.square(square, out=square).sum()
    total = counts.sum()
    # A frame less the mean of all is a mixture of their noises, whose kurtosis is smaller.
    mixed = ((1 - 1 / count) ** 4 + (count - 1) / count**4) / (1 - 1 / count) ** 2
    excess = (fourth / total) / (second / total) ** 2 - 3
    return counts, float(excess / mixed)


def _tail(values: np.ndarray, counts: np.ndarray) -> float:
    position = (np.cumsum(counts) - counts / 2) / counts.sum()
    wide, narrow = (
        np.subtract(*np.interp([1 - part, part], position, values)) for part in (_TAIL, _BODY)
    )
    return float(wide / narrow)


def _simulated_tail(shape: float, total: float, row: float, step: float, frames: int) -> float:
    random = np.random.default_rng(0)
    own = np.sqrt(max(total - row**2 - step**2 / 12, total / 100))
    size = (frames, _DRAWS // frames)
    noise = own * tukey_lambda(size, random, shape if abs(shape) > 1e-6 else 1e-6)
    noise += row * random.standard_normal(size)
    if step:
        start = random.uniform(0, step, size[1])
        noise = np.rint((noise + start) / step) * step
    noise -= noise.mean(0)
    ordered = np.sort(noise.ravel())
    return _tail(ordered, np.ones(len(ordered)))
