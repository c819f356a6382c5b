"""Finished pictures back to the raw image that a phone's camera would have seen.

Rendering run backwards, as in Brooks et al., "Unprocessing images for learned raw denoising",
CVPR 2019: inverse gamma, linear sRGB to the camera's RGB, inverse white balance, exposure, mosaic.
:func:`sidd.render` of the result gives the picture again, up to exposure and demosaicing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sidd.bayer import CFA_PATTERNS, mosaic
from sidd.metadata import Metadata
from sidd.rendering import camera_to_srgb

#: How much of the sensor's range white fills, by SIDD's brightness codes.
EXPOSURE = {"L": 0.40, "N": 0.65, "H": 0.92}

#: Stray light in the lens and body, as a part of white: keeps black off the sensor's zero.
VEILING_GLARE = 0.012

#: Chromaticity (x, y) of the light: a black body's for 3200 K and 4400 K, daylight's for 5500 K.
ILLUMINANTS = {3200: (0.4232, 0.3991), 4400: (0.3643, 0.3660), 5500: (0.3324, 0.3474)}

# Rows that are worked on at once, so that a large image takes little more memory than its own.
_BAND = 512


@dataclass(frozen=True)
class CameraColor:
    """A camera's colour filters: where they lie, and what they see.

    The matrices take XYZ to camera RGB for the light of a bulb (1) and daylight (2), as in the
    DNG specification. They are made up: plausible for a phone, of no real device.
    """

    cfa: str
    color_matrix1: np.ndarray
    color_matrix2: np.ndarray

    @property
    def cfa_pattern(self) -> np.ndarray:
        return np.array(CFA_PATTERNS[self.cfa])

    def as_shot_neutral(self, illuminant: int) -> np.ndarray:
        """The camera RGB [3] of a white object in this light, its largest value 1 (DNG)."""
        x, y = ILLUMINANTS[illuminant]
        white = self.color_matrix2 @ np.array([x / y, 1, (1 - x - y) / y])
        return white / white.max()


def _camera(cfa: str, bulb: list[list[float]], daylight: list[list[float]]) -> CameraColor:
    return CameraColor(cfa, np.array(bulb), np.array(daylight))


# fmt: off
COLORS = {
    "IP": _camera("RGGB", [[1.06, -0.42, -0.09], [-0.46, 1.38, 0.10], [-0.06, 0.19, 0.58]],
                          [[0.86, -0.27, -0.09], [-0.42, 1.31, 0.13], [-0.08, 0.24, 0.56]]),
    "GP": _camera("BGGR", [[0.98, -0.36, -0.05], [-0.52, 1.42, 0.09], [-0.09, 0.25, 0.55]],
                          [[0.79, -0.21, -0.08], [-0.47, 1.36, 0.12], [-0.10, 0.28, 0.54]]),
    "S6": _camera("GRBG", [[1.02, -0.31, -0.14], [-0.49, 1.44, 0.06], [-0.11, 0.30, 0.53]],
                          [[0.83, -0.24, -0.11], [-0.44, 1.38, 0.08], [-0.09, 0.26, 0.60]]),
    "N6": _camera("BGGR", [[0.91, -0.28, -0.07], [-0.58, 1.47, 0.12], [-0.13, 0.31, 0.50]],
                          [[0.74, -0.17, -0.06], [-0.51, 1.40, 0.12], [-0.11, 0.30, 0.52]]),
    "G4": _camera("BGGR", [[1.09, -0.45, -0.11], [-0.43, 1.35, 0.08], [-0.05, 0.20, 0.57]],
                          [[0.89, -0.30, -0.10], [-0.40, 1.29, 0.12], [-0.07, 0.23, 0.59]]),
}
# fmt: on


def unprocess(linear: np.ndarray, camera: str, illuminant: int, brightness: str) -> np.ndarray:
    """Linear sRGB [H, W, 3] to the clean upright Bayer image [H, W] in [0, 1] of a camera."""
    bands = [linear[top : top + _BAND] for top in range(0, len(linear), _BAND)]
    return np.concatenate([_unprocess(band, camera, illuminant, brightness) for band in bands])


def _unprocess(linear: np.ndarray, camera: str, illuminant: int, brightness: str) -> np.ndarray:
    color = COLORS[camera]
    balanced = linear @ np.linalg.inv(camera_to_srgb(color.color_matrix2)).T
    balanced = VEILING_GLARE + (1 - VEILING_GLARE) * np.clip(balanced, 0, 1)
    raw = EXPOSURE[brightness] * balanced * color.as_shot_neutral(illuminant)
    return mosaic(raw, color.cfa_pattern)


def unprocess_srgb(
    picture: np.ndarray, metadata: Metadata, white: float = EXPOSURE["N"]
) -> tuple[np.ndarray, Metadata]:
    """A finished sRGB picture back to raw: a clean upright Bayer image, and how to render it.

    The steps of Brooks et al. (CVPR 2019), with the inverse of what :func:`sidd.render` does at
    each: gamma 2.2; linear sRGB to the camera's RGB by the inverse colour matrix, clipped to
    [0, 1]; white balance by AsShotNeutral and exposure, so that white fills ``white`` of the
    sensor's range; mosaic. Their tone curve and random gains are left out, as rendering has none.

    Args:
        picture: [H, W, 3] uint8 or uint16, H and W even.
        metadata: the colours and the CFA pattern of the camera.
        white: in (0, 1].

    Returns:
        The Bayer image [H, W] in [0, 1], and ``metadata`` with an AsShotNeutral that undoes the
        exposure too: rendering with it gives the picture again, up to demosaicing and colours that
        the camera cannot see.

    Raises ValueError for another shape or type, or ``white`` out of range.
    """
    picture = np.asarray(picture)
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a picture to unprocess is uint8 or uint16; got {picture.dtype}")
    if not 0 < white <= 1:
        raise ValueError(f"white must be in (0, 1]; got {white}")
    linear = (picture / np.iinfo(picture.dtype).max) ** 2.2
    balanced = linear @ np.linalg.inv(camera_to_srgb(metadata.color_matrix2)).T
    neutral = white * np.asarray(metadata.as_shot_neutral)
    bayer = mosaic(np.clip(balanced, 0, 1) * neutral, metadata.cfa_pattern)
    return bayer.astype(np.float32), replace(metadata, as_shot_neutral=neutral)
