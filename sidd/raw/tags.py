"""TIFF directories of a raw file, with numbers as numbers."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sidd.errors import SiddError
from sidd.raw.packages import load

RATIONAL_TYPES = (5, 10)
_EXIF = 34665
_MOST_DIRECTORIES = 64


@dataclass(frozen=True)
class Directory:
    """The tags of one TIFF directory (IFD), and of its EXIF directory by EXIF's names."""

    tags: dict[int, Any] = field(default_factory=dict)
    exif: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, code: int) -> bool:
        return code in self.tags

    def numbers(self, code: int) -> np.ndarray | None:
        """Return a tag's values, float64 [count]; None if there is no such tag or it is text."""
        value = self.tags.get(code)
        return value if isinstance(value, np.ndarray) else None

    def integer(self, code: int, default: int) -> int:
        """Return a tag's first value.

        Raises:
            SiddError: if the tag is there without a finite number.
        """
        if code not in self.tags:
            return default
        values = self.numbers(code)
        if values is None or not values.size or not np.isfinite(values[0]):
            raise SiddError(f"tag {code} is not a number")
        return int(values[0])

    def text(self, code: int) -> str:
        """Return a tag's text, "" if there is none."""
        value = self.tags.get(code, "")
        return value.strip("\0 \t\r\n") if isinstance(value, str) else ""


def read_directories(file: str | os.PathLike | bytes) -> list[Directory]:
    """Read all directories of a TIFF file, or of its content, with those within others.

    Raises:
        SiddError: for a file that is not a TIFF file or is damaged.
    """
    tifffile = load("tifffile")
    stream: Any = io.BytesIO(file) if isinstance(file, bytes) else file
    with _silent("tifffile"):
        try:
            with tifffile.TiffFile(stream) as tiff:
                return [_directory(page) for page in _pages(tiff.pages)]
        except Exception as error:  # of many kinds for a damaged file
            raise SiddError(f"its TIFF tags cannot be read: {error}") from None


def _pages(pages: Any) -> Iterator[Any]:
    waiting = list(pages)
    for count in range(_MOST_DIRECTORIES):
        if count == len(waiting):
            return
        yield waiting[count]
        waiting.extend(waiting[count].pages or ())
    raise ValueError(f"more than {_MOST_DIRECTORIES} directories")


def _directory(page: Any) -> Directory:
    exif: dict[str, Any] = {}
    tags: dict[int, Any] = {}
    for tag in page.tags:
        value = tag.value
        if tag.code == _EXIF and isinstance(value, dict):
            exif = value
        elif isinstance(value, str):
            tags[tag.code] = value
        elif (numbers := _numbers(value, tag.dtype)) is not None:
            tags[tag.code] = numbers
    return Directory(tags, exif)


def _numbers(value: Any, kind: int) -> np.ndarray | None:
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8).astype(float)
    try:
        return ratio(value) if kind in RATIONAL_TYPES else np.asarray(value, float).ravel()
    except (TypeError, ValueError):
        return None


def ratio(pairs: Any) -> np.ndarray:
    """Return the quotients of (numerator, denominator, ...); x / 0 is NaN."""
    values: np.ndarray = np.asarray(pairs, float).ravel()
    values = values[: len(values) // 2 * 2]
    above, below = values[0::2], values[1::2]
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Silence a logger: the message that refuses a damaged file says what matters."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
