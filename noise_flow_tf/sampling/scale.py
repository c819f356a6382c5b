"""The standard deviation that a noise model predicts for every pixel."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf import layers
from noise_flow_tf.conditions import Conditions, Known, packed

tfb = tfp.bijectors

_DRAWS = 16
_SIDE = 64
_SEED = (20190822, 8453)


def predicted_scale(model: Any, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
    """The standard deviation of a model's noise at each pixel, at temperature 1.

    Signal and gain layers only scale a pixel, by s(y, ISO, camera). What lies behind the first flow
    step, on its latent side, makes of the latent z an image h(z) that no longer depends on the
    clean image y. So noise = s * h(z), and its standard deviation is

        scale = s(y, ISO, camera) * stddev(h(z))

    The first factor is exact. The second, one number a channel, is the standard deviation of h over
    a fixed set of latents, 16 draws of 64 x 64 pixels away from any border (0.3% of standard error
    for independent pixels); without flow steps it is exact, too. Within `model.reach` of the
    image's border, where the couplings see their padding, the noise may differ from it.

    Args:
        model: a `NoiseFlow` or a baseline.
        clean: `[B, H, W, 4]`, packed clean raw images in [0, 1].
        iso: the ISO level, one for all or `[B]`.
        camera: the camera's index or code, one for all or `[B]`.

    Returns:
        `[B, H, W, 4]` float32, in units of raw intensity.

    Raises:
        ValueError: a wrong shape, an unknown ISO or camera; an architecture with a flow step on the
            data side of its signal layer, where the noise of a pixel mixes the scales of others.

    >>> from noise_flow_tf import GaussianNoise
    >>> scale = predicted_scale(GaussianNoise(0.5), tf.zeros([1, 1, 1, 4]), 100, "S6")
    >>> scale.numpy().ravel().tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    steps = [
        i for i, x in enumerate(getattr(model, "layers", ())) if isinstance(x, layers.FlowStep)
    ]
    if not steps:
        clean = packed(clean)
        return model(clean, iso, camera).noise_of(tf.ones_like(clean))
    if not has_scale(model):
        raise ValueError(
            f"architecture {model.arch!r} has a flow step on the data side of its signal layer, "
            "so that a pixel's scale is not that of its own intensity; put the signal layer first"
        )
    conditions = Known.of(model).resolve(clean, iso, camera)
    outer, inner = model.layers[: steps[0]], model.layers[steps[0] :]
    scale = _chain(outer, conditions).forward(tf.ones_like(conditions.clean))
    return scale * _calibrated(inner, conditions, model.reach)


def has_scale(model: Any) -> bool:
    """Whether `predicted_scale` is defined for a model's architecture."""
    kinds = [type(layer) for layer in getattr(model, "layers", ())]
    signal = [i for i, x in enumerate(kinds) if x in (layers.SignalLayer, layers.PaperSignalLayer)]
    return not signal or layers.FlowStep not in kinds[: signal[0]]


def _chain(parts: list[layers.Layer], conditions: Conditions) -> tfb.Bijector:
    return tfb.Chain([b for layer in parts for b in layer.bijectors(conditions, False)])


def _calibrated(inner: list[layers.Layer], conditions: Conditions, reach: int) -> tf.Tensor:
    """The standard deviation `[1 or B, 1, 1, 4]` of what the inner layers make of the latent."""
    side = _SIDE + 2 * reach
    latent = tf.random.stateless_normal([_DRAWS, side, side, layers.CHANNELS], _SEED)

    def stddev(i):
        one = conditions.sliced((slice(i, i + 1),))
        noise = _chain(inner, one).forward(latent)[:, reach:-reach, reach:-reach]
        return tf.math.reduce_std(noise, axis=[0, 1, 2], keepdims=True)[0]

    if not any(isinstance(layer, layers.PaperGainLayer) for layer in inner):
        return stddev(0)[tf.newaxis]
    return tf.map_fn(
        stddev,
        tf.range(tf.shape(conditions.clean)[0]),
        fn_output_signature=tf.TensorSpec([1, 1, layers.CHANNELS]),
    )
