"""The standard deviation of each pixel's noise, from the layers of a flow."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.conditions import Conditions, slice_batch
from noise_flow_tf.layers.layer import CHANNELS, Layer

_LATENTS = 16
_SIDE = 64
_SEED = (20190822, 8453)


def is_defined(layers: Sequence[Layer]) -> bool:
    """Return whether a pixel's scale depends on no other pixel's intensity."""
    return not any("clean" in layer.depends_on for layer in _split(layers)[1])


def predict(layers: Sequence[Layer], conditions: Conditions) -> tf.Tensor:
    """Return the standard deviation `[B, H, W, 4]` of the noise; see `nf.predicted_scale`.

    Raises:
        ValueError: the scale is not defined.
    """
    if not is_defined(layers):
        codes = "|".join(layer.code for layer in layers)
        raise ValueError(
            f"architecture {codes!r} has a flow step on the data side of its signal layer, so that "
            "a pixel's scale does not follow from its own intensity; put the signal layer first"
        )
    outer, inner = _split(layers)
    scale = _chain(outer, conditions).forward(tf.ones_like(conditions.clean))
    return scale * _stddev(inner, conditions) if inner else scale


def _split(layers: Sequence[Layer]) -> tuple[Sequence[Layer], Sequence[Layer]]:
    """Split off the layers on the data side that only scale a pixel."""
    first = next((i for i, layer in enumerate(layers) if not layer.pointwise), len(layers))
    return layers[:first], layers[first:]


def _chain(layers: Sequence[Layer], conditions: Conditions) -> tfp.bijectors.Bijector:
    return tfp.bijectors.Chain([b for layer in layers for b in layer.bijectors(conditions, False)])


def _stddev(inner: Sequence[Layer], conditions: Conditions) -> tf.Tensor:
    """Measure the standard deviation `[1 or B, 1, 1, 4]` of the output of the inner layers."""
    margin = sum(layer.receptive_field for layer in inner)
    side = _SIDE + 2 * margin
    latent = tf.random.stateless_normal([_LATENTS, side, side, CHANNELS], _SEED)

    def stddev(image: Conditions) -> tf.Tensor:
        noise = _chain(inner, image).forward(latent)
        inside = noise[:, margin : side - margin, margin : side - margin]
        return tf.math.reduce_std(inside, axis=[0, 1, 2], keepdims=True)[0]

    if not any(layer.depends_on for layer in inner):
        return stddev(_any_image())[tf.newaxis]
    return tf.map_fn(
        lambda i: stddev(slice_batch(conditions, (slice(i, i + 1),))),
        tf.range(tf.shape(conditions.clean)[0]),
        fn_output_signature=tf.TensorSpec([1, 1, CHANNELS]),
    )


def _any_image() -> Conditions:
    """Return the conditions of one image, for layers that depend on none: a batch may be empty."""
    number, index = tf.ones([1]), tf.zeros([1], tf.int32)
    return Conditions(tf.zeros([1, 1, 1, CHANNELS]), number, index, index, index, tf.zeros([1]))
