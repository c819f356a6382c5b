"""What is known of a camera's noise at one ISO, in numbers with standard errors."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sidd.bayer import pack, unpack
from sidd.errors import reading
from sidd.files import replacing

Four = tuple[float, float, float, float]


_LARGEST = 1e9  # of what a calibration holds; black levels are below 2^16


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A camera's noise at one ISO; intensities are (level - black) / (white - black).

    Numbers per channel are in the order of `sidd.pack`. The variance of an intensity x is
    slope x + offset; it includes row noise and quantisation, but not the fixed pattern.

    Attributes:
        camera, iso: whose noise it is.
        slope, offset: of the variance, per channel.
        slope_error, offset_error: their standard errors.
        lowest, highest: the range of intensities that the fit covers.
        bursts, frames: how many the fit used, in total.
        row, row_error: standard deviation of the offsets of rows from frame to frame, and its
            standard error; None if it cannot be measured.
        column, column_error: of columns likewise.
        row_source: what row and column noise were measured on, "darks" or "bursts".
        noise_profile: (S, O) per channel as the files state them; None if they state none.
        black: measured black level in sensor levels, per channel; None without darks.
        read: standard deviation of the noise of the darks, per channel; None without darks.
        kurtosis: excess kurtosis of the noise of the darks, 0 for a Gaussian; None without darks.
        tukey_lambda: shape of the Tukey-lambda distribution that has the tails of the darks, 0.14
            for a Gaussian and less for heavier tails; None without darks.
        dsnu: standard deviation of the fixed pattern of the darks; None without darks.
        prnu: standard deviation of the pixels' gains, relative; None without flats.
        notes: sentences on what looked wrong.
    """

    camera: str
    iso: int
    slope: Four
    offset: Four
    slope_error: Four
    offset_error: Four
    lowest: float
    highest: float
    bursts: int
    frames: int
    row: float | None = None
    row_error: float | None = None
    column: float | None = None
    column_error: float | None = None
    row_source: str | None = None
    noise_profile: tuple[tuple[float, float], ...] | None = None
    black: Four | None = None
    read: Four | None = None
    kurtosis: float | None = None
    tukey_lambda: float | None = None
    dsnu: float | None = None
    prnu: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def nlf(self) -> tuple[float, float]:
        """(beta1, beta2), the mean over the channels: the NLF that METADATA of pairs has."""
        return float(np.mean(self.slope)), float(np.mean(self.offset))

    @property
    def level(self) -> "NoiseLevel":
        """The variance by place of the cell, for whole images."""
        return NoiseLevel(in_places(self.slope), in_places(self.offset))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Calibration":
        """Return the calibration of what `to_json` gave, also after a round trip through a file.

        Raises:
            ValueError: if a number is missing or not one, or a name is unknown.
        """
        try:
            one = cls(**{name: _tuples(value) for name, value in content.items()})
        except (TypeError, AttributeError) as error:
            names = ", ".join(one.name for one in fields(cls))
            raise ValueError(f"not a calibration: {error}; expected {names}") from None
        one._check()
        return one

    def _check(self) -> None:
        """Raise ValueError unless each number is one, and finite, as a file may have changed it."""
        own = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in own.items():
            if name in ("camera", "row_source"):
                right = isinstance(value, str)
            elif name == "notes":
                right = isinstance(value, tuple) and all(isinstance(note, str) for note in value)
            elif name in ("iso", "bursts", "frames"):
                right = isinstance(value, int) and not isinstance(value, bool) and value > 0
            elif name in _OF_CHANNELS:
                right = isinstance(value, tuple) and len(value) == 4 and all(map(_finite, value))
            elif name == "noise_profile":
                pairs = isinstance(value, tuple) and all(isinstance(pair, tuple) for pair in value)
                right = pairs and all(len(p) == 2 and all(map(_finite, p)) for p in value)
            else:
                right = _finite(value)
            if not right:
                raise ValueError(f"not a calibration: {name} is {value!r}")
        if missing := vars(self).keys() - own.keys() - _OPTIONAL:
            raise ValueError(f"not a calibration: {', '.join(sorted(missing))} is null")


@dataclass(frozen=True, eq=False)
class NoiseLevel:
    """The variance slope x + offset of intensities, by place of the 2x2 cell.

    Attributes:
        slope, offset: [2, 2].
    """

    slope: np.ndarray
    offset: np.ndarray

    def of_places(self, intensity: np.ndarray) -> np.ndarray:
        """Return the variance of intensities [..., 2, 2], whose last axes are the place."""
        return np.maximum(self.slope * intensity + self.offset, self._smallest)

    def of_image(self, image: np.ndarray) -> np.ndarray:
        """Return the variance of a Bayer image [H, W], float32."""
        result = np.empty(image.shape, np.float32)
        for row, column in np.ndindex(2, 2):
            place = image[row::2, column::2] * np.float32(self.slope[row, column])
            place += np.float32(self.offset[row, column])
            smallest = np.float32(self._smallest[row, column])
            np.maximum(place, smallest, out=result[row::2, column::2])
        return result

    @property
    def _smallest(self) -> np.ndarray:
        return np.maximum(self.offset / 100, 1e-12)


def in_places(channels: Sequence[float]) -> np.ndarray:
    """Return numbers per channel of `sidd.pack` by place of the cell, [2, 2].

    >>> in_places([1, 2, 3, 4]).tolist()
    [[1, 2], [4, 3]]
    """
    return unpack(np.asarray(channels)[None, None])


def in_channels(places: np.ndarray) -> Four:
    """Return numbers [2, 2] by place of the cell per channel of `sidd.pack`.

    >>> in_channels([[1, 2], [4, 3]])
    (1.0, 2.0, 3.0, 4.0)
    """
    first, second, third, fourth = map(float, pack(places)[0, 0])
    return first, second, third, fourth


def write_calibrations(path: str | os.PathLike, calibrations: Iterable[Calibration]) -> None:
    """Write calibrations of one camera as JSON, ordered by ISO."""
    content = [one.to_json() for one in sorted(calibrations, key=lambda one: one.iso)]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_calibrations(path: str | os.PathLike) -> dict[int, Calibration]:
    """Read calibrations by ISO from what `write_calibrations` wrote.

    Raises:
        SiddError: if the file cannot be read or holds something else.
    """
    with reading(path, "not calibrations of noise-flow burst"):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        found = [Calibration.from_json(one) for one in content]
    return {one.iso: one for one in found}


_OF_CHANNELS = ("slope", "offset", "slope_error", "offset_error", "black", "read")
_OPTIONAL = {one.name for one in fields(Calibration) if one.default is None}


def _finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < _LARGEST


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
