"""The base class of the baselines."""

import abc
from typing import Any

import tensorflow as tf

from noise_flow_tf.bijectors import OnePassBijector
from noise_flow_tf.conditions import packed
from noise_flow_tf.distribution import NoiseDistribution


class Baseline(tf.Module, abc.ABC):
    """A noise model that multiplies a standard-normal latent by one factor per pixel."""

    @abc.abstractmethod
    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> NoiseDistribution:
        """Return the distribution of the noise, batch `[B]`, event `[H, W, 4]`."""

    @abc.abstractmethod
    def bijectors(self, conditions: Any, training: bool) -> list[OnePassBijector]:
        """Return the bijectors for a batch, from the data side to the latent side."""

    def ops(self, conditions: Any, training: bool) -> None:
        """Return None: one factor per pixel needs no compiled core."""

    def predicted_scale(self, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
        """Return the standard deviation `[B, H, W, 4]` of the noise; see `nf.predicted_scale`."""
        clean = packed(clean)
        return self(clean, iso, camera).noise_of(tf.ones_like(clean))
