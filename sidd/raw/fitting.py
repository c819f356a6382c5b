"""From bursts at one ISO to the line of their noise, robust to what moved and what was clipped."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sidd.errors import SiddError
from sidd.raw.bursts import Burst
from sidd.raw.calibration import NoiseLevel, in_places
from sidd.raw.masks import REGION, moving_regions
from sidd.raw.statistics import BLOCK, Statistics
from sidd.raw.transfer import Line, Points, bins, fit

_ROUNDS = 3
_FEWEST_BLOCKS = 48
_MOST_EXCESS = 0.01
_PLACES = ((0, 0), (0, 1), (1, 1), (1, 0))  # of the channels, as in `sidd.pack`


@dataclass(frozen=True, eq=False)
class Transfer:
    """The photon transfer of each channel.

    Attributes:
        points, lines: by channel.
        used: of each burst, the part of its blocks that the fit used.
    """

    points: tuple[Points, ...]
    lines: tuple[Line, ...]
    used: tuple[float, ...]

    @property
    def level(self) -> NoiseLevel:
        """The fitted variance by place."""
        return NoiseLevel(
            in_places([line.slope for line in self.lines]),
            in_places([line.offset for line in self.lines]),
        )


def fit_bursts(
    bursts: Sequence[Burst], measured: Sequence[Statistics], wobbles: Sequence[float]
) -> Transfer:
    """Fit the noise of bursts with their statistics; a burst's `levels` are not read.

    Args:
        bursts: at one ISO.
        measured: their statistics.
        wobbles: the variances of their frames' positions, in square pixels. Blocks with edges that
            this makes noisier by more than a hundredth are left out.

    Raises:
        SiddError: if too few blocks are neither clipped nor of what moved.
    """
    level: NoiseLevel | None = None
    for _ in range(_ROUNDS):
        chosen = [_chosen(*one, level) for one in zip(measured, bursts, wobbles, strict=True)]
        points = tuple(_points(measured, chosen, place, bursts) for place in _PLACES)
        steps = [
            (1 / burst.scale) ** 2 / 12 * (burst.levels.dtype == np.uint16) for burst in bursts
        ]
        smallest = [max(float(step[place]) for step in steps) for place in _PLACES]
        lines = tuple(map(fit, points, smallest))
        used = tuple(float(one.mean()) for one in chosen)
        transfer = Transfer(points, lines, used)
        level = transfer.level
    for line in transfer.lines:
        if not line.slope > 0:
            raise SiddError(
                f"{bursts[0].name}: its noise does not grow with intensity (slope {line.slope:.2e} "
                f"+- {line.slope_error:.1e}); shoot scenes of three brightnesses with texture"
            )
    return transfer


def _chosen(
    measured: Statistics, burst: Burst, wobble: float, level: NoiseLevel | None
) -> np.ndarray:
    usable = measured.usable(burst, level)
    noise = measured.variance if level is None else level.of_places(measured.mean)
    edges = measured.gradient - noise / measured.frames  # less what the mean's noise has
    usable &= wobble * edges < _MOST_EXCESS * noise
    if level is not None:
        regions = moving_regions(measured, usable, level)
        side = REGION // BLOCK
        whole = np.kron(regions, np.ones((side, side), bool))
        usable &= ~whole[: usable.shape[0], : usable.shape[1], None, None]
    return usable


def _points(
    measured: Sequence[Statistics],
    chosen: Sequence[np.ndarray],
    place: tuple[int, int],
    bursts: Sequence[Burst],
) -> Points:
    means, variances, noises = [], [], []
    for one, usable in zip(measured, chosen, strict=True):
        used = usable[..., *place]
        variance = one.variance[..., *place][used]
        means.append(one.mean[..., *place][used])
        variances.append(variance)
        typical = np.median(variance) if variance.size else 0.0
        count = np.maximum(one.count[..., *place][used], 1)
        noises.append(np.sqrt(typical / (count * one.frames)))
    mean = np.concatenate(means)
    if len(mean) < _FEWEST_BLOCKS:
        raise SiddError(
            f"{bursts[0].name}: only {len(mean)} blocks of {BLOCK} x {BLOCK} pixels are neither "
            "clipped nor of something that moved; shoot larger frames, or expose them differently"
        )
    return bins(mean, np.concatenate(variances), np.concatenate(noises))
