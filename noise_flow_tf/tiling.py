"""Tiles that large images are worked on in."""

from collections.abc import Iterator

import numpy as np

Place = tuple[slice, slice]


def tiles(size: tuple[int, int], tile: int | None, reach: int) -> Iterator[tuple[Place, Place]]:
    """Each tile's place in the image, without and with the surroundings that it depends on.

    Args:
        size: height and width of the image.
        tile: the side of the tiles; None for one of the whole image.
        reach: how far the surroundings go; they end where the image does.

    >>> [inner[1] for inner, _ in tiles((4, 6), tile=4, reach=1)]
    [slice(0, 4, None), slice(4, 6, None)]
    """
    for corner in np.ndindex(*(1 if tile is None else -(-length // tile) for length in size)):
        inner, outer = [], []
        for number, length in zip(corner, size, strict=True):
            side = tile or length
            start, stop = number * side, min(length, (number + 1) * side)
            inner.append(slice(start, stop))
            outer.append(slice(max(0, start - reach), min(length, stop + reach)))
        yield tuple(inner), tuple(outer)


def within(inner: Place, outer: Place) -> Place:
    """The place of the inner tile in the outer one."""
    return tuple(
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
