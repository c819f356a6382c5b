"""Noise for batches and for whole images, which are sampled in tiles."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.distribution import noise_by_core
from noise_flow_tf.protocol import NoiseModel, sample
from noise_flow_tf.sampling.tiling import tiles, within

TILE = 1024
_SEEDS = 2**31


def sample_noise(
    model: NoiseModel,
    clean: Any,
    iso: Any,
    camera: Any,
    seed: Any,
    temperature: Any = 1.0,
) -> tf.Tensor:
    """Draw noise for each image of a batch.

    Args:
        model: anything that is called like `NoiseFlow`.
        clean: `[B, H, W, 4]`, packed clean raw images in [0, 1].
        iso: the ISO level, one for all or `[B]`.
        camera: the camera's index or code, one for all or `[B]`.
        seed: a whole number of 32 bits; the same seed draws the same noise.
        temperature: the standard deviation T of the latent, z ~ N(0, T^2); the model's own
            distribution has T = 1.

    Returns:
        `[B, H, W, 4]` float32, in units of raw intensity.
    """
    return sample(model(clean, iso, camera), _stateless(seed), temperature)


def sample_image(
    model: NoiseModel,
    clean: Any,
    iso: int,
    camera: int | str,
    seed: int = 0,
    temperature: float = 1.0,
    tile: int | None = TILE,
) -> np.ndarray:
    """Draw noise for one whole image of any size.

    Without the compiled core, the first call for a model compiles a TensorFlow function for images
    of all sizes, ISO levels and cameras, which further calls reuse.

    Args:
        model: anything that is called like `NoiseFlow`.
        clean: `[H, W, 4]`, the packed clean raw image in [0, 1].
        iso: the ISO level.
        camera: the camera's index or code ("S6").
        seed: the same seed draws the same noise, for any tile.
        temperature: the standard deviation of the latent; 1 is the model's own distribution.
        tile: the largest side of the tiles, in packed pixels, which bound the additional memory;
            None for the whole image at once. Tiles overlap by the model's receptive field, so they
            leave no seams. The compiled core needs none, and models whose noise of a pixel depends
            on all pixels before it, or that have no latent, draw the whole image at once.

    Returns:
        `[H, W, 4]` float32, noise to add to `clean`, in units of raw intensity.

    Raises:
        ValueError: `clean` of another shape or refused by `conditions.packed`, an unknown ISO or
            camera, a temperature that is negative or not finite, a seed that is not a whole number
            from 0 to 2^31 - 1, a model without a latent, a tile that is not a positive integer.

    >>> from noise_flow_tf import NoiseFlow
    >>> sample_image(NoiseFlow(seed=0), np.full([6, 8, 4], 0.5), iso=800, camera="S6").shape
    (6, 8, 4)
    """
    clean = np.asarray(clean)
    if clean.ndim != 3 or clean.shape[-1] != 4 or not clean.size:
        raise ValueError(f"clean must have shape [H, W, 4]; got {list(clean.shape)}")
    height, width, _ = clean.shape
    iso, camera = _scalar(iso, "iso"), _scalar(camera, "camera")
    temperature = float(_scalar(temperature, "temperature"))
    _check_options(temperature, seed, tile)
    space = ConditionSpace.of(model)
    space.check(iso, camera)
    index = space.camera_index(camera)
    if getattr(model, "has_latent", True) is False:
        if temperature != 1:
            raise ValueError(
                f"a {type(model).__name__} has no latent, so its temperature must be 1; got "
                f"{temperature:g}"
            )
        return sample_noise(model, clean[np.newaxis], iso, camera, _integer(seed)).numpy()[0]
    conditions = space.resolve(clean[np.newaxis], iso, index)
    latent = tf.random.stateless_normal([height, width, 4], _stateless(_integer(seed)))
    latent = latent if temperature == 1 else latent * temperature
    whole = noise_by_core(model, conditions, latent[tf.newaxis])
    if whole is not None:
        return whole[0]
    forward = _forward(model, space)
    noise = np.empty(clean.shape, np.float32)
    margin = getattr(model, "receptive_field", 0)
    if margin is None:
        margin, tile = 0, None
    for inner, outer in tiles((height, width), tile, margin):
        corner = [side.start for side in outer]
        size = [side.stop - side.start for side in outer]
        window = forward(conditions.clean[0], latent, corner, size, iso, index)
        noise[inner] = window.numpy()[within(inner, outer)]
    return noise


def _check_options(temperature: float, seed: Any, tile: Any) -> None:
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be finite and not negative; got {temperature}")
    if not 0 <= _integer(seed) < _SEEDS:
        raise ValueError(f"seed must be a whole number from 0 to {_SEEDS - 1}; got {seed}")
    if tile is not None and _integer(tile) < 1:
        raise ValueError(f"tile must be a whole number of packed pixels, 1 or more; got {tile}")


def _scalar(value: Any, name: str) -> Any:
    """Convert a single number or code of Python, NumPy or TensorFlow to NumPy."""
    array = np.asarray(value)
    if array.ndim:
        raise ValueError(f"{name} must be one value for the image; got shape {list(array.shape)}")
    return array[()]


def _integer(value: Any) -> int:
    """Return an integer of any type as int, and -1 for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        return -1


def _forward(model: Any, space: ConditionSpace) -> Callable:
    """Return the compiled function of a model that draws the noise of a window of an image."""

    def forward(
        clean: tf.Tensor,
        latent: tf.Tensor,
        corner: tf.Tensor,
        size: tf.Tensor,
        iso: tf.Tensor,
        camera: tf.Tensor,
    ) -> tf.Tensor:
        begin, extent = tf.pad(corner, [[0, 1]]), tf.concat([size, [4]], axis=0)
        part, z = (tf.slice(x, begin, extent)[tf.newaxis] for x in (clean, latent))
        noise_of = getattr(model(part, iso, camera), "noise_of", None)
        if noise_of is None:
            raise ValueError(
                f"a {type(model).__name__} has no latent that tiles could share; use "
                "sampling.sample_noise(model, clean[np.newaxis], iso, camera, seed)"
            )
        return noise_of(z)[0]

    functions = vars(model).setdefault("_forwards", _Compiled()).functions
    if space not in functions:
        functions[space] = tf.function(forward, input_signature=_WINDOW, autograph=False)
    return functions[space]


_WINDOW = [
    tf.TensorSpec([None, None, 4]),
    tf.TensorSpec([None, None, 4]),
    tf.TensorSpec([2], tf.int32),
    tf.TensorSpec([2], tf.int32),
    tf.TensorSpec([]),
    tf.TensorSpec([], tf.int32),
]


class _Compiled:
    """Compiled functions; a dict would become part of the model's SavedModel."""

    def __init__(self) -> None:
        self.functions: dict[ConditionSpace, Callable] = {}


def _stateless(seed: Any) -> tf.Tensor:
    return tf.stack([tf.cast(seed, tf.int32), 0])
