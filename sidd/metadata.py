"""SIDD's METADATA files, read and written.

They are MATLAB v5 files with the struct that MATLAB's imfinfo returns for the camera's DNG file.
"""

import io
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.io

from sidd.bayer import cfa_name
from sidd.cameras import identify
from sidd.errors import SiddError, reading, reason
from sidd.files import replacing
from sidd.mat5 import read_variable
from sidd.scenes import camera_of_folder

_CFA_PATTERN_TAG = 33422
_NOISE_PROFILE_TAG = 51041
_HIGHEST_ISO = 10_000_000
_SMALLEST = 1e-30  # what is smaller is a damaged number
_SMALLEST_DETERMINANT = 1e-6
_V5_HEADER = b"MATLAB 5.0 MAT-file, Platform: PYTHON"


@dataclass(frozen=True, eq=False)
class Metadata:
    """What is used of a METADATA file, as it stands there.

    Attributes:
        make, camera, iso: `Make`, the camera's code, and `ISOSpeedRatings`.
        nlf: the noise level function (beta1, beta2), variance = beta1 y + beta2 of a clean
            intensity y in [0, 1] (Foi et al., TIP 2008).
        cfa_pattern: [2, 2] with 0 R, 1 G, 2 B, as it lies on the upright image.
        as_shot_neutral: [3], the camera RGB of a white object (DNG specification).
        color_matrix1, color_matrix2: [3, 3], XYZ to camera RGB (DNG specification).
        model: `Model`, "" if there is none.
        unclipped: `Unclipped`: NOISY has values below 0 and above 1 as they were measured, and NaN
            where there is no measurement. SIDD's own METADATA does not have this field.
    """

    make: str
    camera: str
    iso: int
    nlf: tuple[float, float]
    cfa_pattern: np.ndarray
    as_shot_neutral: np.ndarray
    color_matrix1: np.ndarray
    color_matrix2: np.ndarray
    model: str = ""
    unclipped: bool = False


def read_metadata(path: str | os.PathLike, camera: str | None = None) -> Metadata:
    """Read a METADATA file.

    Fields are taken from the top level or, if a camera's DNG has them deeper, from nested structs
    (`DigitalCamera`, `SubIFDs`); the CFA pattern is the value of tag 33422 in `UnknownTags`, and
    the NLF the first two values of tag 51041.

    Args:
        path: the file.
        camera: the camera's code; None for that of the scene-instance folder that the file lies
            in or, if there is none, of the camera that `Make` and `Model` name (`sidd.cameras`).

    Raises:
        SiddError: for a file that cannot be read, a missing field or an unknown camera.
    """
    with reading(path, "not a readable MATLAB v5 file"):
        try:
            struct = read_variable(path, "metadata")
        except KeyError:
            raise SiddError(f"{path}: has no struct `metadata`") from None
    try:
        return _metadata(_Fields(struct), camera or camera_of_folder(path))
    except SiddError as error:
        raise SiddError(f"{path}: {error}") from None
    except Exception as error:  # text for a number, a struct for a text
        raise SiddError(f"{path}: has a value of the wrong kind: {reason(error)}") from None


def _metadata(fields: "_Fields", camera: str | None) -> Metadata:
    make, model = fields.text("Make"), fields.text("Model", optional=True)
    cfa = _within("CFA pattern", fields.tag(_CFA_PATTERN_TAG, 4), 0, 255, whole=True)
    cfa_pattern = cfa.astype(int).reshape(2, 2)
    try:
        cfa_name(cfa_pattern)
    except ValueError as error:
        raise SiddError(str(error)) from None
    beta1, beta2 = fields.tag(_NOISE_PROFILE_TAG, 2)
    iso = _within("ISO", fields.numbers("ISOSpeedRatings", 1), 1, _HIGHEST_ISO, whole=True)
    return Metadata(
        make=make,
        camera=camera or identify(make, model).code,
        iso=int(iso[0]),
        nlf=(
            float(_within("noise profile's slope", beta1, 0, 1)),
            float(_within("noise profile's offset", beta2, -1, 1)),
        ),
        cfa_pattern=cfa_pattern,
        as_shot_neutral=_within("AsShotNeutral", fields.numbers("AsShotNeutral", 3), 1e-3, 1e3),
        color_matrix1=fields.matrix("ColorMatrix1"),
        color_matrix2=fields.matrix("ColorMatrix2"),
        model=model,
        unclipped=fields.flag("Unclipped"),
    )


