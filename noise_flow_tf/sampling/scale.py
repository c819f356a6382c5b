"""The standard deviation that a noise model predicts for each pixel."""

from typing import Any

import tensorflow as tf

from noise_flow_tf.protocol import NoiseModel


def predicted_scale(model: NoiseModel, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
    """Return the standard deviation of a model's noise at each pixel, at temperature 1.

    In a `NoiseFlow`, signal and gain layers only scale a pixel, by s(y, ISO, camera). The layers
    from the first flow step to the latent z compute an image h(z) that does not depend on the clean
    image y. So noise = s * h(z), and its standard deviation is

        scale = s(y, ISO, camera) * stddev(h(z))

    The first factor is exact. The second, one number per channel (and per image, if a layer on the
    latent side of a flow step depends on ISO or camera), is measured over a fixed set of 16 latents
    of 64 x 64 pixels away from any border (0.3% standard error for independent pixels); it is 1
    without flow steps. Within `model.receptive_field` of the image's border, where the couplings
    see their padding, the noise may differ from it.

    Args:
        model: a noise model with a method `predicted_scale`, or whose distribution has a standard
            deviation.
        clean: `[B, H, W, 4]`, packed clean raw images in [0, 1].
        iso: the ISO level, one for all or `[B]`.
        camera: the camera's index or code, one for all or `[B]`.

    Returns:
        `[B, H, W, 4]` float32, in units of raw intensity.

    Raises:
        ValueError: a wrong shape, an unknown ISO or camera; an architecture with a flow step on the
            data side of its signal layer, where the noise of a pixel mixes the scales of others; a
            model without a standard deviation.

    >>> from noise_flow_tf import GaussianNoise
    >>> scale = predicted_scale(GaussianNoise(0.5), tf.zeros([1, 1, 1, 4]), 100, "S6")
    >>> scale.numpy().ravel().tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    method = getattr(model, "predicted_scale", None)
    if method is not None:
        return method(clean, iso, camera)
    try:
        return model(clean, iso, camera).stddev()
    except NotImplementedError as error:
        raise ValueError(f"{type(model).__name__} has no standard deviation") from error
