"""From bursts at one ISO to the line of their noise, robust to what moved and what was clipped."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sidd.errors import SiddError
from sidd.raw.bursts import Burst
from sidd.raw.calibration import NoiseLevel, in_places
from sidd.raw.masks import REGION, moving_regions
from sidd.raw.statistics import BLOCK, Statistics
from sidd.raw.transfer import Line, Points, bins, fit_line

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


Blocks = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Source:
    """What the fit knows of a burst.

    Attributes:
        burst: its levels are not read.
        statistics: of the pixels that count.
        wobble: variance of its frames' positions, in square pixels.
        is_even: whether it shows one brightness, so that it is one point of the photon transfer.
    """

    burst: Burst
    statistics: Statistics
    wobble: float
    is_even: bool = False


def fit(sources: Sequence[Source]) -> Transfer:
    """Fit the noise of bursts at one ISO.

    Blocks near a clipping level are left out, those of what moved, and those with edges that the
    frames' wobble makes noisier by more than a hundredth. How near and how noisy follows from the
    fit, which is therefore repeated.

    Raises:
        SiddError: if too few blocks are left, or the noise does not grow with intensity.
    """
    level: NoiseLevel | None = None
    name = sources[0].burst.name
    steps = [
        (1 / one.burst.scale) ** 2 / 12 * (one.burst.levels.dtype == np.uint16) for one in sources
    ]
    for _ in range(_ROUNDS):
        chosen = [_chosen(one, level) for one in sources]
        points = tuple(_points(sources, chosen, place) for place in _PLACES)
        smallest = [max(float(step[place]) for step in steps) for place in _PLACES]
        lines = tuple(map(fit_line, points, smallest))
        transfer = Transfer(points, lines, tuple(float(one.mean()) for one in chosen))
        level = transfer.level
    for line in transfer.lines:
        if not line.slope > 0:
            raise SiddError(
                f"{name}: its noise does not grow with intensity (slope {line.slope:.2e} "
                f"+- {line.slope_error:.1e}); shoot scenes of three brightnesses with texture"
            )
    return transfer


def _chosen(source: Source, level: NoiseLevel | None) -> np.ndarray:
    """Return the blocks that the fit uses, bool [h, w, 2, 2]."""
    measured = source.statistics
    usable = measured.usable(source.burst, level)
    noise = measured.variance if level is None else level.of_places(measured.mean)
    edges = measured.gradient - noise / measured.frames  # less what the mean's noise has
    usable &= source.wobble * edges < _MOST_EXCESS * noise
    if level is not None:
        regions = moving_regions(measured, usable, level)
        side = REGION // BLOCK
        whole = np.kron(regions, np.ones((side, side), bool))
        usable &= ~whole[: usable.shape[0], : usable.shape[1], None, None]
    return usable


def _points(
    sources: Sequence[Source], chosen: Sequence[np.ndarray], place: tuple[int, int]
) -> Points:
    even: list[Blocks] = []
    others: list[Blocks] = []
    for one, usable in zip(sources, chosen, strict=True):
        used = usable[..., *place]
        mean, variance, count = (
            getattr(one.statistics, name)[..., *place][used]
            for name in ("mean", "variance", "count")
        )
        typical = np.median(variance) if variance.size else 0.0
        noise = np.sqrt(typical / (np.maximum(count, 1) * one.statistics.frames))
        (even if one.is_even else others).append((mean, variance, noise))
    blocks = sum(len(one[0]) for one in even + others)
    if blocks < _FEWEST_BLOCKS:
        raise SiddError(
            f"{sources[0].burst.name}: only {blocks} blocks of {BLOCK} x {BLOCK} pixels are "
            "neither clipped nor of something that moved; shoot larger frames, or expose them "
            "differently"
        )
    points = [bins(*one, most=1) for one in even if len(one[0])]
    if others:
        mean, variance, noise = map(np.concatenate, zip(*others, strict=True))
        points += [bins(mean, variance, noise)] if len(mean) else []
    return Points(*(
        np.concatenate([getattr(one, name) for one in points])
        for name in ("intensity", "variance", "error", "count")
    ))  # fmt: skip
