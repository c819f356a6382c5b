"""tf.data pipelines of patches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from .errors import SiddError
from .matfiles import raw_shape, read_pair
from .scenes import CAMERAS, Frame

_SAMPLINGS = ("uniform", "random")


def uniform_corners(
    height: int, width: int, patch_size: int, limit: int | None = None
) -> np.ndarray:
    """Upper left corners [n, 2] of the non-overlapping grid from (0, 0), row by row.

    At most ``limit`` of them, the first ones. Sizes are in packed pixels.

    >>> uniform_corners(70, 100, 32, limit=4).tolist()
    [[0, 0], [0, 32], [0, 64], [32, 0]]
    """
    rows = np.arange(0, height - patch_size + 1, patch_size)
    columns = np.arange(0, width - patch_size + 1, patch_size)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return grid.reshape(-1, 2)[:limit]


def random_corners(
    height: int, width: int, patch_size: int, count: int, random: np.random.Generator
) -> np.ndarray:
    """``count`` upper left corners [count, 2], uniform over all that fit.

    >>> random_corners(32, 40, 32, 3, np.random.default_rng(0)).tolist()
    [[0, 7], [0, 5], [0, 4]]
    """
    last = (height - patch_size, width - patch_size)
    return random.integers((0, 0), last, size=(count, 2), endpoint=True)


def patch_dataset(
    frames: Sequence[Frame],
    patch_size: int = 32,
    sampling: str = "uniform",
    patches_per_image: int | None = None,
    batch_size: int = 138,
    mix_images: bool = True,
    shuffle: bool = True,
    seed: int = 0,
    cache: bool = False,
    drop_remainder: bool = False,
    shuffle_buffer: int = 8192,
    parallel_reads: int = 4,
) -> tf.data.Dataset:
    """Batches of patches, one epoch an iteration, with a known number of batches.

    Each batch is a dict: ``noise`` and ``clean`` float32 [B, p, p, 4], packed, in file orientation,
    in [0, 1] raw intensity (see :func:`sidd.read_pair`); ``iso`` and ``camera`` (index in
    :data:`sidd.CAMERAS`) int32 [B]; ``nlf`` float32 [B, 2], from each image's METADATA.

    Args:
        frames: from :func:`sidd.select_frames`.
        patch_size: in packed pixels.
        sampling: "uniform", the grid of :func:`uniform_corners`; "random", new corners of
            :func:`random_corners` in every epoch (the same in every epoch where ``cache``).
        patches_per_image: at most (uniform) or exactly (random) so many; None for the whole grid's
            number. The release has 2898.
        batch_size: the release's is 138.
        mix_images: False gives the release's batches, each from one image and so of one ISO and
            camera; the last of an image may be smaller.
        shuffle: other order in each iteration, all of them fixed by ``seed``. With ``mix_images``,
            images are shuffled, then patches in a buffer; without, images, and patches within
            each. False keeps frames, and patches within them, in order.
        cache: keep the patches in memory: the second epoch on costs no reading.
        drop_remainder: leave out batches that are not full.
        shuffle_buffer: patches in the buffer; of 32 x 32, 32 KiB each.
        parallel_reads: images read at once, and held in memory.

    Raises ValueError for wrong arguments, SiddError (before any batch) for a NOISY or GT file that
    is missing, cut short, smaller than a patch or not of the other's size. What shows only in
    reading (damaged pixels or METADATA, METADATA of another ISO or camera than the folder's name)
    raises a tf.errors.OpError with the message of the SiddError.
    """
    if sampling not in _SAMPLINGS:
        raise ValueError(f"unknown sampling {sampling!r}; allowed: {', '.join(_SAMPLINGS)}")
    sizes = {"patch_size": patch_size, "batch_size": batch_size, "parallel_reads": parallel_reads}
    sizes |= {"shuffle_buffer": shuffle_buffer}
    sizes |= {} if patches_per_image is None else {"patches_per_image": patches_per_image}
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    frames = list(frames)
    if not frames:
        raise ValueError("no frames given: nothing was selected")
    counts = [_count(frame, patch_size, sampling, patches_per_image) for frame in frames]
    total = sum(counts)

    read = partial(_read_patches, frames, counts, patch_size, sampling)
    order_seed, corner_seed, patch_seed = (3 * seed + offset for offset in range(3))
    images = tf.data.Dataset.range(len(frames))
    if shuffle and not cache:
        images = _shuffled(images, len(frames), order_seed)
    images = tf.data.Dataset.zip(images, _seeds(corner_seed)).map(
        read, num_parallel_calls=parallel_reads, deterministic=True
    )
    if cache:
        images = images.cache()
        if shuffle:
            images = _shuffled(images, len(frames), order_seed)

    if mix_images:
        if shuffle:
            patches = images.interleave(
                tf.data.Dataset.from_tensor_slices, cycle_length=parallel_reads, block_length=1
            )
            patches = _shuffled(patches, min(total, shuffle_buffer), patch_seed)
        else:
            patches = images.unbatch()
        batches = patches.batch(batch_size, drop_remainder)
        number = _batches(total, batch_size, drop_remainder)
    else:
        images = tf.data.Dataset.zip(images, _seeds(patch_seed))
        batches = images.flat_map(
            lambda image, seed: tf.data.Dataset.from_tensor_slices(
                _permuted(image, seed) if shuffle else image
            ).batch(batch_size, drop_remainder)
        )
        number = sum(_batches(count, batch_size, drop_remainder) for count in counts)

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.apply(tf.data.experimental.assert_cardinality(number))
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _count(frame: Frame, patch_size: int, sampling: str, limit: int | None) -> int:
    shape, clean_shape = raw_shape(frame.noisy), raw_shape(frame.clean)
    if shape != clean_shape:
        raise SiddError(f"{frame.noisy}: shape {shape} does not fit {clean_shape} of {frame.clean}")
    height, width = (size // 2 for size in shape)
    grid = (height // patch_size) * (width // patch_size)
    if grid == 0:
        raise SiddError(
            f"{frame.noisy}: packed image of {height} x {width} is smaller than a patch of "
            f"{patch_size} x {patch_size}"
        )
    if limit is None:
        return grid
    return min(grid, limit) if sampling == "uniform" else limit


def _read_patches(
    frames: list[Frame],
    counts: list[int],
    patch_size: int,
    sampling: str,
    number: tf.Tensor,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """One image's patches, and its conditions once for each of them."""

    def read(number: np.int64, seed: np.int64) -> tuple[np.ndarray, ...]:
        frame, count = frames[number], counts[number]
        pair = read_pair(frame.noisy, frame.clean, frame.metadata)
        if (pair.camera, pair.iso) != (frame.camera, frame.iso):
            raise SiddError(
                f"{frame.metadata}: is of {pair.camera} at ISO {pair.iso}, but its folder's name "
                f"says {frame.camera} at ISO {frame.iso}"
            )
        height, width, _ = pair.clean.shape
        if sampling == "uniform":
            corners = uniform_corners(height, width, patch_size, count)
        else:
            random = np.random.default_rng([int(seed), int(number)])
            corners = random_corners(height, width, patch_size, count, random)
        noise, clean = (
            np.stack([image[i : i + patch_size, j : j + patch_size] for i, j in corners])
            for image in (pair.noise, pair.clean)
        )
        iso = np.full(count, pair.iso, np.int32)
        camera = np.full(count, CAMERAS.index(pair.camera), np.int32)
        return noise, clean, iso, camera, np.tile(np.float32(pair.nlf), (count, 1))

    types = (tf.float32, tf.float32, tf.int32, tf.int32, tf.float32)
    shapes = (*2 * ((None, patch_size, patch_size, 4),), (None,), (None,), (None, 2))
    tensors = tf.numpy_function(read, (number, seed), types)
    for tensor, shape in zip(tensors, shapes, strict=True):
        tensor.set_shape(shape)
    return dict(zip(("noise", "clean", "iso", "camera", "nlf"), tensors, strict=True))


def _shuffled(dataset: tf.data.Dataset, buffer: int, seed: int) -> tf.data.Dataset:
    return dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=True)


def _seeds(seed: int) -> tf.data.Dataset:
    """Endless int64 seeds, others in each iteration."""
    return tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)


def _permuted(image: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    order = tf.random.experimental.stateless_shuffle(
        tf.range(tf.shape(image["iso"])[0]), seed=tf.stack([seed, seed + 1])
    )
    return {name: tf.gather(values, order) for name, values in image.items()}


def _batches(count: int, batch_size: int, drop_remainder: bool) -> int:
    return count // batch_size if drop_remainder else -(-count // batch_size)
