"""SIDD's image files, read and written, and whole frames read with their METADATA.

NOISY and GT are MATLAB v7.3 files: HDF5 behind a MATLAB header, with one float array in [0, 1].
MATLAB stores by columns, so that HDF5 returns a MATLAB array of H x W as W x H. This is called
*file orientation* here, and nothing is transposed, as in the Noise Flow release.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import ArrayLike

from sidd import hdf5
from sidd.bayer import pack
from sidd.errors import SiddError, reading
from sidd.files import replacing
from sidd.mat5 import is_mat5
from sidd.metadata import Metadata, read_metadata

NEAR_RANGE = (-0.5, 1.5)
"""The range of raw values: [0, 1], and as far beyond as noise may lead."""

_SMALLEST_NLF = 1e-6
_V73_HEADER = b"MATLAB 7.3 MAT-file, Platform: PYTHON, HDF5 schema 1.00 ."


@dataclass(frozen=True, eq=False)
class Pair:
    """Real noise and its clean image, packed [h, w, 4] float32 in file orientation.

    Attributes:
        noise, clean: in [-1, 1] and [0, 1] raw intensity.
        nlf: (beta1, beta2), both positive; `metadata` has them as they stand in the file.
        iso, camera: of METADATA.
    """

    noise: np.ndarray
    clean: np.ndarray
    nlf: tuple[float, float]
    iso: int
    camera: str
    metadata: Metadata


def read_pair(
    noisy_path: str | os.PathLike,
    clean_path: str | os.PathLike,
    metadata_path: str | os.PathLike,
    camera: str | None = None,
) -> Pair:
    """Read one frame, cleaned in the release's order.

    NOISY and GT are packed, NaN becomes 0, values are clipped to [0, 1]; then
    noise = noisy - clean. NLF values that are not positive become 1e-6.
    If METADATA says `unclipped`, NOISY is as measured, neither clipped nor without NaN, and GT must
    be in [0, 1]. `camera` is as in `read_metadata`.

    Raises:
        SiddError: for files that cannot be read or do not fit together.
    """
    noisy, clean = pack(read_raw(noisy_path)), pack(read_raw(clean_path))
    shapes = [tuple(2 * size for size in image.shape[:2]) for image in (noisy, clean)]
    check_shapes(noisy_path, shapes[0], clean_path, shapes[1])
    metadata = read_metadata(metadata_path, camera)
    for path, image, is_noisy in ((noisy_path, noisy, True), (clean_path, clean, False)):
        if metadata.unclipped:
            check_unclipped(image, path, is_noisy)
        else:
            cleaned(image, path)
    beta1, beta2 = (beta if beta > 0 else _SMALLEST_NLF for beta in metadata.nlf)
    noise = np.subtract(noisy, clean, out=noisy)
    return Pair(noise, clean, (beta1, beta2), metadata.iso, metadata.camera, metadata)


def check_shapes(
    noisy_path: str | os.PathLike,
    noisy_shape: tuple[int, int],
    clean_path: str | os.PathLike,
    clean_shape: tuple[int, int],
) -> None:
    """Raise SiddError if a NOISY and a GT image are not of the same size."""
    if noisy_shape != clean_shape:
        raise SiddError(
            f"{noisy_path}: image of {noisy_shape[0]} x {noisy_shape[1]} does not fit "
            f"{clean_shape[0]} x {clean_shape[1]} of {clean_path}"
        )


def read_raw(path: str | os.PathLike) -> np.ndarray:
    """Return the Bayer image of a NOISY or GT file: float32 [H, W] in file orientation, as stored.

    It is the dataset `x`, or under another name the file's only float dataset of two dimensions.

    Raises:
        SiddError: for a missing, damaged or foreign file, and for an odd height or width.
    """
    with _image(path) as data:
        return hdf5.read(data)


def raw_shape(path: str | os.PathLike) -> tuple[int, int]:
    """Return the shape of `read_raw`'s image, from the file's header alone; raise as it does."""
    with _image(path) as data:
        hdf5.check(data)
        return data.shape


def write_raw(path: str | os.PathLike, array: ArrayLike, compressed: bool = True) -> None:
    """Write a Bayer image [H, W] in file orientation as MATLAB v7.3, variable `x`, single.

    MATLAB sees it transposed, W x H. Equal arrays give equal files, byte by byte. Files that are
    not `compressed` are written much faster.

    Raises:
        ValueError: for another shape than [H, W].
    """
    array = np.asarray(array, np.float32)
    if array.ndim != 2:
        raise ValueError(f"a raw image is [H, W]; got shape {array.shape}")
    packing = {"chunks": True, "shuffle": True, "compression": "gzip", "compression_opts": 1}
    # In memory: HDF5 itself crashes if a disk fills, and asks the file system for locks.
    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=512) as file:
        data = file.create_dataset(
            "x", data=array, track_times=False, **(packing if compressed else {})
        )
        data.attrs["MATLAB_class"] = np.bytes_("single")
    image.seek(0)
    image.write(_V73_HEADER.ljust(116) + bytes(8) + b"\x00\x02IM")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(image.getbuffer())


def read_packed(path: str | os.PathLike) -> np.ndarray:
    """Return a NOISY or GT file packed and `cleaned`: float32 [h, w, 4] in [0, 1].

    Raises:
        SiddError: as `read_raw` and `cleaned`.
    """
    return cleaned(pack(read_raw(path)), path)


def cleaned(packed: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Replace NaN by 0 and clip to [0, 1], in place, as the release does with bad pixels.

    Raises:
        SiddError: for values outside `NEAR_RANGE`: those are of other units, such as sensor counts,
            or damaged, and clipping would make them white. It names `path`.
    """
    packed[np.isnan(packed)] = 0
    _check_near(packed, path)
    return np.clip(packed, 0, 1, out=packed)


