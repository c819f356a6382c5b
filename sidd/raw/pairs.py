"""A burst as pairs of clean and noisy images, in SIDD's layout.

The clean image is the mean of the frames, each divided by its gain. The noise of a frame is its
distance from the mean, times sqrt(N / (N - 1)), as the mean has a part of it; N is the number of
frames that are not clipped at the pixel.

A pixel that `sidd.raw.masks` leaves out has no noise to learn from, but a flow mixes neighbours.
If at most `MOST_AROUND` of the 25 pixels around it, itself included, are left out, its noise is
drawn from the calibration, a Gaussian; otherwise it is NaN, and patches that it lies in are not
used.

On simulated ramps through a clipping level, the variance of the noise that is left is within 0.5%
of the truth from 4 standard deviations off the level on, and within 4% of it for the tenth of the
pixels between 3 and 4 that are left. With clipped samples alone left out, it is 57% too small at
the level, 21% between 1 and 2 standard deviations and 4% between 2 and 3.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sidd.files import replacing
from sidd.matfiles import write_raw
from sidd.metadata import Metadata, write_metadata
from sidd.raw import masks as masking
from sidd.raw.bursts import Burst
from sidd.raw.calibration import NoiseLevel
from sidd.raw.masks import Masks
from sidd.raw.statistics import Statistics
from sidd.scenes import SceneName

MOST_AROUND = 3

PATCH = 64
"""Side in pixels of the patches that `Shares` counts: 32 packed pixels."""

FIRST_FRAME = 10


@dataclass(frozen=True)
class Shares:
    """What the masks do to the pairs of a burst.

    Attributes:
        filled, lost: part of the pixels that are drawn, and that are NaN.
        patches_filled, patches_lost: part of the patches with a drawn pixel, and with a NaN.
    """

    filled: float
    lost: float
    patches_filled: float
    patches_lost: float


@dataclass(frozen=True, eq=False)
class BurstPairs:
    """The pairs of a burst.

    Attributes:
        clean: float32 [H, W] in [0, 1].
        shares: what the masks did.
    """

    burst: Burst
    gain: np.ndarray
    level: NoiseLevel
    clean: np.ndarray
    shares: Shares
    _mean: np.ndarray
    _factor: np.ndarray
    _filled: np.ndarray
    _lost: np.ndarray

    @staticmethod
    def of(
        burst: Burst,
        gain: np.ndarray,
        level: NoiseLevel,
        statistics: Statistics,
        bad: np.ndarray | None = None,
    ) -> "BurstPairs":
        """Return the pairs of a burst, given its calibrated noise and pixels known to be bad."""
        masks = masking.find(burst, gain, level, statistics, bad)
        return BurstPairs.of_masks(burst, gain, level, masks)

    @staticmethod
    def of_masks(burst: Burst, gain: np.ndarray, level: NoiseLevel, masks: Masks) -> "BurstPairs":
        """Return the pairs of a burst with its masks."""
        masked = masks.any
        mean = masks.mean
        count = len(burst.levels)
        factor = np.full(mean.shape, np.sqrt(count / (count - 1)), np.float32)
        for rows in burst.bands():
            _leave_out_clipped(burst, gain, rows, mean[rows], factor[rows], masked[rows])
        around = cv2.boxFilter(
            masked.astype(np.float32), -1, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        lost = masked & (around > MOST_AROUND + 0.5)
        filled = masked & ~lost
        shares = Shares(float(filled.mean()), float(lost.mean()), _patches(filled), _patches(lost))
        clean = np.clip(mean, 0, 1)
        return BurstPairs(burst, gain, level, clean, shares, mean, factor, filled, lost)

    def noisy(self, number: int, seed: int = 0) -> np.ndarray:
        """Return a frame, float32 [H, W]: clean image and noise, not clipped, NaN where lost."""
        noise = self.burst.frame(number, self.gain)
        noise -= self._mean
        noise *= self._factor
        filled = self._filled
        if self._any_clipped:
            whole = slice(0, self.burst.shape[0])
            one = self.burst.only(number)
            filled = filled | (one.clipped(whole)[0] & ~self._lost)
        random = np.random.default_rng([seed, number])
        deviation = np.sqrt(self.level.of_image(self.clean)[filled])
        noise[filled] = deviation * random.standard_normal(deviation.shape, np.float32)
        noise[self._lost] = np.nan
        noise += self.clean
        return noise

    @property
    def _any_clipped(self) -> bool:
        return bool(np.any(self._factor != self._factor.flat[0]))


def _leave_out_clipped(
    burst: Burst,
    gain: np.ndarray,
    rows: slice,
    mean: np.ndarray,
    factor: np.ndarray,
    masked: np.ndarray,
) -> None:
    """Take clipped samples out of the mean of pixels that are not masked, in place.

    They are far from the clipping level, so that only rare samples, as of a flash of light, are
    clipped. A pixel that has fewer than two others is masked.
    """
    clipped = burst.clipped(rows)
    some = clipped.any(0) & ~masked
    if not some.any():
        return
    places = np.nonzero(some)
    kept = ~clipped[:, places[0], places[1]]
    count = kept.sum(0)
    frames = burst.intensities(rows, gain)[:, places[0], places[1]]
    mean[places] = (frames * kept).sum(0) / np.maximum(count, 1)
    factor[places] = np.sqrt(count / np.maximum(count - 1, 1))
    masked[places] |= count < 2


def _patches(mask: np.ndarray) -> float:
    """Return the part of the patches of a grid that have a masked pixel."""
    height, width = (max(size // PATCH, 1) * min(PATCH, size) for size in mask.shape)
    side_y, side_x = (min(PATCH, size) for size in mask.shape)
    part = mask[:height, :width].reshape(height // side_y, side_y, width // side_x, side_x)
    return float(part.any((1, 3)).mean())


def write_pairs(
    data: str | os.PathLike,
    name: SceneName,
    pairs: BurstPairs,
    metadata: Metadata,
    frames: Sequence[int],
    seed: int = 0,
) -> Iterator[Path]:
    """Write frames of a burst as pairs, and iterate over the NOISY files as they are written.

    The files are not compressed: noise hardly gets smaller. GT and METADATA are the same for all
    frames, and links to the first where the file system has them.

    Args:
        data: the folder `Data` of a dataset.
        name: of the scene instance.
        pairs: of the burst.
        metadata: of all its frames; with `unclipped` set.
        frames: the numbers of the frames.
        seed: of the pixels that are drawn.
    """
    folder = Path(data) / str(name)
    folder.mkdir(parents=True)
    prefix = f"{name.instance:04d}"
    first: dict[str, Path] = {}
    for place, number in enumerate(frames):
        suffix = f"RAW_{FIRST_FRAME + place:03d}.MAT"
        target = folder / f"{prefix}_NOISY_{suffix}"
        write_raw(target, pairs.noisy(number, seed).T, compressed=False)
        for kind in ("GT", "METADATA"):
            path = folder / f"{prefix}_{kind}_{suffix}"
            if kind in first and _linked(first[kind], path):
                continue
            if kind == "GT":
                write_raw(path, pairs.clean.T, compressed=False)
            else:
                write_metadata(path, metadata)
            first[kind] = path
        yield target


def _linked(source: Path, target: Path) -> bool:
    try:
        with replacing(target) as temporary:
            os.link(source, temporary)
    except OSError:
        return False
    return True
