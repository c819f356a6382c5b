"""Raw files of cameras as the images of commands, and DNGs as their results."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import sidd
from sidd.bayer import cfa_name
from sidd.cameras import BY_CODE
from sidd.raw import SUFFIXES
from sidd.raw.packages import load
from sidd.rendering import SRGB_TO_XYZ, camera_to_srgb

_BLACK, _WHITE = 4096.0, 65535.0
"""Of DNGs from images that were no raw files: room for noise down to -0.067 of the range."""


def is_raw_file(path: Path) -> bool:
    """Return whether a file name is that of a camera's raw file."""
    return path.suffix.lower() in SUFFIXES


def clean_part(file: sidd.RawFile, log: Callable[[str], None]) -> np.ndarray:
    """Return a file's image clipped to [0, 1], float32 [H, W], and tell `log` how much that cut."""
    for warning in file.warnings:
        log(f"{file.path}: {warning}")
    image = file.image()
    outside = float(np.mean((image < 0) | (image > 1)))
    if outside:
        log(
            f"{file.path}: clipped to [0, 1]: {outside:.2%} of its pixels are below black or above "
            "white"
        )
    return np.clip(image, 0, 1, out=image)


def conditions(
    path: Path, iso: int | None, camera: str | None, log: Callable[[str], None]
) -> sidd.Metadata:
    """Return ISO, camera and colours of a raw file by its tags, unless ISO or camera are given.

    A camera whose colour filter pattern is not that of the file is told to `log`.

    Raises:
        ValueError: if the file cannot be read, or its tags do not say which camera or ISO it has.
    """
    file = sidd.read_dng(path, pixels=False)
    if camera is None:
        camera = _camera(file)
    if iso is None and file.iso is None:
        raise ValueError(f"{path}: has no ISO in its tags; give --iso")
    known, pattern = BY_CODE.get(camera), cfa_name(file.cfa)
    if known and known.cfa != pattern:
        log(
            f"{path}: its colour filter pattern is {pattern}, but that of camera {camera} is "
            f"{known.cfa}: the model's noise is that of other colours"
        )
    return file.metadata(camera, iso)


def _camera(file: sidd.RawFile) -> str:
    try:
        return sidd.identify(file.make, file.model).code
    except sidd.SiddError:
        raise ValueError(
            f"{file.path}: is of no known camera (Make {file.make!r}, Model {file.model!r}); give "
            "--camera"
        ) from None


def check_formats(formats: Sequence[str]) -> None:
    """Raise ValueError if a package is missing that writes one of the formats."""
    if "dng" in formats:
        load("tifffile")


def described(metadata: sidd.Metadata, from_srgb: bool) -> sidd.RawFile:
    """Return what a DNG says of an image that was no raw file.

    It has 16 bits, black 4096 and white 65535. The color matrix of an unprocessed picture is the
    one by which DNG's rules give the colours that `sidd.render` gives.
    """
    matrix = np.asarray(metadata.color_matrix2, float)
    if from_srgb:
        matrix = np.linalg.inv(SRGB_TO_XYZ @ camera_to_srgb(matrix))
    profile = np.broadcast_to(metadata.nlf, (2, 2, 2))
    known = BY_CODE.get(metadata.camera)
    return sidd.RawFile(
        path=Path(),
        levels=np.empty((0, 0), np.uint16),
        black=np.full((2, 2), _BLACK),
        white=_WHITE,
        cfa=np.asarray(metadata.cfa_pattern),
        iso=metadata.iso,
        exposure=None,
        make=known.make if known else metadata.make,
        model=known.model if known else metadata.model or metadata.camera,
        noise_profile=profile if np.isfinite(profile).all() else None,
        as_shot_neutral=np.asarray(metadata.as_shot_neutral, float),
        color_matrix=matrix,
    )


def save_dng(path: Path, packed: np.ndarray, like: sidd.RawFile) -> None:
    """Write a packed image in file orientation as a DNG, clipped at its lowest level and white."""
    image = sidd.unpack(packed).T
    levels = np.empty(image.shape, np.uint16)
    low, high = like.limits[0], min(like.white, like.limits[1])
    for row, column in np.ndindex(2, 2):
        black = like.black[row, column]
        values = black + (like.white - black) * image[row::2, column::2].astype(float)
        levels[row::2, column::2] = np.rint(np.clip(values, low, high))
    sidd.write_dng(path, levels, like)


def denoised_like(file: sidd.RawFile) -> sidd.RawFile:
    """Return what a denoised DNG says: no NoiseProfile, and NoiseReductionApplied 1."""
    return replace(file, noise_profile=None, noise_reduction=1.0)


def sampled_like(file: sidd.RawFile, iso: int) -> sidd.RawFile:
    """Return what a DNG of a raw file with sampled noise says.

    That is what the file says, but its NoiseProfile only if the noise is of the file's own ISO.
    """
    return replace(file, iso=iso, noise_profile=file.noise_profile if iso == file.iso else None)
