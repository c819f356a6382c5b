"""The signatures of SavedModels, for any batch and image size.

Of a noise model:

- `sample(clean, iso, camera, temperature, seed)` gives `noise` `[B, H, W, 4]`;
- `log_prob(noise, clean, iso, camera)` gives `log_prob` `[B]` in nats;
- `scale(clean, iso, camera)` gives `scale` `[B, H, W, 4]`, the standard deviation of the noise
  (`predicted_scale`, which also says which architectures have none);
- `conditions()` gives the tables: `cameras`, the codes in index order, `iso_levels`,
  `iso_interpolation`, whether ISO between two levels of a camera is allowed, and `supported`
  `[cameras, levels]`, which camera has which level.

`iso` (the level itself) and `camera` (the index) are int32 `[B]`, or `[1]` for all. An unknown ISO
or camera, or an ISO that the camera does not have, is an `InvalidArgumentError`.

Of a denoiser: `denoise(noisy)` takes packed noisy raw images `[B, H, W, 4]` in [0, 1] and gives
`denoised` of the same shape, clipped to [0, 1].
"""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from noise_flow_tf.sampling.images import sample_noise

Tensors = dict[str, Tensor]


def noise_model(model: Any) -> "_Export":
    """Return a `NoiseFlow` with its signatures; `scale` is one if the model defines it."""
    return (_ExportWithScale if model.has_scale else _Export)(model)


def _image(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, None, None, 4], tf.float32, name)


_CONDITIONS = [
    _image("clean"),
    tf.TensorSpec([None], tf.int32, "iso"),
    tf.TensorSpec([None], tf.int32, "camera"),
]
_LATENT = [tf.TensorSpec([], tf.float32, "temperature"), tf.TensorSpec([], tf.int32, "seed")]


class _Export(tf.Module):
    """The model with the functions that become signatures.

    With an `input_signature` each is traced once; without one, saving would trace it again.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.noise_model = model

    @tf.function(input_signature=[*_CONDITIONS, *_LATENT], autograph=False)
    def sample(
        self, clean: Tensor, iso: Tensor, camera: Tensor, temperature: Tensor, seed: Tensor
    ) -> Tensors:
        allowed = (temperature >= 0) & (temperature < np.inf)
        message = "temperature must be finite and not negative; got"
        with tf.control_dependencies([tf.debugging.Assert(allowed, [message, temperature])]):
            noise = sample_noise(self.noise_model, clean, iso, camera, seed, temperature)
        return {"noise": noise}

    @tf.function(input_signature=[_image("noise"), *_CONDITIONS], autograph=False)
    def log_prob(self, noise: Tensor, clean: Tensor, iso: Tensor, camera: Tensor) -> Tensors:
        return {"log_prob": self.noise_model(clean, iso, camera).log_prob(noise)}

    @tf.function(input_signature=[], autograph=False)
    def conditions(self) -> Tensors:
        space = self.noise_model.condition_space
        return {
            "cameras": tf.constant(space.cameras),
            "iso_levels": tf.constant(space.iso_levels, tf.int32),
            "iso_interpolation": tf.constant(space.iso_interpolation),
            "supported": tf.constant(
                [[iso in space.levels_of(c) for iso in space.iso_levels] for c in space.cameras]
            ),
        }

    def signatures(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("sample", "log_prob", "conditions")}


class _ExportWithScale(_Export):
    @tf.function(input_signature=_CONDITIONS, autograph=False)
    def scale(self, clean: Tensor, iso: Tensor, camera: Tensor) -> Tensors:
        return {"scale": self.noise_model.predicted_scale(clean, iso, camera)}

    def signatures(self) -> dict[str, Any]:
        return super().signatures() | {"scale": self.scale}


class Denoiser(tf.Module):
    """A `DnCNN` with its signature."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @tf.function(input_signature=[_image("noisy")], autograph=False)
    def denoise(self, noisy: Tensor) -> Tensors:
        return {"denoised": tf.clip_by_value(self.network(noisy), 0.0, 1.0)}

    def signatures(self) -> dict[str, Any]:
        return {"denoise": self.denoise}
