"""Finished pictures back to the raw image that a phone's camera would have seen.

This inverts `sidd.render`, as in Brooks et al., "Unprocessing images for learned raw denoising",
CVPR 2019: inverse gamma, linear sRGB to the camera's RGB, inverse white balance, exposure, mosaic.
"""

from dataclasses import replace

import numpy as np

from sidd.bayer import CFA_PATTERNS, mosaic
from sidd.cameras import BY_CODE
from sidd.metadata import Metadata
from sidd.rendering import camera_to_srgb

EXPOSURE = {"L": 0.40, "N": 0.65, "H": 0.92}
"""The part of the sensor's range that white fills, by SIDD's brightness codes."""

VEILING_GLARE = 0.012
"""Stray light in the lens and body, as a part of white: keeps black off the sensor's zero."""

ILLUMINANTS = {3200: (0.4232, 0.3991), 4400: (0.3643, 0.3660), 5500: (0.3324, 0.3474)}
"""Chromaticity (x, y) of the light: a black body's for 3200 K and 4400 K, daylight's for 5500 K."""

_BAND = 512  # rows at once, so that a large image takes little more memory than its own


def as_shot_neutral(camera: str, illuminant: int) -> np.ndarray:
    """Return the camera RGB [3] of a white object in this light, its largest value 1 (DNG)."""
    if illuminant not in ILLUMINANTS:
        allowed = ", ".join(map(str, ILLUMINANTS))
        raise ValueError(f"unknown illuminant {illuminant}; allowed: {allowed}")
    x, y = ILLUMINANTS[illuminant]
    white = np.array(BY_CODE[camera].color_matrix2) @ np.array([x / y, 1, (1 - x - y) / y])
    return white / white.max()


def unprocess(linear: np.ndarray, camera: str, illuminant: int, brightness: str) -> np.ndarray:
    """Return a camera's clean upright Bayer image [H, W] in [0, 1] of a linear sRGB [H, W, 3]."""
    bands = [linear[top : top + _BAND] for top in range(0, len(linear), _BAND)]
    return np.concatenate([_unprocess(band, camera, illuminant, brightness) for band in bands])


def _unprocess(linear: np.ndarray, camera: str, illuminant: int, brightness: str) -> np.ndarray:
    row = BY_CODE[camera]
    balanced = linear @ np.linalg.inv(camera_to_srgb(row.color_matrix2)).T
    balanced = VEILING_GLARE + (1 - VEILING_GLARE) * np.clip(balanced, 0, 1)
    raw = EXPOSURE[brightness] * balanced * as_shot_neutral(camera, illuminant)
    return mosaic(raw, CFA_PATTERNS[row.cfa])


def unprocess_srgb(
    picture: np.ndarray, metadata: Metadata, white: float = EXPOSURE["N"]
) -> tuple[np.ndarray, Metadata]:
    """Return the raw image of a finished sRGB picture, and how to render it.

    The tone curve and random gains of Brooks et al. are left out, as rendering has none.

    Args:
        picture: [H, W, 3] uint8 or uint16, H and W even.
        metadata: the colours and the CFA pattern of the camera.
        white: the part of the sensor's range that white fills, in (0, 1].

    Returns:
        The clean upright Bayer image [H, W] in [0, 1], and `metadata` with an AsShotNeutral that
        undoes the exposure too: rendering with it returns the picture, up to demosaicing and
        colours that the camera cannot see.

    Raises:
        ValueError: for another shape or type, or `white` out of range.
    """
    picture = np.asarray(picture)
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a picture to unprocess is uint8 or uint16; got {picture.dtype}")
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture to unprocess is RGB [H, W, 3]; got shape {picture.shape}")
    if not 0 < white <= 1:
        raise ValueError(f"white must be in (0, 1]; got {white}")
    linear = (picture / np.iinfo(picture.dtype).max) ** 2.2
    balanced = linear @ np.linalg.inv(camera_to_srgb(metadata.color_matrix2)).T
    neutral = white * np.asarray(metadata.as_shot_neutral)
    bayer = mosaic(np.clip(balanced, 0, 1) * neutral, metadata.cfa_pattern)
    return bayer.astype(np.float32), replace(metadata, as_shot_neutral=neutral)
