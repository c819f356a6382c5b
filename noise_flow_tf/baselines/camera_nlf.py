"""The camera NLF baseline of the paper."""

from typing import Any, NamedTuple

import tensorflow as tf

from noise_flow_tf.baselines.baseline import Baseline
from noise_flow_tf.bijectors import OnePassBijector, SignalDependent
from noise_flow_tf.conditions import packed, per_example
from noise_flow_tf.distribution import NoiseDistribution


class CameraNLF(Baseline):
    """The noise level function of a camera: n ~ N(0, beta1 * clean + beta2), Eq. 5 and 6.

    Attributes:
        uses_nlf: whether each image has its own NLF, an argument `nlf` of each call.

    >>> p = CameraNLF(beta1=0.5, beta2=0.0)(tf.fill([1, 2, 2, 4], 0.5), 100, "S6")
    >>> print(p.log_prob(tf.zeros([1, 2, 2, 4])).numpy().round(3))
    [-3.613]
    """

    def __init__(self, beta1: Any = None, beta2: Any = None) -> None:
        """Make the model; without betas, it uses the NLF of each image's metadata.

        Args:
            beta1: the shot-noise slope, not negative; one for all images or `[B]`.
            beta2: the variance at zero intensity, positive; one for all images or `[B]`.

        Raises:
            ValueError: only one of the two.
        """
        super().__init__(name="camera_nlf")
        if (beta1 is None) != (beta2 is None):
            raise ValueError("pass both beta1 and beta2, or neither to use each image's own NLF")
        self.uses_nlf = beta1 is None
        if not self.uses_nlf:
            self.beta1 = tf.convert_to_tensor(beta1, tf.float32)
            self.beta2 = tf.convert_to_tensor(beta2, tf.float32)

    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False, nlf: Any = None
    ) -> NoiseDistribution:
        """Return the distribution of the noise, batch `[B]`, event `[H, W, 4]`.

        Args:
            clean: `[B, H, W, 4]`, packed clean raw images in [0, 1].
            iso: not used.
            camera: not used.
            training: not used.
            nlf: `[B, 2]`, (beta1, beta2) of each image, for a model that was made without betas.

        Raises:
            ValueError: `nlf` is missing, or the model has betas already.
        """
        if (nlf is not None) != self.uses_nlf:
            raise ValueError(
                "this CameraNLF uses the NLF of each image: call it with nlf=[[beta1, beta2], ..]"
                if self.uses_nlf
                else "this CameraNLF was made with beta1 and beta2; call it without nlf"
            )
        clean = packed(clean)
        batch = clean.shape[0] if clean.shape[0] is not None else tf.shape(clean)[0]
        if self.uses_nlf:
            nlf = tf.convert_to_tensor(nlf, tf.float32)
            betas = {"beta1": nlf[:, 0], "beta2": nlf[:, 1]}
        else:
            betas = {"beta1": self.beta1, "beta2": self.beta2}
        per_image = (per_example(beta, batch, name) for name, beta in betas.items())
        return NoiseDistribution(self, _WithNLF(clean, *per_image))

    def bijectors(self, conditions: Any, training: bool) -> list[OnePassBijector]:
        return [SignalDependent(*conditions)]


class _WithNLF(NamedTuple):
    clean: tf.Tensor
    beta1: tf.Tensor
    beta2: tf.Tensor
