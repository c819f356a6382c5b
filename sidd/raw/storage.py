"""How a TIFF directory stores its pixels, checked before LibRaw reads them.

LibRaw gives zeros for pixels that the file does not hold, without an error.
"""

from pathlib import Path

import numpy as np

from sidd.errors import SiddError
from sidd.raw.tags import Directory

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_STRIPS, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES = 322, 323, 324, 325
_SAMPLE_FORMAT, _ROW_INTERLEAVE, _COLUMN_INTERLEAVE = 339, 50975, 52547
_UNCOMPRESSED, _JPEG = 1, 7
_LOSSY = {9: "VC-5", 34892: "JPEG", 52546: "JPEG XL"}
SMALLEST_SIDE = 22  # LibRaw's
_LOSSLESS_FRAME = 0xC3
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def image_shape(raw: Directory) -> tuple[int, int]:
    """Return [H, W] of the stored image."""
    shape = raw.integer(_LENGTH, 0), raw.integer(_WIDTH, 0)
    if min(shape) < SMALLEST_SIDE or max(shape) > 65535:
        raise SiddError(
            f"its raw image has {shape[1]} x {shape[0]} pixels, not {SMALLEST_SIDE} to 65535 each"
        )
    return shape


def check_storage(path: Path, raw: Directory) -> None:
    """Raise SiddError unless the file holds the whole raw image, without loss and as integers."""
    compression, bits = raw.integer(_COMPRESSION, _UNCOMPRESSED), bits_per_sample(raw)
    if compression in _LOSSY:
        raise SiddError(
            f"its raw image has lossy {_LOSSY[compression]} compression, which changes the noise"
        )
    if compression not in (_UNCOMPRESSED, _JPEG):
        raise SiddError(
            f"compression {compression} is not supported; convert it to an uncompressed or "
            "losslessly compressed DNG"
        )
    if raw.integer(_SAMPLES, 1) != 1:
        raise SiddError(
            f"its raw image has {raw.integer(_SAMPLES, 1)} samples per pixel; one is Bayer"
        )
    if raw.integer(_SAMPLE_FORMAT, 1) != 1 or not 8 <= bits <= 16:
        raise SiddError(
            f"its samples must be integers of 8 to 16 bits; got {bits} bits, "
            f"sample format {raw.integer(_SAMPLE_FORMAT, 1)}"
        )
    for tag in (_ROW_INTERLEAVE, _COLUMN_INTERLEAVE):
        if raw.integer(tag, 1) != 1:
            raise SiddError(
                f"its rows or columns are interleaved (tag {tag}), which is not supported"
            )
    parts = _check_parts(path, raw, compression, bits)
    if compression == _JPEG:
        with path.open("rb") as file:
            for offset, count in parts:
                file.seek(offset)
                _check_lossless(file.read(count))


def check_ends(part: Directory, size: int) -> None:
    """Raise SiddError if the strips or tiles of a directory end after the file's `size`."""
    for codes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        offsets, counts = map(part.numbers, codes)
        if offsets is None or counts is None or offsets.shape != counts.shape or not offsets.size:
            continue
        if (end := (offsets + counts).max()) > size:
            raise SiddError(
                f"is truncated: an image in it ends at byte {int(end)}, the file at {size}"
            )


def bits_per_sample(raw: Directory) -> int:
    """Return the bits of a stored sample."""
    return raw.integer(_BITS, 1)


def _check_parts(path: Path, raw: Directory, compression: int, bits: int) -> list[tuple[int, int]]:
    """Return (offset, bytes) of each strip or tile, checked against the file's size."""
    height, width = image_shape(raw)
    if _TILES in raw:
        size = raw.integer(_TILE_LENGTH, 0), raw.integer(_TILE_WIDTH, 0)
        offsets, counts = raw.numbers(_TILES), raw.numbers(_TILE_BYTES)
    else:
        size = min(raw.integer(_ROWS_PER_STRIP, height), height), width
        offsets, counts = raw.numbers(_STRIPS), raw.numbers(_STRIP_BYTES)
    if min(size) < 1:
        raise SiddError("its strips or tiles have no size")
    needed = -(-height // size[0]) * -(-width // size[1])
    found = [0 if values is None else values.size for values in (offsets, counts)]
    if offsets is None or counts is None or found != [needed, needed]:
        raise SiddError(
            f"is a header without pixels: its raw image has {needed} strips or tiles, of which the "
            f"file has {min(found)}"
        )
    if (counts < 1).any() or (offsets < 8).any():
        raise SiddError("is a header without pixels: strips or tiles of its raw image are empty")
    check_ends(raw, path.stat().st_size)
    if compression == _UNCOMPRESSED:
        rows = np.full(needed, size[0])
        if _TILES not in raw:
            rows[-1] = height - (needed - 1) * size[0]
        if (counts < rows * -(-size[1] * bits // 8)).any():
            raise SiddError(
                f"is truncated: {int(counts.sum())} bytes cannot hold {width} x {height} pixels of "
                f"{bits} bits"
            )
    return list(zip(offsets.astype(int).tolist(), counts.astype(int).tolist(), strict=True))


def _check_lossless(stream: bytes) -> None:
    """Raise SiddError unless a JPEG stream is lossless (SOF3) and complete."""
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == _LOSSLESS_FRAME:
            if stream.rstrip(b"\0").endswith(b"\xff\xd9"):
                return
            raise SiddError("is damaged: the JPEG stream of its raw image has no end")
        if marker in _FRAMES:
            raise SiddError("its raw image has lossy JPEG compression, which changes the noise")
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    raise SiddError("is damaged: its raw image is not a JPEG stream")
