"""The pixels of a raw file, by LibRaw."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sidd.errors import SiddError
from sidd.raw.packages import load

_DARK = 0.01


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file with LibRaw, as a `rawpy.RawPy`; its own errors become SiddErrors."""
    rawpy = load("rawpy")
    try:
        with rawpy.imread(str(path)) as raw:
            yield raw
    except SiddError:
        raise
    except (rawpy.LibRawError, RuntimeError, ValueError, AttributeError) as error:
        text = error.args[0] if error.args else type(error).__name__
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        raise SiddError(f"LibRaw cannot read it: {text}") from None


def check_mosaic(raw: Any) -> None:
    """Raise SiddError unless an open file holds one 2x2 Bayer image."""
    rawpy = load("rawpy")
    if raw.raw_type != rawpy.RawType.Flat or raw.raw_pattern is None:
        raise SiddError("its image is linear (demosaiced) or has no colours: not a Bayer image")
    shape = raw.raw_pattern.shape
    if shape != (2, 2):
        raise SiddError(
            f"its colour filter pattern has {shape[0]} x {shape[1]} pixels; only 2 x 2 Bayer "
            "patterns are supported, not X-Trans or others"
        )
    if raw.color_desc != b"RGBG" or raw.num_colors != 3:
        raise SiddError(f"its colours are {raw.color_desc.decode()}; only RGB is supported")


def even(levels: np.ndarray, black: np.ndarray) -> np.ndarray:
    """Return a copy without an odd last row or column, after checking that there is a picture.

    Raises:
        SiddError: for less than 2 x 2 pixels, equal ones, or rows of zeros below the black level,
            which stand for data that the file does not have.
    """
    height, width = (length - length % 2 for length in levels.shape)
    if not height or not width:
        raise SiddError(f"its visible area has {levels.shape[1]} x {levels.shape[0]} pixels")
    levels = levels[:height, :width].copy()
    if levels.min() == levels.max():
        raise SiddError(f"all its pixels are {levels.min()}: a header without pixels")
    missing = int((levels.max(axis=1) == 0).sum())
    if missing and black.min() > 0:
        raise SiddError(f"is damaged: {missing} of its {height} rows hold only zeros")
    return levels


def doubtful_black(levels: np.ndarray, black: np.ndarray, white: float) -> list[str]:
    """Return a warning if the black level is 0 and no pixel is nearly as dark."""
    darkest = int(levels.min())
    if black.any() or darkest < _DARK * white:
        return []
    return [
        f"its black level is 0, but its darkest pixel {darkest}: the black level may be unknown"
    ]
