"""The protocol of noise models, and their optional capabilities.

A noise model is called with conditions and returns a distribution over noise; training, evaluation
and sampling rely on nothing else. The functions here use an optional capability if there is one.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf
from tensorflow_probability import distributions as tfd

Batch = Mapping[str, tf.Tensor]
"""A batch of patches: `noise` and `clean` `[B, H, W, 4]`, `iso` and `camera` `[B]`, and perhaps
`nlf` `[B, 2]`, the noise level function (beta1, beta2) that each image's metadata states."""


class NoiseModel(Protocol):
    """A callable that returns the distribution of the noise of B images, given their conditions.

    `NoiseFlow` and the baselines are noise models. Optional attributes:

    - of the model: `condition_space`, the supported cameras and ISO levels; `receptive_field`, in
      packed pixels, None if whole images have to be sampled at once; `has_latent`, False if its
      distribution has none; `uses_nlf`, whether it must be called with `nlf` too;
      `predicted_scale(clean, iso, camera)`;
    - of the distribution: `is_mass`, True if `log_prob` is that of a probability and no density;
      `latent_and_log_prob(noise)` and `noise_of(latent)`, for models that
      transform a standard-normal latent of the image's shape.
    """

    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> tfd.Distribution:
        """Return the distribution, batch shape `[B]` and event shape `[H, W, 4]`."""


def distribution(model: NoiseModel, batch: Batch, training: bool = False) -> tfd.Distribution:
    """Return a model's distribution for the conditions of a batch."""
    extra = {"nlf": batch["nlf"]} if getattr(model, "uses_nlf", False) else {}
    if training:
        extra["training"] = True
    return model(batch["clean"], batch["iso"], batch["camera"], **extra)


def latent_and_log_prob(
    p: tfd.Distribution, noise: tf.Tensor
) -> tuple[tf.Tensor | None, tf.Tensor]:
    """Return the latent of noise `[B, H, W, 4]`, None if it has none, and `log_prob` `[B]`."""
    one_pass = getattr(p, "latent_and_log_prob", None)
    return (None, p.log_prob(noise)) if one_pass is None else one_pass(noise)


def sample(p: tfd.Distribution, seed: Any, temperature: Any = 1.0) -> tf.Tensor:
    """Draw noise `[B, H, W, 4]`.

    Args:
        p: a noise model's distribution.
        seed: `[2]`, stateless: the same seed draws the same noise.
        temperature: the standard deviation T of the latent, z ~ N(0, T^2).

    Raises:
        ValueError: a temperature other than 1 of a distribution without a latent.
    """
    noise_of = getattr(p, "noise_of", None)
    if noise_of is not None:
        shape = tf.concat([p.batch_shape_tensor(), p.event_shape_tensor()], axis=0)
        return noise_of(temperature * tf.random.stateless_normal(shape, seed))
    if tf.is_tensor(temperature) or temperature != 1:
        raise ValueError("this noise model has no latent, so its temperature must be 1")
    return p.sample(seed=seed)