def _check_near(packed: np.ndarray, path: str | os.PathLike) -> None:
    """Raise SiddError for values outside `NEAR_RANGE`; NaN is left out."""
    lowest, highest = np.fmin.reduce(packed, axis=None), np.fmax.reduce(packed, axis=None)
    if lowest < NEAR_RANGE[0] or highest > NEAR_RANGE[1]:
        raise SiddError(
            f"{path}: raw values are in [0, 1] but for noise; got {lowest:g} to {highest:g}; store "
            "(raw - black level) / (white level - black level), or get the file anew if it is "
            "damaged"
        )


def check_unclipped(image: np.ndarray, path: str | os.PathLike, is_noisy: bool) -> None:
    """Raise SiddError if an image of an unclipped pair is in other units, or a GT not in [0, 1]."""
    lowest, highest = np.nanmin(image, initial=1), np.nanmax(image, initial=0)
    if is_noisy:
        _check_near(image, path)
        if np.isnan(image).all():
            raise SiddError(f"{path}: has no value but NaN")
    elif np.isnan(image).any() or lowest < 0 or highest > 1:
        raise SiddError(
            f"{path}: the clean image of an unclipped pair must be in [0, 1], without NaN; got "
            f"{lowest:g} to {highest:g} and {np.isnan(image).sum()} NaN"
        )


@contextlib.contextmanager
def _image(path: str | os.PathLike) -> Iterator[h5py.Dataset]:
    """Open the dataset of an image; errors, also those while it is used, become SiddErrors."""
    with reading(path, "not a readable MATLAB v7.3 (HDF5) file, or a damaged one"):
        try:
            file = h5py.File(path, "r", locking=False)  # nobody writes it in place
        except OSError:
            _check_version(path)
            raise
        with file:
            yield _dataset(file, path)


def _check_version(path: str | os.PathLike) -> None:
    """Raise SiddError for a file of MATLAB v5, which is no damaged HDF5 file."""
    if is_mat5(path):
        raise SiddError(
            f"{path}: is a MATLAB v5 file, and SIDD's images are v7.3 files; save it in MATLAB "
            "with -v7.3, or write its array with `sidd.write_raw`"
        )


def _dataset(file: h5py.File, path: str | os.PathLike) -> h5py.Dataset:
    candidates = hdf5.datasets(file, "x")
    images = [data for data in candidates if data.ndim == 2 and data.dtype.kind == "f"]
    if len(images) != 1:
        found = ", ".join(f"{data.name} {data.dtype} {data.shape}" for data in candidates)
        raise SiddError(
            f"{path}: expected a float dataset `x` of 2 dimensions, or exactly one such dataset "
            f"under another name; found {found or 'no dataset'}"
        )
    height, width = images[0].shape
    if not height or not width or height % 2 or width % 2:
        raise SiddError(
            f"{path}: a Bayer image is [H, W] with even H and W; got shape {(height, width)}"
        )
    return images[0]
