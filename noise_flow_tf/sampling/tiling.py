"""Tiles that large images are worked on in."""

from collections.abc import Iterator

import numpy as np

Place = tuple[slice, slice]


def tiles(size: tuple[int, int], tile: int | None, margin: int) -> Iterator[tuple[Place, Place]]:
    """Each tile's place in the image, without and with the surroundings that it depends on.

    Tiles are as equal as whole pixels allow, and with their surroundings exactly so: where these
    would end outside the image, they go further on the other side.

    Args:
        size: height and width of the image.
        tile: the largest side of a tile; None for one of the whole image.
        margin: how far the surroundings go at least; they end where the image does.

    >>> [(inner[1], outer[1]) for inner, outer in tiles((4, 7), tile=4, margin=1)]
    [(slice(0, 3, None), slice(0, 6, None)), (slice(3, 7, None), slice(1, 7, None))]
    """
    counts = [1 if tile is None else -(-length // tile) for length in size]
    for corner in np.ndindex(*counts):
        inner, outer = [], []
        for number, count, length in zip(corner, counts, size, strict=True):
            start, stop = number * length // count, (number + 1) * length // count
            window = min(length, -(-length // count) + 2 * margin)
            first = min(max(0, start - margin), length - window)
            inner.append(slice(start, stop))
            outer.append(slice(first, first + window))
        yield tuple(inner), tuple(outer)


def within(inner: Place, outer: Place) -> Place:
    """The place of the inner tile in the outer one."""
    return tuple(
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
