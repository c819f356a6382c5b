"""The baseline of the paper that a camera's own metadata give."""

from typing import Any, NamedTuple

import tensorflow as tf

from noise_flow_tf.bijectors import SignalDependent
from noise_flow_tf.conditions import packed, per_example, slice_batch
from noise_flow_tf.distribution import NoiseDistribution


class CameraNLF(tf.Module):
    """The noise level function of a camera: n ~ N(0, beta1 * clean + beta2), Eq. 5 and 6.

    >>> p = CameraNLF(beta1=0.5, beta2=0.0)(tf.fill([1, 2, 2, 4], 0.5), 100, "S6")
    >>> print(p.log_prob(tf.zeros([1, 2, 2, 4])).numpy().round(3))
    [-3.613]
    """

    def __init__(self, beta1: Any, beta2: Any):
        """Makes the model.

        Args:
            beta1: the shot-noise slope, not negative; one for all images or `[B]`.
            beta2: the variance at zero intensity, positive; one for all images or `[B]`.
        """
        super().__init__(name="camera_nlf")
        self.beta1 = tf.convert_to_tensor(beta1, tf.float32)
        self.beta2 = tf.convert_to_tensor(beta2, tf.float32)

    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> NoiseDistribution:
        """The distribution of the noise, batch `[B]`, event `[H, W, 4]`, for any ISO and camera."""
        clean = packed(clean)
        batch = clean.shape[0] if clean.shape[0] is not None else tf.shape(clean)[0]
        betas = (
            per_example(b, batch, n) for n, b in (("beta1", self.beta1), ("beta2", self.beta2))
        )
        return NoiseDistribution(self, _WithNLF(clean, *betas))

    def bijectors(self, conditions, training):
        """The scale that the noise level function gives each pixel."""
        return [SignalDependent(*conditions)]


class _WithNLF(NamedTuple):
    clean: tf.Tensor
    beta1: tf.Tensor
    beta2: tf.Tensor

    def sliced(self, slices):
        betas = (slice_batch(beta, slices) for beta in self[1:])
        return _WithNLF(slice_batch(self.clean, slices, event_ndims=3), *betas)
