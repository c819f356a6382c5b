"""Reading the makers' own raw files: levels by LibRaw, tags where TIFF directories can be found."""

from pathlib import Path
from typing import Any

import numpy as np

from sidd.errors import SiddError
from sidd.raw import colours, pixels
from sidd.raw.files import RawFile
from sidd.raw.levels import check_levels
from sidd.raw.tags import Directory

_MAKE, _MODEL, _BITS, _COMPRESSION = 271, 272, 258, 259
_SONY_COMPRESSION = 32767
_ORIENTATION_OF_FLIP = {0: 1, 3: 3, 5: 8, 6: 6}


def read(path: Path, directories: list[Directory], with_pixels: bool) -> RawFile:
    """Read a maker's raw file with these TIFF directories, if any; see `sidd.read_dng`.

    LibRaw's table of cameras has black and white levels that the file itself does not state.
    """
    main = directories[0] if directories else Directory()
    with pixels.opened(path) as raw:
        pixels.check_mosaic(raw)
        matrix = np.array(raw.rgb_xyz_matrix, float)[:3]
        if not matrix.any() or not np.isfinite(matrix).all():
            raise SiddError(
                "LibRaw does not know this camera, so that its black and white levels are unknown; "
                "convert it to DNG"
            )
        pattern = raw.raw_colors_visible[:2, :2].astype(int)  # the second green is 3
        black = _blacks(raw)[pattern]
        white = float(raw.white_level or 0)
        check_levels(black, white)
        levels = pixels.even(raw.raw_image_visible, black)
        iso, exposure = colours.iso_and_exposure(main)
        flip = _ORIENTATION_OF_FLIP.get(raw.sizes.flip, 1)
        return RawFile(
            path=path,
            levels=levels if with_pixels else levels[:0, :0].copy(),
            black=black,
            white=white,
            cfa=np.where(pattern == 3, 1, pattern),
            iso=iso or (int(raw.other.iso_speed) or None),
            exposure=exposure or (float(raw.other.shutter_speed) or None),
            make=main.text(_MAKE),
            model=main.text(_MODEL),
            noise_profile=None,
            as_shot_neutral=_neutral(raw),
            color_matrix=matrix,
            orientation=colours.orientation(main) if directories else flip,
            bits=int(white).bit_length(),
            warnings=(*_lossy(directories), *pixels.doubtful_black(levels, black, white)),
        )


def _blacks(raw: Any) -> np.ndarray:
    """Return the black levels of LibRaw's colours: R, G, B and the second G."""
    return np.array(raw.black_level_per_channel, float)


def _neutral(raw: Any) -> np.ndarray:
    gains = np.array(raw.camera_whitebalance[:3], float)
    return gains[1] / gains if np.isfinite(gains).all() and (gains > 0).all() else np.ones(3)


def _lossy(directories: list[Directory]) -> list[str]:
    for part in directories:
        if part.integer(_COMPRESSION, 1) == _SONY_COMPRESSION and part.integer(_BITS, 0) == 8:
            return ["it has Sony's lossy compression, which changes the noise next to edges"]
    return []
