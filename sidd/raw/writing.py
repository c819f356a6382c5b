"""Writing DNG."""

import os
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sidd.errors import SiddError
from sidd.files import replacing
from sidd.raw.files import RawFile, profile_of_colours
from sidd.raw.levels import check_levels
from sidd.raw.packages import load
from sidd.raw.storage import SMALLEST_SIDE

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL, _DOUBLE = 1, 2, 3, 4, 5, 10, 12
_MOSAIC, _D65, _EXIF = 32803, 21, 34665
_PLACEHOLDER = _EXIF + 1, 0x7FEDCBA9  # tifffile refuses to write the tag itself


def write_dng(path: str | os.PathLike, levels: np.ndarray, like: RawFile) -> None:
    """Write a Bayer image as an uncompressed DNG that `read_dng` reads.

    Its samples have the bits of `like`, or 16 if its levels need more.

    Args:
        path: the file; it is replaced at once or not at all.
        levels: uint16 [H, W], H and W even and at least 22, as they lie on the sensor.
        like: black, white, CFA and what else is known of the image; its levels are not used. A
            noise profile that differs between the greens is written as their mean.

    Raises:
        SiddError: for levels of another form, or black and white that do not fit.
    """
    levels = np.asarray(levels)
    even = levels.ndim == 2 and not any(length % 2 for length in levels.shape)
    if levels.dtype != np.uint16 or not even or min(levels.shape) < SMALLEST_SIDE:
        raise SiddError(
            f"{path}: levels of a DNG are uint16 [H, W], H and W even and at least "
            f"{SMALLEST_SIDE}; got {levels.dtype} {list(levels.shape)}"
        )
    try:
        check_levels(np.asarray(like.black), like.white)
    except SiddError as error:
        raise SiddError(f"{path}: {error}") from None
    largest = max(int(levels.max()), round(like.white))
    bits = like.bits if 8 <= like.bits <= 16 and largest < 2**like.bits else 16
    with replacing(path) as temporary:
        load("tifffile").imwrite(
            temporary,
            _packed(levels, bits),
            shape=levels.shape,
            dtype=np.uint8 if bits == 8 else np.uint16,
            bitspersample=bits,
            rowsperstrip=levels.shape[0],
            photometric=_MOSAIC,
            extratags=_tags(like),
            software=False,
            metadata=None,
            byteorder="<",
        )
        _append_exif(temporary, like)


def _packed(levels: np.ndarray, bits: int) -> Iterable[bytes]:
    """Return the bytes of one strip; samples that are no whole bytes are packed, rows padded."""
    if bits in (8, 16):
        return iter([levels.astype(f"<u{bits // 8}").tobytes()])
    height, width = levels.shape
    rows = np.empty((height, -(-width * bits // 8)), np.uint8)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    for row in range(height):
        rows[row] = np.packbits((levels[row, :, None] >> shifts & 1).astype(np.uint8))
    return iter([rows.tobytes()])


def _tags(like: RawFile) -> list[tuple]:
    tags: list[tuple[int, int, Any]] = [
        (274, _SHORT, [like.orientation]),
        (33421, _SHORT, [2, 2]),
        (33422, _BYTE, np.ravel(like.cfa)),
        (50706, _BYTE, [1, 4, 0, 0]),
        (50707, _BYTE, [1, 1, 0, 0]),
        (50708, _ASCII, f"{like.make} {like.model}".strip() or "unknown"),
        (50710, _BYTE, [0, 1, 2]),
        (50711, _SHORT, [1]),
        (50713, _SHORT, [2, 2]),
        (50714, _RATIONAL, _rationals(like.black)),
        (50717, _LONG, [round(like.white)]),
        (50728, _RATIONAL, _rationals(like.as_shot_neutral)),
    ]
    tags += [(code, _ASCII, text) for code, text in ((271, like.make), (272, like.model)) if text]
    if like.iso is not None or like.exposure is not None:
        tags.append((_PLACEHOLDER[0], _LONG, [_PLACEHOLDER[1]]))
    if like.color_matrix is not None:
        tags.append((50721, _SRATIONAL, _rationals(like.color_matrix)))
        tags.append((50778, _SHORT, [_D65]))
    if like.noise_reduction is not None:
        tags.append((50935, _RATIONAL, _rationals([like.noise_reduction])))
    if like.noise_profile is not None:
        profile = profile_of_colours(like.noise_profile, like.cfa)
        tags.append((51041, _DOUBLE, profile.ravel()))
    return [_extratag(*tag) for tag in tags]


def _append_exif(path: Path, like: RawFile) -> None:
    """Append an EXIF directory, which tifffile does not write, and enter its offset."""
    if like.iso is None and like.exposure is None:
        return
    with path.open("r+b") as file:
        code, offset = _PLACEHOLDER
        place = file.read(1 << 16).index(struct.pack("<HHII", code, _LONG, 1, offset))
        start = file.seek(0, os.SEEK_END)
        start += start % 2
        count = (like.iso is not None) + (like.exposure is not None)
        after = start + 2 + 12 * count + 4
        directory, values = struct.pack("<H", count), b""
        if like.exposure is not None:
            directory += struct.pack("<HHII", 33434, _RATIONAL, 1, after)
            values = struct.pack("<2I", *_rationals([like.exposure]))
        if like.iso is not None:
            kind = _SHORT if like.iso < 2**16 else _LONG
            directory += struct.pack("<HHII", 34855, kind, 1, like.iso)
        file.seek(start)
        file.write(directory + bytes(4) + values)
        file.seek(place)
        file.write(struct.pack("<HHII", _EXIF, _LONG, 1, start))


def _extratag(code: int, kind: int, value: Any) -> tuple:
    if isinstance(value, str):
        return code, kind, None, value.encode(), True
    values = [number.item() if isinstance(number, np.generic) else number for number in value]
    count = len(values) // 2 if kind in (_RATIONAL, _SRATIONAL) else len(values)
    return code, kind, count, tuple(values), True


def _rationals(values: Any) -> list[int]:
    fractions = [Fraction(float(value)).limit_denominator(10**6) for value in np.ravel(values)]
    return [part for one in fractions for part in (one.numerator, one.denominator)]
