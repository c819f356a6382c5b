"""Denoising whole images, in tiles where they are large."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from noise_flow_tf.denoising.dncnn import DnCNN
from noise_flow_tf.sampling.tiling import tiles, within


def denoise_image(network: DnCNN, noisy: np.ndarray, tile: int | None = None) -> np.ndarray:
    """Denoise a whole image of any size.

    Args:
        network: the denoiser.
        noisy: `[H, W, 4]`, the packed noisy raw image in [0, 1].
        tile: the side, in packed pixels, of the tiles that bound the memory; None for the whole
            image at once. Tiles overlap by the network's receptive field, so that they do not show.

    Returns:
        `[H, W, 4]` float32, clipped to [0, 1].

    Raises:
        ValueError: `noisy` of another shape, or a tile below 1.

    >>> denoise_image(DnCNN(depth=3, width=4, seed=0), np.full([6, 8, 4], 0.5)).shape
    (6, 8, 4)
    """
    noisy = np.asarray(noisy, np.float32)
    if noisy.ndim != 3 or noisy.shape[-1] != 4 or not noisy.size:
        raise ValueError(f"noisy must have shape [H, W, 4]; got {list(noisy.shape)}")
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be a whole number of packed pixels, 1 or more; got {tile}")
    denoise = _compiled(network)
    denoised = np.empty_like(noisy)
    height, width, _ = noisy.shape
    for inner, outer in tiles((height, width), tile, network.receptive_field):
        denoised[inner] = denoise(noisy[outer][np.newaxis]).numpy()[0][within(inner, outer)]
    return denoised


def _compiled(network: DnCNN) -> Callable:
    if not hasattr(network, "_denoise"):
        network._denoise = tf.function(
            lambda noisy: tf.clip_by_value(network(noisy), 0.0, 1.0),
            input_signature=[tf.TensorSpec([None, None, None, 4])],
            autograph=False,
        )
    return network._denoise