def _within(
    what: str, values: np.ndarray, lowest: float, highest: float, whole: bool = False
) -> np.ndarray:
    """Return values, or raise SiddError for one that no camera has, such as NaN."""
    is_tiny = (values != 0) & (np.abs(values) < _SMALLEST)
    good = (values >= lowest) & (values <= highest) & ~is_tiny
    if whole:
        good &= values == np.floor(values)
    if not np.all(good):
        number = "whole numbers" if whole else "numbers"
        listed = ", ".join(f"{value:g}" for value in np.ravel(values))
        raise SiddError(f"the {what} must be {number} of {lowest:g} to {highest:g}; got {listed}")
    return values


def write_metadata(path: str | os.PathLike, metadata: Metadata) -> None:
    """Write a METADATA file that `read_metadata` reads, nested as in SIDD's own files."""
    tags = {
        _CFA_PATTERN_TAG: np.asarray(metadata.cfa_pattern, np.uint8).reshape(1, 4),
        _NOISE_PROFILE_TAG: np.tile(np.asarray(metadata.nlf, float), 3)[None],
    }
    unknown = np.empty((len(tags), 1), [(name, object) for name in ("ID", "Offset", "Value")])
    for row, (tag, value) in enumerate(tags.items()):
        unknown[row, 0] = (np.array([[tag]], np.uint16), np.zeros((1, 1), np.uint8), value)
    struct = {
        "Make": metadata.make,
        **({"Model": metadata.model} if metadata.model else {}),
        "ISOSpeedRatings": np.array(
            [[metadata.iso]], np.uint16 if metadata.iso < 2**16 else np.uint32
        ),
        "ColorMatrix1": np.asarray(metadata.color_matrix1, float).reshape(1, 9),
        "ColorMatrix2": np.asarray(metadata.color_matrix2, float).reshape(1, 9),
        "AsShotNeutral": np.asarray(metadata.as_shot_neutral, float).reshape(1, 3),
        **({"Unclipped": np.array([[1]], np.uint8)} if metadata.unclipped else {}),
        "UnknownTags": unknown,
    }
    content = io.BytesIO()
    scipy.io.savemat(content, {"metadata": struct})
    content.seek(0)
    content.write(_V5_HEADER.ljust(116))  # scipy's own has the time of day
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


class _Fields:
    """Fields and TIFF tags of a MATLAB struct, nested structs and cells included."""

    def __init__(self, struct: np.ndarray) -> None:
        self._structs = [(set(item.dtype.names or ()), item) for item in _structs(struct)]

    def text(self, name: str, optional: bool = False) -> str:
        value = self._first(name, 1)
        if value is None and not optional:
            raise SiddError(f"`metadata` has no {name}")
        return "" if value is None else str(value[0]).strip()

    def flag(self, name: str) -> bool:
        value = self._first(name, 1)
        return value is not None and bool(_within(name, _real(value), 0, 1, whole=True)[0])

    def numbers(self, name: str, count: int) -> np.ndarray:
        value = self._first(name, count)
        if value is None:
            raise SiddError(f"`metadata` has no {name} with {count} value{'s' * (count > 1)}")
        return _real(value)

    def matrix(self, name: str) -> np.ndarray:
        """Return a matrix [3, 3] from XYZ to camera RGB, which must have an inverse."""
        matrix = _within(name, self.numbers(name, 9), -100, 100).reshape(3, 3)
        if abs(np.linalg.det(matrix)) < _SMALLEST_DETERMINANT:
            raise SiddError(f"the {name} has no inverse: {matrix.tolist()}")
        return matrix

    def tag(self, tag: int, count: int) -> np.ndarray:
        for names, struct in self._structs:
            if {"ID", "Value"} <= names:
                number, value = np.ravel(struct["ID"]), np.ravel(struct["Value"])
                if number.size == 1 and number[0] == tag and value.size >= count:
                    return _real(value[:count])
        raise SiddError(f"`metadata` has no tag {tag} in UnknownTags with {count} values")

    def _first(self, name: str, count: int) -> np.ndarray | None:
        for names, struct in self._structs:
            if name in names and np.size(struct[name]) >= count:
                return np.ravel(struct[name])[:count]
        return None


def _real(values: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(values):
        raise SiddError(f"expected real numbers; got {values}")
    return np.asarray(values).astype(float)


def _structs(value: np.ndarray) -> Iterator[np.void]:
    """Iterate over all structs in a value of scipy.io.loadmat, breadth first."""
    waiting = deque([value])
    while waiting:
        for item in np.ravel(waiting.popleft()):
            is_struct = isinstance(item, np.void) and item.dtype.names
            if is_struct:
                yield item
            children = [item[name] for name in item.dtype.names] if is_struct else [item]
            waiting.extend(
                child
                for child in children
                if isinstance(child, np.ndarray) and child.dtype.hasobject
            )
