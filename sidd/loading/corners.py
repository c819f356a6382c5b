"""The places of patches in an image: on a grid, or random."""

import numpy as np


def uniform_corners(
    height: int,
    width: int,
    patch_size: int,
    limit: int | None = None,
    stride: int | None = None,
) -> np.ndarray:
    """Return the upper left corners [n, 2] of a grid from (0, 0), row by row, in packed pixels.

    Args:
        height: of the image.
        width: of the image.
        patch_size: side of the square patches.
        limit: return the first ones only, at most so many.
        stride: distance of neighbours; None for patches side by side.

    >>> uniform_corners(70, 100, 32, limit=4).tolist()
    [[0, 0], [0, 32], [0, 64], [32, 0]]
    >>> uniform_corners(70, 100, 32, stride=64).tolist()
    [[0, 0], [0, 64]]
    """
    stride = stride or patch_size
    rows = np.arange(0, height - patch_size + 1, stride)
    columns = np.arange(0, width - patch_size + 1, stride)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return grid.reshape(-1, 2)[:limit]


def unmasked_corners(mask: np.ndarray, patch_size: int) -> np.ndarray:
    """Return where patches without a masked pixel may have their corner, bool [h - p + 1, ..].

    >>> unmasked_corners(np.eye(4, 5) > 0, 2).astype(int).tolist()
    [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    """
    sums = np.pad(mask.cumsum(axis=0).cumsum(axis=1), [(1, 0), (1, 0)])
    p = patch_size
    return sums[p:, p:] - sums[:-p, p:] - sums[p:, :-p] + sums[:-p, :-p] == 0


def random_corners(
    height: int, width: int, patch_size: int, count: int, random: np.random.Generator
) -> np.ndarray:
    """Return random upper left corners [count, 2], uniform over all that fit, in packed pixels.

    >>> random_corners(32, 40, 32, 3, np.random.default_rng(0)).tolist()
    [[0, 7], [0, 5], [0, 4]]
    """
    last = (height - patch_size, width - patch_size)
    return random.integers((0, 0), last, size=(count, 2), endpoint=True)
