"""TIFF directories of the makers' raw files, which are no plain TIFF files, and truncated files."""

from pathlib import Path

from sidd.errors import SiddError
from sidd.raw.storage import check_ends
from sidd.raw.tags import Directory, read_directories

_HEAD = 1 << 20  # tags are at the beginning
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_LIKE = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}
"""Olympus's and Panasonic's words for TIFF's."""
_FUJIFILM = b"FUJIFILMCCD-RAW"


def directories(path: Path) -> list[Directory]:
    """Return the TIFF directories of a raw file, the main one first; [] if it has none.

    Raises:
        SiddError: if they are damaged, or the file ends before what they or its header announce.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size, magic = path.stat().st_size, head[:4]
    if magic in TIFF_MAGIC:
        found = read_directories(path)
        for part in found:
            check_ends(part, size)
        return found
    if magic in _TIFF_LIKE:
        return read_directories(_TIFF_LIKE[magic] + head[4:])
    if head.startswith(_FUJIFILM):
        _check_size(
            int.from_bytes(head[100:104], "big") + int.from_bytes(head[104:108], "big"), size
        )
        start = head.find(b"Exif\0\0")
        return read_directories(head[start + 6 :]) if start >= 0 else []
    if head[4:8] == b"ftyp":
        _check_boxes(path, size)
        return _canon(head)
    return []


def _canon(head: bytes) -> list[Directory]:
    """Return one directory with the tags of CR3's boxes CMT1 (main) and CMT2 (EXIF)."""
    tags: dict = {}
    for name in (b"CMT2", b"CMT1"):
        if (start := head.find(name)) >= 0:
            tags |= read_directories(head[start + 4 :])[0].tags
    return [Directory(tags)] if tags else []


def _check_boxes(path: Path, size: int) -> None:
    """Raise SiddError if the last box of an ISO media file ends after the file."""
    at = 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:], "big")
            at = size if length == 0 else at + max(length, 8)
    _check_size(at, size)


def _check_size(needed: int, size: int) -> None:
    if needed > size:
        raise SiddError(f"is truncated: its raw image ends at byte {needed}, the file at {size}")
