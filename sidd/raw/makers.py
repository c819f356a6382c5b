"""Reading the makers' own raw files: levels by LibRaw, tags where TIFF directories can be found."""

from pathlib import Path
from typing import Any

import numpy as np

from sidd.raw import colours, pixels
from sidd.raw.files import RawFile
from sidd.raw.levels import check_levels
from sidd.raw.tags import Directory

_MAKE, _MODEL = 271, 272


def read(path: Path, directories: list[Directory], with_pixels: bool) -> RawFile:
    """Read a maker's raw file with these TIFF directories, if any; see `sidd.read_dng`."""
    main = directories[0] if directories else Directory()
    with pixels.opened(path) as raw:
        pixels.check_mosaic(raw)
        pattern = raw.raw_colors_visible[:2, :2].astype(int)  # the second green is 3
        black = np.array(raw.black_level_per_channel, float)[pattern]
        white = float(raw.white_level or 0)
        check_levels(black, white)
        levels = pixels.even(raw.raw_image_visible)
        cfa = np.where(pattern == 3, 1, pattern)
        iso, exposure = colours.iso_and_exposure(main)
        return RawFile(
            path=path,
            levels=levels if with_pixels else levels[:0, :0].copy(),
            black=black,
            white=white,
            cfa=cfa,
            iso=iso or (int(raw.other.iso_speed) or None),
            exposure=exposure or (float(raw.other.shutter_speed) or None),
            make=main.text(_MAKE),
            model=main.text(_MODEL),
            noise_profile=None,
            as_shot_neutral=_neutral(raw),
            color_matrix=_matrix(raw),
            orientation=colours.orientation(main),
            bits=int(white).bit_length(),
        )


def _neutral(raw: Any) -> np.ndarray:
    gains = np.array(raw.camera_whitebalance[:3], float)
    return gains[1] / gains if np.isfinite(gains).all() and (gains > 0).all() else np.ones(3)


def _matrix(raw: Any) -> np.ndarray | None:
    matrix = np.array(raw.rgb_xyz_matrix, float)[:3]
    return matrix if np.isfinite(matrix).all() and matrix.any() else None
