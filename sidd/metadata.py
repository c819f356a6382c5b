"""SIDD's METADATA files, read and written.

They are MATLAB v5 files with the struct that MATLAB's imfinfo gives for the camera's DNG file.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from sidd.bayer import cfa_name
from sidd.cameras import BY_CODE
from sidd.errors import SiddError
from sidd.files import replacing
from sidd.mat5 import read_variable

_CFA_PATTERN_TAG = 33422
_NOISE_PROFILE_TAG = 51041
_V5_HEADER = b"MATLAB 5.0 MAT-file, Platform: PYTHON"


@dataclass(frozen=True, eq=False)
class Metadata:
    """What is used of a METADATA file, as it stands there.

    ``nlf`` is the noise level function (beta1, beta2), variance = beta1 * y + beta2 for a clean
    intensity y in [0, 1] (Foi et al., TIP 2008); ``cfa_pattern`` [2, 2] with 0 R, 1 G, 2 B as it
    lies on the upright image; ``as_shot_neutral`` [3]; ``color_matrix1`` and ``color_matrix2``
    [3, 3], XYZ to camera RGB (DNG specification).
    """

    make: str
    camera: str
    iso: int
    nlf: tuple[float, float]
    cfa_pattern: np.ndarray
    as_shot_neutral: np.ndarray
    color_matrix1: np.ndarray
    color_matrix2: np.ndarray


def read_metadata(path: str | os.PathLike, camera: str | None = None) -> Metadata:
    """Reads a METADATA file.

    The camera's code follows from its maker, ``Make``; one of another maker, or a further one of
    the same, is named by ``camera``.

    Fields are taken from the top level or, where a camera's DNG has them deeper, from nested
    structs (``DigitalCamera``, ``SubIFDs``); the CFA pattern is the value of tag 33422 and the NLF
    the first two of tag 51041 in ``UnknownTags``. Raises SiddError naming the missing field, the
    unknown maker or what else is wrong.
    """
    if not Path(path).is_file():
        raise SiddError(f"{path}: no such file; expected a METADATA file")
    try:
        struct = read_variable(path, "metadata")
    except KeyError:
        raise SiddError(f"{path}: has no struct `metadata`") from None
    except Exception as error:  # of many kinds for a broken file
        raise SiddError(f"{path}: not a readable MATLAB v5 file: {error}") from error
    try:
        return _metadata(_Fields(struct, path), path, camera)
    except SiddError:
        raise
    except (ValueError, TypeError, OverflowError) as error:  # text for a number, NaN for an ISO
        raise SiddError(f"{path}: has a value of the wrong kind: {error}") from None


def _metadata(fields: _Fields, path: str | os.PathLike, camera: str | None) -> Metadata:
    make = "".join(fields.get("Make", None)[:1].astype(str)).strip()
    camera = camera or {row.make.lower(): row.code for row in BY_CODE.values()}.get(make.lower())
    if camera is None:
        makes = ", ".join(row.make for row in BY_CODE.values())
        raise SiddError(
            f"{path}: unknown Make {make!r}; allowed: {makes}, or another "
            "where the camera's code is given"
        )
    cfa_pattern = fields.tag(_CFA_PATTERN_TAG, 4).astype(int).reshape(2, 2)
    try:
        cfa_name(cfa_pattern)
    except ValueError as error:
        raise SiddError(f"{path}: {error}") from None
    beta1, beta2 = fields.tag(_NOISE_PROFILE_TAG, 2).astype(float)
    if not np.isfinite([beta1, beta2]).all():
        raise SiddError(f"{path}: the noise profile is not finite: {beta1}, {beta2}")
    return Metadata(
        make=make,
        camera=camera,
        iso=int(fields.get("ISOSpeedRatings", 1)[0]),
        nlf=(float(beta1), float(beta2)),
        cfa_pattern=cfa_pattern,
        as_shot_neutral=fields.get("AsShotNeutral", 3).astype(float),
        color_matrix1=fields.get("ColorMatrix1", 9).astype(float).reshape(3, 3),
        color_matrix2=fields.get("ColorMatrix2", 9).astype(float).reshape(3, 3),
    )


def write_metadata(path: str | os.PathLike, metadata: Metadata) -> None:
    """Writes a METADATA file: what :func:`read_metadata` reads, nested as in SIDD's own files."""
    tags = {
        _CFA_PATTERN_TAG: np.asarray(metadata.cfa_pattern, np.uint8).reshape(1, 4),
        _NOISE_PROFILE_TAG: np.tile(np.asarray(metadata.nlf, float), 3)[None],
    }
    unknown = np.empty((len(tags), 1), [(name, object) for name in ("ID", "Offset", "Value")])
    for row, (tag, value) in enumerate(tags.items()):
        unknown[row, 0] = (np.array([[tag]], np.uint16), np.zeros((1, 1), np.uint8), value)
    struct = {
        "Make": metadata.make,
        "ISOSpeedRatings": np.array([[metadata.iso]], np.uint16),
        "ColorMatrix1": np.asarray(metadata.color_matrix1, float).reshape(1, 9),
        "ColorMatrix2": np.asarray(metadata.color_matrix2, float).reshape(1, 9),
        "AsShotNeutral": np.asarray(metadata.as_shot_neutral, float).reshape(1, 3),
        "UnknownTags": unknown,
    }
    content = io.BytesIO()
    scipy.io.savemat(content, {"metadata": struct})
    content.seek(0)
    content.write(_V5_HEADER.ljust(116))  # scipy's own has the time of day
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


class _Fields:
    """Looks fields and TIFF tags up in a MATLAB struct, nested structs and cells included."""

    def __init__(self, struct: np.ndarray, path: str | os.PathLike):
        self._structs = list(_structs(struct))
        self._path = path

    def get(self, name: str, count: int | None) -> np.ndarray:
        for struct in self._structs:
            if name in struct.dtype.names:
                value = np.ravel(struct[name])
                if value.size and (count is None or value.size >= count):
                    return value[:count]
        raise self._missing(name, count)

    def tag(self, tag: int, count: int) -> np.ndarray:
        for struct in self._structs:
            if not {"ID", "Value"} <= set(struct.dtype.names):
                continue
            number = np.ravel(struct["ID"])
            if number.size == 1 and number[0] == tag:
                value = np.ravel(struct["Value"])
                if value.size >= count:
                    return value[:count]
        raise self._missing(f"tag {tag} in UnknownTags", count)

    def _missing(self, what: str, count: int | None) -> SiddError:
        values = f" with {count} value{'s' * (count > 1)}" if count else ""
        return SiddError(f"{self._path}: `metadata` has no {what}{values}")


def _structs(value: object) -> Iterator[np.void]:
    """All structs in a value of scipy.io.loadmat, breadth first."""
    waiting = deque([value])
    while waiting:
        for item in np.ravel(waiting.popleft()):
            if isinstance(item, np.void) and item.dtype.names:
                yield item
                children = (item[name] for name in item.dtype.names)
            else:
                children = (item,)
            waiting.extend(
                child
                for child in children
                if isinstance(child, np.ndarray) and child.dtype.hasobject
            )
