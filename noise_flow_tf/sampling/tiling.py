"""Tiles of large images."""

from collections.abc import Iterator

import numpy as np

Region = tuple[slice, slice]


def tiles(size: tuple[int, int], tile: int | None, margin: int) -> Iterator[tuple[Region, Region]]:
    """Yield each tile's region of the image, without and with its margin.

    Tiles are as equal as whole pixels allow, and with their margins exactly equal: a margin that
    would end outside the image is added on the other side.

    Args:
        size: height and width of the image.
        tile: the largest side of a tile; None for one of the whole image.
        margin: the least width of the margin, inside the image.

    >>> [(inner[1], outer[1]) for inner, outer in tiles((4, 7), tile=4, margin=1)]
    [(slice(0, 3, None), slice(0, 6, None)), (slice(3, 7, None), slice(1, 7, None))]
    """
    counts = [1 if tile is None else -(-length // tile) for length in size]
    for corner in np.ndindex(*counts):
        inner: list[slice] = []
        outer: list[slice] = []
        for number, count, length in zip(corner, counts, size, strict=True):
            start, stop = number * length // count, (number + 1) * length // count
            window = min(length, -(-length // count) + 2 * margin)
            first = min(max(0, start - margin), length - window)
            inner.append(slice(start, stop))
            outer.append(slice(first, first + window))
        yield (inner[0], inner[1]), (outer[0], outer[1])


def within(inner: Region, outer: Region) -> Region:
    """Return the region of the inner tile in the outer one."""
    rows, columns = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    return rows, columns
