"""tf.data pipelines of patches."""

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
from sidd.loading.cache import FrameInfo, Opened, open_cached, open_in_memory
from sidd.loading.corners import random_corners, uniform_corners, unmasked_corners
from sidd.loading.order import InOrder, Mixed, OneImageABatch, corner_generator
from sidd.loading.tiles import TileFile, TilesInMemory
from sidd.scenes import Frame

if TYPE_CHECKING:
    import tensorflow as tf

Order = InOrder | Mixed | OneImageABatch
WithPlaces = tuple[FrameInfo, TileFile | TilesInMemory, np.ndarray | None]

_SAMPLINGS = ("uniform", "random")
_NAMES = ("noise", "clean", "iso", "camera", "nlf", "frame")
_MOST_READERS = 4


class Patches:
    """The patches of frames, which are read once, in batches of any order from any place.

    Nothing depends on the frames' files once this is made.

    Args:
        frames: from `sidd.select_frames`.
        patch_size: in packed pixels.
        sampling: "uniform", the grid of `sidd.uniform_corners`; "random", new corners of
            `sidd.random_corners` in every epoch.
        patches_per_image: at most (uniform) or exactly (random) so many; None for as many as the
            grid has. The release has 2898.
        cache: folder for the frames of this run and later ones (`sidd.loading.cache`). It takes 32
            bytes per packed pixel, for all patch sizes and samplings. None: memory, at most 2 GB.
        strict: raise the error of a frame that cannot be used; otherwise skip the frame.
        seed: of the order of patches and of random corners.
        parallel_reads: batches made at once, and frames read at once, of these 4 at most: h5py
            reads one file at a time, and each takes 300 MB at SIDD's full size.
        progress: show progress bars.
        cameras: codes, whose positions are the batches' camera indices.
        stride: of the uniform grid, in packed pixels; None for patches side by side.

    Attributes:
        frames: those that can be used.
        skipped: those that cannot, each with the reason, which is also logged once.
        masked_share: the share of places in the frames that are left out, since a patch there would
            contain a masked pixel: NaN in the NOISY of an unclipped pair.
        num_patches: in an epoch.
        digest: a hash that tells two sets of patches apart.

    Raises:
        ValueError: for wrong arguments.
        SiddError: if no frame can be used, if the frames do not fit in memory or the cache folder
            cannot be written, and for the first bad frame if `strict`.
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
    ) -> None:
        if sampling not in _SAMPLINGS:
            raise ValueError(f"unknown sampling {sampling!r}; allowed: {', '.join(_SAMPLINGS)}")
        _check_positive(
            patch_size=patch_size, parallel_reads=parallel_reads,
            patches_per_image=patches_per_image, stride=stride,
        )  # fmt: skip
        if seed < 0:
            raise ValueError(f"seed must not be negative; got {seed}")
        frames, cameras = list(frames), list(cameras)
        if not frames:
            raise ValueError("no frames given: nothing was selected")
        if others := sorted({frame.camera for frame in frames} - {*cameras}):
            raise ValueError(
                f"frames of camera {', '.join(others)}, but cameras are {', '.join(cameras)}; "
                "add the code to the argument cameras, or leave the frames out (--cam)"
            )
        self._patch_size, self._sampling, self._seed = patch_size, sampling, seed
        self._stride = stride or patch_size
        self._parallel_reads = parallel_reads
        options = (min(parallel_reads, _MOST_READERS), strict, progress)
        if cache is None:
            results = open_in_memory(frames, patch_size, *options)
        else:
            results = open_cached(frames, patch_size, Path(cache), *options)
        opened = self._without_skipped(frames, list(map(self._with_places, results, frames)))
        self._infos = [info for info, _, _ in opened]
        self._tiles = [tiles for _, tiles, _ in opened]
        self._places = [places for _, _, places in opened]
        self._counts = [
            self._count(info.height, info.width, patches_per_image, places)
            for info, _, places in opened
        ]
        self.masked_share = self._masked_share()
        self._starts = np.cumsum([0, *self._counts])
        self.num_patches = int(self._starts[-1])
        self._camera = np.array([cameras.index(info.camera) for info in self._infos], np.int32)
        self._iso = np.array([info.iso for info in self._infos], np.int32)
        self._nlf = np.array([info.nlf for info in self._infos], np.float32)
        self._corners = functools.lru_cache(512)(self._make_corners)

    def _without_skipped(
        self, frames: list[Frame], results: list[WithPlaces | SiddError]
    ) -> list[WithPlaces]:
        self.frames: list[Frame] = []
        self.skipped: dict[Frame, str] = {}
        opened = []
        for frame, result in zip(frames, results, strict=True):
            if isinstance(result, SiddError):
                self.skipped[frame] = str(result)
            else:
                self.frames.append(frame)
                opened.append(result)
        if not opened:
            reason = next(iter(self.skipped.values()))
            raise SiddError(f"{reason}; and none of the {len(frames)} frames can be used")
        for reason in self.skipped.values():
            logging.getLogger(__name__).warning("skipped: %s", reason)
        return opened

    @functools.cached_property
    def digest(self) -> str:
        """A hash, 64 hexadecimal digits, of all that decides which patches there are.

        That is: the used frames, in order, with all values of their images and their conditions,
        patch size, sampling, stride, patches per frame, the seed and the cameras' indices. Two runs
        with the same digest get the same batches from the same arguments. The files' places and
        dates, and whether there is a cache, do not matter.
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
        """Return the standard deviation of the whole frames' noise, in [0, 1] raw intensity."""
        count = sum(4 * (info.height * info.width - info.num_masked) for info in self._infos)
        mean = sum(info.noise_sum for info in self._infos) / count
        squares = sum(info.noise_squares for info in self._infos) / count
        return float(np.sqrt(max(0, squares - mean**2)))  # rounding can make it negative

    def nlf_table(self) -> dict[tuple[str, int], tuple[float, float]]:
        """Return the frames' pairs of camera and ISO, sorted, each with the mean of its NLFs."""
        nlfs: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for info in self._infos:
            nlfs.setdefault((info.camera, info.iso), []).append(info.nlf)
        return {pair: tuple(np.mean(nlfs[pair], axis=0).tolist()) for pair in sorted(nlfs)}

    def num_batches(
        self, batch_size: int, mix_images: bool = True, drop_remainder: bool = False
    ) -> int:
        """Return how many batches an epoch has."""
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
    ) -> "tf.data.Dataset":
        """Return batches of patches: equal arguments give equal batches.

        Args:
            batch_size: the release's is 138.
            mix_images: False for the release's batches, each from one image and so of one ISO and
                camera; the last of an image may be smaller.
            shuffle: use another order in each epoch, a function of the seed, the epoch's number
                and `frames`. False keeps frames, and patches within them, in order.
            drop_remainder: leave out batches that are not full.
            first_batch: where to begin, counted through all epochs: step s of epoch e is
                `e * num_batches + s`. Nothing before it is read.
            repeat: continue without end, epoch after epoch; otherwise to the end of the epoch of
                `first_batch`.
            shard: (index, count): only this worker's slice of each batch of `batch_size`; the
                slices of all workers, joined, are the batch.
            shuffle_window: with `mix_images`, patches are shuffled in windows of about so many,
                read from all over the frames but in runs of neighbours on disk.
            shuffle_block: neighbouring patches of a frame that get into the same window.

        Returns:
            Dicts of `noise` and `clean` float32 [B, p, p, 4], packed, in file orientation, in
            [0, 1] raw intensity (`sidd.read_pair`); `iso`, `camera` (index in `cameras`) and
            `frame` (index in `frames`) int32 [B]; `nlf` float32 [B, 2]. A cache file that cannot be
            read any more raises a tf.errors.OpError with the message of the SiddError.

        Raises:
            ValueError: for wrong arguments.
        """
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
        size = None
        if drop_remainder:
            size = batch_size * (index + 1) // count - batch_size * index // count
        last = None if repeat else (first_batch // order.num_batches + 1) * order.num_batches
        return self._dataset(order, (first_batch, last), shard, size)

    def _dataset(
        self,
        order: Order,
        numbers: tuple[int, int | None],
        shard: tuple[int, int],
        size: int | None,
    ) -> "tf.data.Dataset":
        """Return a shard of batches `numbers` (first, end), of `size` patches if that is known."""
        import tensorflow as tf  # takes seconds, and nothing else in this package needs it

        index, count = shard

        def read(number: np.int64) -> tuple[np.ndarray, ...]:
            epoch, step = divmod(int(number), order.num_batches)
            patches = order.batch(epoch, step)
            if count == 1:  # other shards would read ahead what is not theirs
                self._expect(epoch, order.ahead(epoch, step))
            bounds = [len(patches) * part // count for part in (index, index + 1)]
            return self._read(epoch, patches[slice(*bounds)])

        types = (tf.float32, tf.float32, tf.int32, tf.int32, tf.float32, tf.int32)
        image = (size, self._patch_size, self._patch_size, 4)
        shapes = (image, image, (size,), (size,), (size, 2), (size,))

        def batch(number: tf.Tensor) -> dict[str, tf.Tensor]:
            tensors = tf.numpy_function(read, (number,), types)
            for tensor, shape in zip(tensors, shapes, strict=True):
                tensor.set_shape(shape)
            return dict(zip(_NAMES, tensors, strict=True))

        first, last = numbers
        source = tf.data.Dataset.counter(first) if last is None else tf.data.Dataset.range(*numbers)
        options = tf.data.Options()
        policies = tf.data.experimental.AutoShardPolicy
        policy = policies.DATA if count == 1 else policies.OFF
        options.experimental_distribute.auto_shard_policy = policy
        # Nothing here is tuned, and its thread can hold up the end of an iterator for as long as
        # it has run already.
        options.autotune.enabled = False
        parallel = self._parallel_reads
        batches = source.map(batch, num_parallel_calls=parallel, deterministic=True)
        return batches.prefetch(parallel).with_options(options)

    def _order(
        self, batch_size: int, mix_images: bool, shuffle: bool, drop_remainder: bool, *window: int
    ) -> Order:
        _check_positive(batch_size=batch_size)
        basic = (self._counts, batch_size, drop_remainder)
        if not mix_images:
            return OneImageABatch(*basic, self._seed if shuffle else None)
        return Mixed(*basic, self._seed, *window) if shuffle else InOrder(*basic)

    def _with_places(self, result: Opened | SiddError, frame: Frame) -> WithPlaces | SiddError:
        """Add where patches may be, [n, 2] corners, or None for all places, to an opened frame."""
        if isinstance(result, SiddError):
            return result
        info, tiles = result
        if not info.masked:
            return info, tiles, None
        allowed = unmasked_corners(info.mask(), self._patch_size)
        if self._sampling == "random":
            places = np.argwhere(allowed)
        else:
            size = (info.height, info.width, self._patch_size)
            places = uniform_corners(*size, stride=self._stride)
            places = places[allowed[tuple(places.T)]]
        if not len(places):
            return SiddError(
                f"{frame.noisy}: each patch of {self._patch_size} x {self._patch_size} has a "
                "masked pixel (NaN); take smaller patches"
            )
        return info, tiles, places

    def _masked_share(self) -> float:
        """Return the share of places that masked pixels take, and log it if there are any."""
        p = self._patch_size
        step = 1 if self._sampling == "random" else self._stride
        grids = [
            ((info.height - p + step) // step) * ((info.width - p + step) // step)
            for info in self._infos
        ]
        left = [
            grid if places is None else len(places)
            for grid, places in zip(grids, self._places, strict=True)
        ]
        share = 1 - sum(left) / sum(grids)
        if share:
            logging.getLogger(__name__).warning(
                "left out: %.1f%% of the patches, which have masked pixels (NaN)", 100 * share
            )
        return share

    def _count(self, height: int, width: int, limit: int | None, places: np.ndarray | None) -> int:
        rows, columns = (
            max(0, length - self._patch_size + self._stride) // self._stride
            for length in (height, width)
        )
        grid = rows * columns
        if places is not None and self._sampling == "uniform":
            grid = len(places)
        if limit is None:
            return grid
        return min(grid, limit) if self._sampling == "uniform" else limit

    def _make_corners(self, epoch: int, frame: int) -> np.ndarray:
        info, count, places = self._infos[frame], self._counts[frame], self._places[frame]
        if places is not None and self._sampling == "uniform":
            return places[:count]
        if self._sampling == "uniform":
            size = (info.height, info.width, self._patch_size)
            return uniform_corners(*size, count, self._stride)
        random = corner_generator(self._seed, epoch, frame)
        if places is None:
            corners = random_corners(info.height, info.width, self._patch_size, count, random)
        else:
            corners = places[random.integers(len(places), size=count)]
        return corners[np.lexsort(corners.T[::-1])]  # as they lie on disk

    def _expect(self, epoch: int, runs: list[tuple[int, int]]) -> None:
        """Start reading ahead runs of patches, each of one frame."""
        epoch = epoch if self._sampling == "random" else 0
        for first, end in runs:
            frame = int(np.searchsorted(self._starts, first, "right")) - 1
            corners = self._corners(epoch, frame)[first - self._starts[frame] :][: end - first]
            self._tiles[frame].expect(corners[0], corners[-1], self._patch_size)

    def _read(self, epoch: int, patches: np.ndarray) -> tuple[np.ndarray, ...]:
        """Read a batch of patches by their numbers: the arrays of `_NAMES`."""
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


def _check_positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
