"""tf.data pipelines of patches."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sidd.cameras import CAMERAS
from sidd.errors import SiddError
from sidd.loading.cache import open_cached, open_in_memory
from sidd.loading.corners import random_corners, uniform_corners
from sidd.loading.order import InOrder, Mixed, OneImageABatch, corner_generator
from sidd.scenes import Frame

if TYPE_CHECKING:
    import tensorflow as tf

_SAMPLINGS = ("uniform", "random")
_MOST_READERS = 4


class Patches:
    """The patches of frames, read once and then given in batches, in any order, from any place.

    Attributes:
        frames: those that can be used.
        skipped: those that cannot, each with the reason, which also went to the log once.
        num_patches: in an epoch.
        digest: of all of them: see there.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        patch_size: int = 32,
        sampling: str = "uniform",
        patches_per_image: int | None = None,
        cache: str | os.PathLike | None = None,
        strict: bool = False,
        seed: int = 0,
        parallel_reads: int = 4,
        progress: bool = True,
        cameras: Sequence[str] = CAMERAS,
        stride: int | None = None,
    ):
        """Reads all frames, or finds them in the cache; nothing later depends on their files.

        Args:
            frames: from :func:`sidd.select_frames`.
            patch_size: in packed pixels.
            sampling: "uniform", the grid of :func:`sidd.uniform_corners`; "random", new corners
                of :func:`sidd.random_corners` in every epoch.
            patches_per_image: at most (uniform) or exactly (random) so many; None for the whole
                grid's number. The release has 2898.
            cache: folder to keep the frames in, for this run and later ones: see
                :mod:`sidd.loading.cache`. It takes 32 bytes a packed pixel, and serves any
                frames, patch size and sampling. None keeps them in memory, at most 2 GB.
            strict: raise for a frame that cannot be used; otherwise it is skipped.
            seed: of the order of patches and of random corners.
            parallel_reads: batches made at once, and frames read at once, but of these 4 at
                most: h5py reads one file at a time, and each takes 300 MB at SIDD's full size.
            progress: show progress bars.
            cameras: the codes that the batches' camera indices count through.
            stride: of the uniform grid, in packed pixels; None for patches side by side.

        Raises ValueError for wrong arguments, SiddError where no frame can be used, for the first
        bad frame where ``strict``, for frames that do not fit in memory, and for a cache folder
        that cannot be written.
        """
        if sampling not in _SAMPLINGS:
            raise ValueError(f"unknown sampling {sampling!r}; allowed: {', '.join(_SAMPLINGS)}")
        _check_positive(patch_size=patch_size, parallel_reads=parallel_reads)
        if patches_per_image is not None:
            _check_positive(patches_per_image=patches_per_image)
        if stride is not None:
            _check_positive(stride=stride)
        if seed < 0:
            raise ValueError(f"seed must not be negative; got {seed}")
        frames = list(frames)
        if not frames:
            raise ValueError("no frames given: nothing was selected")
        self._patch_size, self._sampling, self._seed = patch_size, sampling, seed
        self._stride = stride or patch_size
        self._parallel_reads = parallel_reads
        options = (min(parallel_reads, _MOST_READERS), strict, progress)
        if cache is None:
            found = open_in_memory(frames, patch_size, *options)
        else:
            found = open_cached(frames, patch_size, Path(cache), *options)

        bad = [isinstance(result, SiddError) for result in found]
        self.frames = [frame for frame, is_bad in zip(frames, bad, strict=True) if not is_bad]
        self.skipped = {
            frame: str(result)
            for frame, result, is_bad in zip(frames, found, bad, strict=True)
            if is_bad
        }
        if not self.frames:
            reason = next(iter(self.skipped.values()))
            raise SiddError(f"{reason}; and none of the {len(frames)} frames can be used")
        for reason in self.skipped.values():
            logging.getLogger(__name__).warning("skipped: %s", reason)
        opened = [result for result, is_bad in zip(found, bad, strict=True) if not is_bad]
        self._infos = [info for info, _ in opened]
        self._tiles = [tiles for _, tiles in opened]
        self._counts = [
            self._count(info.height, info.width, patches_per_image) for info, _ in opened
        ]
        self._starts = np.cumsum([0, *self._counts])
        self.num_patches = int(self._starts[-1])
        self._camera = np.array(
            [list(cameras).index(info.camera) for info in self._infos], np.int32
        )
        self._iso = np.array([info.iso for info in self._infos], np.int32)
        self._nlf = np.array([info.nlf for info in self._infos], np.float32)
        self._corners = functools.lru_cache(512)(self._make_corners)

    @functools.cached_property
    def digest(self) -> str:
        """A hash, 64 hexadecimal digits, of all that decides which patches there are.

        That is: the frames that are used, in order, with all values of their images and their
        conditions, patch size, sampling, how many patches each has, the seed and the cameras'
        indices. Where two runs have the same digest, :meth:`batches` with the same arguments gives
        the same batches. A skipped frame or a changed file gives another one; where the files
        lie, their dates, and whether there is a cache, do not matter.
        """
        frames = [
            (
                frame.instance, frame.number, info.height, info.width, info.camera, camera,
                info.iso, list(info.nlf), info.sha256, count,
            )
            for frame, info, camera, count in zip(
                self.frames, self._infos, self._camera.tolist(), self._counts, strict=True
            )
        ]  # fmt: skip
        stride = [self._stride] if self._stride != self._patch_size else []
        content = json.dumps([self._patch_size, self._sampling, self._seed, frames, *stride])
        return hashlib.sha256(content.encode()).hexdigest()

    def noise_stddev(self) -> float:
        """Of all noise values of the frames, [0, 1] raw intensity: also where no patch lies."""
        count = sum(4 * info.height * info.width for info in self._infos)
        mean = sum(info.noise_sum for info in self._infos) / count
        squares = sum(info.noise_squares for info in self._infos) / count
        return float(np.sqrt(squares - mean**2))

    def nlf_table(self) -> dict[tuple[str, int], tuple[float, float]]:
        """The frames' pairs of camera and ISO, sorted, each with the mean NLF of its METADATA."""
        found: dict[tuple[str, int], list] = {}
        for info in self._infos:
            found.setdefault((info.camera, info.iso), []).append(info.nlf)
        return {pair: tuple(np.mean(nlfs, axis=0).tolist()) for pair, nlfs in sorted(found.items())}

    def num_batches(
        self, batch_size: int, mix_images: bool = True, drop_remainder: bool = False
    ) -> int:
        """How many batches an epoch has."""
        return self._order(batch_size, mix_images, False, drop_remainder).num_batches

    def batches(
        self,
        batch_size: int = 138,
        mix_images: bool = True,
        shuffle: bool = True,
        drop_remainder: bool = False,
        first_batch: int = 0,
        repeat: bool = False,
        shard: tuple[int, int] = (0, 1),
        shuffle_window: int = 8192,
        shuffle_block: int = 64,
    ) -> tf.data.Dataset:
        """Batches of patches, the same ones whenever they are asked for with the same arguments.

        Each is a dict: ``noise`` and ``clean`` float32 [B, p, p, 4], packed, in file orientation,
        in [0, 1] raw intensity (see :func:`sidd.read_pair`); ``iso``, ``camera`` (index in
        ``cameras``) and ``frame`` (index in ``frames``) int32 [B]; ``nlf`` float32 [B, 2], from
        each image's METADATA.

        Args:
            batch_size: the release's is 138.
            mix_images: False gives the release's batches, each from one image and so of one ISO
                and camera; the last of an image may be smaller.
            shuffle: another order in each epoch, a function of the seed, the epoch's number and
                ``frames``. False keeps frames, and patches within them, in order.
            drop_remainder: leave out batches that are not full.
            first_batch: where to begin, counted through all epochs: step s of epoch e is
                ``e * num_batches + s``. Nothing before it is read.
            repeat: go on without end, epoch after epoch; otherwise to the end of the epoch of
                ``first_batch``.
            shard: (index, count): only this worker's slice of each batch of ``batch_size``; the
                slices of all workers in turn are the batch.
            shuffle_window: with ``mix_images``, patches are shuffled in windows of about so many,
                which are read from all over the frames but each from near places on disk.
            shuffle_block: neighbouring patches of a frame that come into the same window.

        Raises ValueError for wrong arguments. A cache file that cannot be read any more raises a
        tf.errors.OpError with the message of the SiddError.
        """
        import tensorflow as tf  # takes seconds, and nothing else in this package needs it

        _check_positive(shuffle_window=shuffle_window, shuffle_block=shuffle_block)
        index, count = shard
        if not 0 <= index < count:
            raise ValueError(f"shard is (index, count), index from 0 below count; got {shard}")
        if first_batch < 0:
            raise ValueError(f"first_batch must not be negative; got {first_batch}")
        window = (shuffle_window, shuffle_block)
        order = self._order(batch_size, mix_images, shuffle, drop_remainder, *window)
        if not order.num_batches:
            raise ValueError(
                f"{self.num_patches} patches make no full batch of {batch_size}; take a smaller "
                "batch_size, or keep batches that are not full"
            )

        def read(number: np.int64) -> tuple[np.ndarray, ...]:
            epoch, step = divmod(int(number), order.num_batches)
            patches = order.batch(epoch, step)
            if count == 1:  # others would have the disk read what is not theirs
                self._expect(epoch, order.ahead(epoch, step))
            bounds = [len(patches) * part // count for part in (index, index + 1)]
            return self._read(epoch, patches[slice(*bounds)])

        names = ("noise", "clean", "iso", "camera", "nlf", "frame")
        types = (tf.float32, tf.float32, tf.int32, tf.int32, tf.float32, tf.int32)
        size = None
        if drop_remainder:
            size = batch_size * (index + 1) // count - batch_size * index // count
        image = (size, self._patch_size, self._patch_size, 4)
        shapes = (image, image, (size,), (size,), (size, 2), (size,))

        def batch(number: tf.Tensor) -> dict[str, tf.Tensor]:
            tensors = tf.numpy_function(read, (number,), types)
            for tensor, shape in zip(tensors, shapes, strict=True):
                tensor.set_shape(shape)
            return dict(zip(names, tensors, strict=True))

        if repeat:
            numbers = tf.data.Dataset.counter(first_batch)
        else:
            end = (first_batch // order.num_batches + 1) * order.num_batches
            numbers = tf.data.Dataset.range(first_batch, end)
        options = tf.data.Options()
        policies = tf.data.experimental.AutoShardPolicy
        options.experimental_distribute.auto_shard_policy = (
            policies.DATA if count == 1 else policies.OFF
        )
        parallel = self._parallel_reads
        batches = numbers.map(batch, num_parallel_calls=parallel, deterministic=True)
        return batches.prefetch(parallel).with_options(options)

    def _order(self, batch_size, mix_images, shuffle, drop_remainder, window=1, block=1):
        _check_positive(batch_size=batch_size)
        basic = (self._counts, batch_size, drop_remainder)
        if not mix_images:
            return OneImageABatch(*basic, self._seed if shuffle else None)
        return Mixed(*basic, self._seed, window, block) if shuffle else InOrder(*basic)

    def _count(self, height: int, width: int, limit: int | None) -> int:
        rows, columns = (
            max(0, length - self._patch_size + self._stride) // self._stride
            for length in (height, width)
        )
        grid = rows * columns
        if limit is None:
            return grid
        return min(grid, limit) if self._sampling == "uniform" else limit

    def _make_corners(self, epoch: int, frame: int) -> np.ndarray:
        info, count = self._infos[frame], self._counts[frame]
        if self._sampling == "uniform":
            size = (info.height, info.width, self._patch_size)
            return uniform_corners(*size, count, self._stride)
        random = corner_generator(self._seed, epoch, frame)
        corners = random_corners(info.height, info.width, self._patch_size, count, random)
        return corners[np.lexsort(corners.T[::-1])]  # neighbours in the list are so in the file

    def _expect(self, epoch: int, runs: list[tuple[int, int]]) -> None:
        """Has the disk begin to read runs of patches, each of one frame."""
        epoch = epoch if self._sampling == "random" else 0
        for first, end in runs:
            frame = int(np.searchsorted(self._starts, first, "right")) - 1
            corners = self._corners(epoch, frame)[first - self._starts[frame] :][: end - first]
            self._tiles[frame].expect(corners[0], corners[-1], self._patch_size)

    def _read(self, epoch: int, patches: np.ndarray) -> tuple[np.ndarray, ...]:
        """A batch of patches by their numbers: noise, clean, ISO, camera, NLF and frame."""
        epoch = epoch if self._sampling == "random" else 0
        frames = np.searchsorted(self._starts, patches, "right") - 1
        shape = (len(patches), self._patch_size, self._patch_size, 4)
        noise, clean = np.empty(shape, np.float32), np.empty(shape, np.float32)
        within = patches - self._starts[frames]
        for i, (frame, number) in enumerate(zip(frames.tolist(), within.tolist(), strict=True)):
            row, column = self._corners(epoch, frame)[number].tolist()
            self._tiles[frame].read(row, column, noise[i], clean[i])
        conditions = (self._iso[frames], self._camera[frames], self._nlf[frames])
        return noise, clean, *conditions, frames.astype(np.int32)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
