"""The order of patches in an epoch: any batch's patches, without those before it.

All orders are pure functions of a seed and the number of the epoch. Patches are numbered through
all frames, from the first frame on. An order has `num_batches` per epoch.
"""

import functools
from collections.abc import Sequence

import numpy as np

# Purposes of random generators; never 0, since [1] and [1, 0] are the same seed to numpy.
_BLOCKS, _WINDOW, _FRAMES, _IN_FRAME, _CORNERS = range(1, 6)


def _generator(seed: int, epoch: int, purpose: int, which: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, purpose, which])


def corner_generator(seed: int, epoch: int, frame: int) -> np.random.Generator:
    """Return the generator of a frame's random corners in an epoch."""
    return _generator(seed, epoch, _CORNERS, frame)


class InOrder:
    """Frames in order, and patches within them: each epoch the same."""

    def __init__(self, counts: Sequence[int], batch_size: int, drop_remainder: bool) -> None:
        self._total = sum(counts)
        self._batch_size = batch_size
        self.num_batches = _batches(self._total, batch_size, drop_remainder)

    def batch(self, epoch: int, number: int) -> np.ndarray:
        """Return the patches of a batch of an epoch, int64 [B]."""
        first = number * self._batch_size
        return self._patches(epoch, first, min(first + self._batch_size, self._total))

    def ahead(self, epoch: int, number: int) -> list[tuple[int, int]]:
        """Return runs of patches (first, end) that the epoch needs some time after a batch.

        The batches of an epoch together name each run once, except those needed first. Reading in
        order needs none.
        """
        return []

    def _patches(self, epoch: int, first: int, last: int) -> np.ndarray:
        return np.arange(first, last)


class Mixed(InOrder):
    """Images mixed, in two steps that keep reading nearly sequential.

    The epoch is a permutation of blocks, runs of `block` patches of one frame that lie together on
    disk. It is split into windows of about `window` patches, and each window's patches are
    permuted. Patches that fit in one window are thus shuffled as a whole.
    """

    def __init__(
        self,
        counts: Sequence[int],
        batch_size: int,
        drop_remainder: bool,
        seed: int,
        window: int,
        block: int,
    ) -> None:
        super().__init__(counts, batch_size, drop_remainder)
        self._seed = seed
        windows = max(1, round(self._total / window))
        self._window_size = -(-self._total // windows)
        starts = np.cumsum([0, *counts])
        self._starts = np.concatenate(
            [np.arange(*ends, block) for ends in zip(starts[:-1], starts[1:], strict=True)]
        )
        self._sizes = np.diff(self._starts, append=self._total)
        self._epoch = functools.lru_cache(2)(self._permuted_blocks)
        self._window = functools.lru_cache(4)(self._permuted_window)

    def _patches(self, epoch: int, first: int, last: int) -> np.ndarray:
        size = self._window_size
        windows = range(first // size, (last - 1) // size + 1)
        patches = [self._window(epoch, window) for window in windows]
        start = windows[0] * size
        return np.concatenate(patches)[first - start : last - start]

    def ahead(self, epoch: int, number: int) -> list[tuple[int, int]]:
        """Return the blocks at the batch's place in the next window, before its permutation."""
        first = number * self._batch_size + self._window_size
        order, ends = self._epoch(epoch)
        places = np.searchsorted(ends, (first, first + self._batch_size), "right")
        blocks = order[slice(*places)]
        return list(zip(self._starts[blocks], (self._starts + self._sizes)[blocks], strict=True))

    def _permuted_blocks(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks in the epoch's order, and where each ends in it."""
        order = _generator(self._seed, epoch, _BLOCKS).permutation(len(self._starts))
        return order, np.cumsum(self._sizes[order])

    def _permuted_window(self, epoch: int, window: int) -> np.ndarray:
        first = window * self._window_size
        last = min(first + self._window_size, self._total)
        order, ends = self._epoch(epoch)
        blocks = slice(np.searchsorted(ends, first, "right"), np.searchsorted(ends, last) + 1)
        ends, order = ends[blocks], order[blocks]
        sizes = self._sizes[order]
        shifts = np.repeat(self._starts[order] - (ends - sizes), sizes)
        positions = np.arange(ends[0] - sizes[0], ends[-1])
        patches = (positions + shifts)[(positions >= first) & (positions < last)]
        return _generator(self._seed, epoch, _WINDOW, window).permutation(patches)


class OneImageABatch:
    """The release's batches: each from one image, the last of an image perhaps smaller.

    With a seed, images are shuffled, and patches within each; without, all are in order.
    """

    def __init__(
        self, counts: Sequence[int], batch_size: int, drop_remainder: bool, seed: int | None = None
    ) -> None:
        self._seed = seed
        self._counts = counts
        self._batch_size = batch_size
        self._starts = np.cumsum([0, *counts])
        self._batches = np.array([_batches(count, batch_size, drop_remainder) for count in counts])
        self.num_batches = int(self._batches.sum())
        self._epoch = functools.lru_cache(2)(self._permuted_frames)
        self._frame = functools.lru_cache(8)(self._permuted_frame)

    def batch(self, epoch: int, number: int) -> np.ndarray:
        """Return the patches of a batch of an epoch, int64 [B]."""
        order, ends = self._epoch(epoch)
        turn = np.searchsorted(ends, number, "right")
        frame = int(order[turn])
        first = (number - (ends[turn] - self._batches[frame])) * self._batch_size
        return self._frame(epoch, frame)[first : first + self._batch_size]

    def ahead(self, epoch: int, number: int) -> list[tuple[int, int]]:
        """Return as many patches of the next image as the batch has of this one."""
        order, ends = self._epoch(epoch)
        turn = np.searchsorted(ends, number, "right")
        if turn + 1 == len(order):
            return []
        start, end = self._starts[order[turn + 1]], self._starts[order[turn + 1] + 1]
        first = start + (number - (ends[turn] - self._batches[order[turn]])) * self._batch_size
        return [(first, min(first + self._batch_size, end))] if first < end else []

    def _permuted_frames(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames in the epoch's order, and the batch that each ends before."""
        order = np.arange(len(self._counts))
        if self._seed is not None:
            _generator(self._seed, epoch, _FRAMES).shuffle(order)
        return order, np.cumsum(self._batches[order])

    def _permuted_frame(self, epoch: int, frame: int) -> np.ndarray:
        patches = np.arange(self._starts[frame], self._starts[frame + 1])
        if self._seed is None:
            return patches
        return _generator(self._seed, epoch, _IN_FRAME, frame).permutation(patches)


def _batches(count: int, batch_size: int, drop_remainder: bool) -> int:
    return count // batch_size if drop_remainder else -(-count // batch_size)
