"""Reading DNG (Adobe's specification 1.7)."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sidd.errors import SiddError
from sidd.raw import colours, levels, opcodes, pixels, storage
from sidd.raw.files import RawFile
from sidd.raw.tags import Directory

DNG_VERSION = 50706
_SUBFILE, _PHOTOMETRIC, _MAKE, _MODEL, _UNIQUE_MODEL = 254, 262, 271, 272, 50708
_ACTIVE_AREA, _NOISE_REDUCTION = 50829, 50935
_MOSAIC, _LINEAR = 32803, 34892


def read(path: Path, directories: list[Directory], with_pixels: bool) -> RawFile:
    """Read a DNG file with these directories; see `sidd.read_dng`."""
    main, raw = directories[0], _raw_image(directories)
    stored, bits = storage.image_shape(raw), storage.bits_per_sample(raw)
    storage.check_storage(path, raw)
    top, left, bottom, right = _active_area(raw, stored)
    cfa = colours.cfa_pattern(raw)
    black = levels.black_levels(raw, (bottom - top, right - left))
    white = levels.white_level(raw, bits)
    levels.check_levels(black, white)
    profile, warnings = colours.noise_profile(main, raw, cfa)
    matrix = colours.color_matrix(main)
    iso, exposure = colours.iso_and_exposure(main)
    if reduction := _noise_reduction(main, raw):
        warnings += (f"noise reduction was applied (NoiseReductionApplied {reduction:g})",)
    file = RawFile(
        path=path,
        levels=np.empty((0, 0), np.uint16),
        black=black,
        white=white,
        cfa=cfa,
        iso=iso,
        exposure=exposure,
        make=main.text(_MAKE),
        model=main.text(_MODEL) or main.text(_UNIQUE_MODEL),
        noise_profile=profile,
        as_shot_neutral=colours.as_shot_neutral(main, matrix),
        color_matrix=matrix,
        orientation=colours.orientation(main),
        bits=bits,
        warnings=(*warnings, *opcodes.warnings(raw)),
        limits=levels.sample_limits(raw, bits),
        noise_reduction=reduction,
    )
    if not with_pixels:
        return file
    with pixels.opened(path) as opened:
        pixels.check_mosaic(opened)
        image = opened.raw_image
        if image.shape != stored:
            raise SiddError(
                f"LibRaw reads {list(image.shape)} pixels of a raw image of {list(stored)}"
            )
        visible = pixels.even(image[top:bottom, left:right], black)
    doubts = pixels.doubtful_black(visible, black, white)
    return replace(file, levels=visible, warnings=(*file.warnings, *doubts))


def _raw_image(directories: list[Directory]) -> Directory:
    """Return the directory of the one Bayer image in full size."""
    full = [part for part in directories if part.integer(_SUBFILE, 0) == 0]
    kinds = [part.integer(_PHOTOMETRIC, -1) for part in full]
    mosaics = [part for part, kind in zip(full, kinds, strict=True) if kind == _MOSAIC]
    if _LINEAR in kinds:
        raise SiddError("is a linear DNG: it was demosaiced, which changes the noise")
    if len(mosaics) > 1:
        raise SiddError(f"holds {len(mosaics)} raw images in full size; one is expected")
    if not mosaics:
        raise SiddError("holds no raw image")
    return mosaics[0]


def _active_area(raw: Directory, stored: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the active area: top, left, bottom, right."""
    area = raw.numbers(_ACTIVE_AREA)
    area = np.array([0, 0, *stored], float) if area is None else area
    if area.size != 4 or not np.isfinite(area).all():
        raise SiddError(f"ActiveArea is top, left, bottom, right; got {area.tolist()}")
    top, left, bottom, right = area.astype(int).tolist()
    if not (0 <= top < bottom <= stored[0] and 0 <= left < right <= stored[1]):
        raise SiddError(
            f"its ActiveArea {area.astype(int).tolist()} is not within {stored[0]} x {stored[1]}"
        )
    return top, left, bottom, right


def _noise_reduction(main: Directory, raw: Directory) -> float | None:
    for part in (raw, main):
        applied = part.numbers(_NOISE_REDUCTION)
        if applied is not None and applied.size and np.isfinite(applied[0]):
            return float(applied[0])
    return None
