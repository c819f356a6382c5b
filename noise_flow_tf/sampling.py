"""Noise for whole images, in tiles where they are large."""

import operator
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf import threads
from noise_flow_tf.conditions import Known
from noise_flow_tf.tiling import tiles, within

TILE = 1024
_WORTH_COMPILING_TWO = 2**17
_SEEDS = 2**31
_forwards: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def sample_noise(model: Any, clean: Any, iso: Any, camera: Any, seed: Any, temperature: Any = 1.0):
    """One draw of noise for each image of a batch.

    Args:
        model: anything that is called like `NoiseFlow`.
        clean: `[B, H, W, 4]`, packed clean raw images in [0, 1].
        iso: the ISO level, one for all or `[B]`.
        camera: the camera's index or code, one for all or `[B]`.
        seed: a whole number of 32 bits; the same one gives the same noise.
        temperature: the standard deviation T of the latent, z ~ N(0, T^2); the model's own
            distribution has T = 1.

    Returns:
        `[B, H, W, 4]` float32, in units of raw intensity.
    """
    p = model(clean, iso, camera)
    return p.bijector.forward(_latent(tf.shape(clean), seed) * temperature)


def sample_image(
    model: Any,
    clean: Any,
    iso: int,
    camera: int | str,
    seed: int = 0,
    temperature: float = 1.0,
    tile: int | None = TILE,
) -> np.ndarray:
    """Noise for one whole image of any size.

    The first call for a model compiles a function for images of all sizes, ISO levels and cameras;
    further calls use it again.

    Args:
        model: anything that is called like `NoiseFlow`.
        clean: `[H, W, 4]`, the packed clean raw image in [0, 1].
        iso: the ISO level.
        camera: the camera's index or code ("S6").
        seed: the same one gives the same noise, whatever the tile.
        temperature: the standard deviation of the latent; 1 is the model's own distribution.
        tile: the largest side of the tiles, in packed pixels, that the image is worked on in, so
            that memory beside the image's own stays bounded; None for the largest possible. Where
            cores are shared (`share_cores`), two tiles are worked on at a time. Tiles overlap by
            the reach of the model's convolutions, so that they do not show.

    Returns:
        `[H, W, 4]` float32, noise to add to `clean`, in units of raw intensity.

    Raises:
        ValueError: `clean` of another shape, an unknown ISO or camera, a temperature that is
            negative or not finite, a seed that is no whole number from 0 to 2^31 - 1, a tile that
            is no whole number from 1.

    >>> from noise_flow_tf import NoiseFlow
    >>> sample_image(NoiseFlow(seed=0), np.full([6, 8, 4], 0.5), iso=800, camera="S6").shape
    (6, 8, 4)
    """
    clean = np.asarray(clean, np.float32)
    if clean.ndim != 3 or clean.shape[-1] != 4 or not clean.size:
        raise ValueError(f"clean must have shape [H, W, 4]; got {list(clean.shape)}")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be finite and not negative; got {temperature}")
    if not 0 <= _whole(seed) < _SEEDS:
        raise ValueError(f"seed must be a whole number from 0 to {_SEEDS - 1}; got {seed}")
    if tile is not None and _whole(tile) < 1:
        raise ValueError(f"tile must be a whole number of packed pixels, 1 or more; got {tile}")

    known = Known.of(model)
    camera = known.camera_index(camera)
    known.iso_index(iso)
    together = threads.at_once() if clean[..., 0].size >= _WORTH_COMPILING_TWO else 1
    places = list(tiles(clean.shape[:2], tile, getattr(model, "reach", 0), even=together == 2))
    if len(places) % together:
        together = 1
    forward = _forward(model, known, together)
    whole, latent = tf.constant(clean), _latent_image(clean.shape, seed)
    noise = np.empty_like(clean)
    for group in zip(*[iter(places)] * together, strict=True):
        corners = [[side.start for side in outer] for _, outer in group]
        size = [side.stop - side.start for side in group[0][1]]
        windows = forward(whole, latent, corners, size, temperature, iso, camera)
        for (inner, outer), window in zip(group, windows, strict=True):
            noise[inner] = np.asarray(window)[within(inner, outer)]
    return noise


def _whole(value: Any) -> int:
    """A whole number of any kind; -1 for what is none."""
    try:
        return operator.index(value)
    except TypeError:
        return -1


def _forward(model: Any, known: Known, together: int) -> Callable:
    """The compiled way to the noise of so many windows of an image; it lives as long as its model.

    The windows do not depend on each other: TensorFlow works on them side by side.
    """
    functions = _forwards.setdefault(model, {})
    if (known, together) not in functions:
        reference = weakref.ref(model)
        image = tf.TensorSpec([None, None, 4])

        @tf.function(
            input_signature=[
                image,
                image,
                tf.TensorSpec([together, 2], tf.int32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([]),
                tf.TensorSpec([]),
                tf.TensorSpec([], tf.int32),
            ],
            autograph=False,
        )
        def forward(clean, latent, corners, size, temperature, iso, camera):
            def window(corner):
                begin, extent = tf.pad(corner, [[0, 1]]), tf.concat([size, [4]], axis=0)
                part, z = (tf.slice(x, begin, extent)[tf.newaxis] for x in (clean, latent))
                return reference()(part, iso, camera).bijector.forward(z * temperature)[0]

            return [window(corner) for corner in tf.unstack(corners)]

        functions[known, together] = forward
    return functions[known, together]


def _latent(shape: Any, seed: Any) -> tf.Tensor:
    return tf.random.stateless_normal(shape, tf.stack([tf.cast(seed, tf.int32), 0]))


@tf.function(
    input_signature=[tf.TensorSpec([3], tf.int64), tf.TensorSpec([], tf.int32)], autograph=False
)
def _latent_image(shape, seed):
    """A `_latent` of four channels, in two halves that are drawn side by side.

    The generator, Philox, makes four values of a counter, and the next four of the next one.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=tf.stack([seed, 0]))
    pixels = shape[0] * shape[1]
    first = pixels // 2

    def draw(start, count):
        here = counter + tf.cast(tf.stack([start, 0]), tf.uint64)
        drawn = tf.stack([count, 4])
        return tf.raw_ops.StatelessRandomNormalV2(shape=drawn, key=key, counter=here, alg=1)

    halves = [draw(tf.zeros_like(first), first), draw(first, pixels - first)]
    return tf.reshape(tf.concat(halves, axis=0), shape)
