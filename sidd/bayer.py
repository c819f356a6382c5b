"""Bayer images: packing into four channels, colour filter patterns, mosaics.

A Bayer image [H, W] has one colour sample per pixel. In a packed image [H/2, W/2, 4], each 2x2
cell is one pixel of four channels, in the order of the Noise Flow release: the cell's (0, 0),
(0, 1), (1, 1), (1, 0), clockwise from the upper left, whatever the colours of the pattern are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_CELL = ((0, 0), (0, 1), (1, 1), (1, 0))

CFA_PATTERNS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "RGGB": ((0, 1), (1, 2)),
    "GRBG": ((1, 0), (2, 1)),
    "GBRG": ((1, 2), (0, 1)),
    "BGGR": ((2, 1), (1, 0)),
}
"""The four Bayer patterns: 0 is red, 1 green, 2 blue (TIFF/EP tag 33422, CFAPattern)."""


def pack(bayer: ArrayLike) -> np.ndarray:
    """Return a Bayer image [..., H, W] packed, [..., H/2, W/2, 4], of the same dtype.

    Raises:
        ValueError: if H or W is odd.

    >>> pack([[1, 2], [4, 3]]).tolist()
    [[[1, 2, 3, 4]]]
    """
    bayer = np.asarray(bayer)
    if bayer.ndim < 2 or bayer.shape[-1] % 2 or bayer.shape[-2] % 2:
        raise ValueError(f"a Bayer image is [..., H, W] with even H and W; got shape {bayer.shape}")
    return np.stack([bayer[..., row::2, column::2] for row, column in _CELL], axis=-1)


def unpack(packed: ArrayLike) -> np.ndarray:
    """Return the Bayer image [..., 2h, 2w] of a packed one [..., h, w, 4]: the inverse of `pack`.

    Raises:
        ValueError: if the last axis does not have four channels.

    >>> unpack([[[1, 2, 3, 4]]]).tolist()
    [[1, 2], [4, 3]]
    """
    packed = np.asarray(packed)
    if packed.ndim < 3 or packed.shape[-1] != 4:
        raise ValueError(f"a packed image is [..., h, w, 4]; got shape {packed.shape}")
    *batch, height, width, _ = packed.shape
    bayer = np.empty((*batch, 2 * height, 2 * width), packed.dtype)
    for channel, (row, column) in enumerate(_CELL):
        bayer[..., row::2, column::2] = packed[..., channel]
    return bayer


def cfa_name(pattern: ArrayLike) -> str:
    """Return the name of a Bayer pattern [2, 2], or raise ValueError.

    >>> cfa_name([[2, 1], [1, 0]])
    'BGGR'
    """
    pattern = np.asarray(pattern)
    for name, known in CFA_PATTERNS.items():
        if np.array_equal(pattern, known):
            return name
    raise ValueError(
        f"unknown colour filter pattern {pattern.tolist()}; allowed, with 0 R, 1 G, 2 B: "
        + ", ".join(f"{name} {list(map(list, known))}" for name, known in CFA_PATTERNS.items())
    )


def cfa_plane(pattern: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """Return the colour index of each pixel of a Bayer image of `shape` (H, W), both even.

    >>> cfa_plane(CFA_PATTERNS["GRBG"], (2, 4)).tolist()
    [[1, 0, 1, 0], [2, 1, 2, 1]]
    """
    cfa_name(pattern)
    return np.tile(np.asarray(pattern), (shape[0] // 2, shape[1] // 2))


def mosaic(rgb: ArrayLike, pattern: ArrayLike) -> np.ndarray:
    """Return the Bayer image [H, W] of an RGB image [H, W, 3], both even, of the same dtype.

    Raises:
        ValueError: for another shape or pattern.

    >>> rgb = np.broadcast_to([10, 20, 30], (2, 2, 3))
    >>> mosaic(rgb, CFA_PATTERNS["BGGR"]).tolist()
    [[30, 20], [20, 10]]
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape[0] % 2 or rgb.shape[1] % 2:
        raise ValueError(f"an RGB image to mosaic is [H, W, 3], H and W even; got {rgb.shape}")
    plane = cfa_plane(pattern, rgb.shape[:2])
    return np.take_along_axis(rgb, plane[..., None], axis=2)[..., 0]
