"""Reading raw files of any kind."""

import os
from pathlib import Path

from sidd.errors import SiddError, reason
from sidd.raw import dng, makers
from sidd.raw.containers import directories
from sidd.raw.files import RawFile

_PICTURES = {b"\xff\xd8\xff": "a JPEG", b"\x89PNG": "a PNG", b"GIF8": "a GIF"}


def read_dng(path: str | os.PathLike, pixels: bool = True) -> RawFile:
    """Read a DNG file, or a maker's raw file, that holds a 2x2 Bayer image.

    Levels are linear: a LinearizationTable has been applied, black has not been subtracted. Opcodes
    are not applied.

    Args:
        path: DNG, ARW, NEF, CR2, CR3, RAF, RW2 or ORF.
        pixels: False for the tags alone, with `levels` of size 0.

    Raises:
        SiddError: for another file, a damaged one, or one whose levels are not as the sensor gave
            them, such as a linear (demosaiced) or lossy DNG.
    """
    path = Path(path)
    if not path.is_file():
        raise SiddError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        return _read(path, pixels)
    except SiddError as error:
        raise SiddError(f"{path}: {error}") from None
    except Exception as error:  # tags that contradict each other, which rawpy may not survive
        raise SiddError(f"{path}: its tags cannot be used: {reason(error)}") from error


def _read(path: Path, pixels: bool) -> RawFile:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise SiddError("is an empty file")
    for magic, kind in _PICTURES.items():
        if start.startswith(magic):
            raise SiddError(
                f"is {kind} under the name of a raw file; rename it, and `noise-flow sample "
                "--from_srgb` or `sidd.unprocess_srgb` takes it"
            )
    found = directories(path)
    if found and dng.DNG_VERSION in found[0]:
        return dng.read(path, found, pixels)
    if path.suffix.lower() in (".dng", ".gpr"):
        raise SiddError("is not a DNG file (no DNGVersion)")
    return makers.read(path, found, pixels)
