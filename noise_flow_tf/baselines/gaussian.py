"""The Gaussian baseline of the paper."""

from typing import Any, NamedTuple

import tensorflow as tf

from noise_flow_tf.baselines.baseline import Baseline
from noise_flow_tf.bijectors import Gain, OnePassBijector
from noise_flow_tf.conditions import packed
from noise_flow_tf.distribution import NoiseDistribution


class GaussianNoise(Baseline):
    """White Gaussian noise of one standard deviation: n ~ N(0, stddev^2), Eq. 2 of the paper.

    >>> p = GaussianNoise(0.5)(tf.zeros([1, 2, 2, 4]), 100, "S6")
    >>> print(p.log_prob(tf.zeros([1, 2, 2, 4])).numpy().round(3))
    [-3.613]
    """

    def __init__(self, stddev: float) -> None:
        """Make the model; `stddev` in units of raw intensity, positive."""
        super().__init__(name="gaussian_noise")
        if not 0 < stddev < float("inf"):
            raise ValueError(f"stddev must be positive and finite; got {stddev}")
        self.stddev = tf.constant(stddev, tf.float32)

    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> NoiseDistribution:
        """Return the distribution, batch `[B]`, event `[H, W, 4]`, for any ISO and camera."""
        return NoiseDistribution(self, _CleanImage(packed(clean)))

    def bijectors(self, conditions: Any, training: bool) -> list[OnePassBijector]:
        return [Gain(self.stddev)]


class _CleanImage(NamedTuple):
    clean: tf.Tensor
