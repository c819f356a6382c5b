"""Noise for whole images."""

from typing import Any

import numpy as np
import tensorflow as tf


def sample_noise(model: Any, clean: Any, iso: Any, camera: Any, seed: Any, temperature: Any = 1.0):
    """One draw of noise for each image of a batch.

    Args:
        model: anything that is called like `NoiseFlow`.
        clean: `[B, H, W, 4]`, packed clean raw images in [0, 1].
        iso: the ISO level, one for all or `[B]`.
        camera: the camera's index or code, one for all or `[B]`.
        seed: a whole number; the same one gives the same noise.
        temperature: the standard deviation T of the latent, z ~ N(0, T^2); the model's own
            distribution has T = 1.

    Returns:
        `[B, H, W, 4]` float32, in units of raw intensity.
    """
    p = model(clean, iso, camera)
    latent = tf.random.stateless_normal(tf.shape(clean), tf.stack([tf.cast(seed, tf.int32), 0]))
    return p.bijector.forward(latent * temperature)


def sample_image(
    model: Any, clean: Any, iso: int, camera: int | str, seed: int = 0, temperature: float = 1.0
) -> np.ndarray:
    """Noise for one whole image of any size.

    Args:
        model: anything that is called like `NoiseFlow`.
        clean: `[H, W, 4]`, the packed clean raw image in [0, 1].
        iso: the ISO level.
        camera: the camera's index or code ("S6").
        seed: the same one gives the same noise.
        temperature: the standard deviation of the latent; 1 is the model's own distribution.

    Returns:
        `[H, W, 4]` float32, noise to add to `clean`, in units of raw intensity.

    Raises:
        ValueError: `clean` of another shape, an unknown ISO or camera, a negative temperature.

    >>> from noise_flow_tf import NoiseFlow
    >>> sample_image(NoiseFlow(seed=0), np.full([6, 8, 4], 0.5), iso=800, camera="S6").shape
    (6, 8, 4)
    """
    clean = np.asarray(clean, np.float32)
    if clean.ndim != 3:
        raise ValueError(f"clean must have shape [H, W, 4]; got {list(clean.shape)}")
    if not temperature >= 0:
        raise ValueError(f"temperature must not be negative; got {temperature}")
    return sample_noise(model, clean[np.newaxis], iso, camera, seed, temperature)[0].numpy()
