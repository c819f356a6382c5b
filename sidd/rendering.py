"""Raw images to sRGB, only to look at them."""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from sidd.bayer import cfa_name, cfa_plane, unpack
from sidd.metadata import Metadata

SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""Linear sRGB to XYZ for the D65 white point (IEC 61966-2-1)."""

_WHITE_14_BIT = 2**14 - 1


def camera_to_srgb(color_matrix: ArrayLike) -> np.ndarray:
    """Return the matrix [3, 3] from white-balanced camera RGB to linear sRGB.

    It is inverse(ColorMatrix x sRGB-to-XYZ), rows normalised to sum 1, so that white stays white.

    >>> bool(np.allclose(camera_to_srgb(np.linalg.inv(SRGB_TO_XYZ)), np.eye(3)))
    True
    """
    matrix = np.linalg.inv(np.reshape(color_matrix, (3, 3)) @ SRGB_TO_XYZ)
    return matrix / matrix.sum(axis=1, keepdims=True)


def render(
    bayer: ArrayLike, cfa_pattern: ArrayLike, white_balance: ArrayLike, color_matrix: ArrayLike
) -> np.ndarray:
    """Return an upright Bayer image in sRGB, uint8 [H, W, 3].

    Steps: each pixel divided by the AsShotNeutral of its colour and clipped; OpenCV's edge-aware
    demosaic on 14-bit integers; `camera_to_srgb`; clip; gamma 1/2.2; 8 bits.

    RGGB images look as in the Noise Flow release, but RGB and not BGR. The release flips other
    patterns to RGGB and leaves the image flipped, and lays the pattern on the transposed file
    array, which swaps red and blue for GRBG; here neither happens.

    Args:
        bayer: [H, W] in [0, 1] raw intensity, both even, NaN is 0; for files see `render_packed`.
        cfa_pattern: [2, 2] with 0 R, 1 G, 2 B, as it lies on `bayer`.
        white_balance: AsShotNeutral [3].
        color_matrix: ColorMatrix2 [3, 3].

    Raises:
        ValueError: for an odd or empty image, another pattern, or a neutral that is not positive.

    >>> grey = np.full((8, 8), 0.5) * 0.25
    >>> picture = render(grey, [[0, 1], [1, 2]], [0.25, 0.25, 0.25], np.linalg.inv(SRGB_TO_XYZ))
    >>> picture.shape, sorted(set(picture.ravel().tolist()))
    ((8, 8, 3), [186])
    """
    bayer = np.asarray(bayer, float)
    if bayer.ndim != 2 or 0 in bayer.shape or bayer.shape[0] % 2 or bayer.shape[1] % 2:
        raise ValueError(f"a Bayer image to render is [H, W], H and W even; got {bayer.shape}")
    height, width = bayer.shape
    bayer = np.pad(bayer, ((0, 4 * (height < 4)), (0, 4 * (width < 4))), mode="wrap")
    name = cfa_name(cfa_pattern)
    neutral = np.ravel(white_balance).astype(float)
    if neutral.shape != (3,) or not np.all(neutral > 0):
        raise ValueError(
            f"white_balance is AsShotNeutral, 3 positive values; got {neutral.tolist()}"
        )
    balanced = np.nan_to_num(bayer / neutral[cfa_plane(cfa_pattern, bayer.shape)]).clip(0, 1)
    code = getattr(cv2, f"COLOR_Bayer{name}2RGB_EA")
    rgb = cv2.cvtColor((balanced * _WHITE_14_BIT).astype(np.uint16), code) / _WHITE_14_BIT
    linear = np.clip(rgb @ camera_to_srgb(color_matrix).T, 0, 1)
    return (255 * linear ** (1 / 2.2)).astype(np.uint8)[:height, :width]


def upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Return a picture [H, W, ...] turned as EXIF's orientation, 1 to 8, says.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return picture[rows, columns]


def render_packed(packed: ArrayLike, metadata: Metadata) -> np.ndarray:
    """Return a packed image or patch [h, w, 4] in file orientation, upright in sRGB: [2w, 2h, 3].

    Images in files are transposed, and METADATA's CFA pattern lies on the upright one; so this
    unpacks, transposes (in a packed array, that would swap channels) and renders.
    """
    return render(
        unpack(packed).T, metadata.cfa_pattern, metadata.as_shot_neutral, metadata.color_matrix2
    )
