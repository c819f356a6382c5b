"""The Noise Flow model: conditions in, a distribution over noise out."""

import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf import architecture, layers
from noise_flow_tf.bijectors import OnePassBijector
from noise_flow_tf.conditions import CAMERAS, ISO_LEVELS, Conditions, Known
from noise_flow_tf.distribution import NoiseDistribution


class NoiseFlow(tf.Module):
    """p(noise | clean raw image, ISO, camera) as a conditional normalizing flow.

    Noise Flow: Noise Modeling with Conditional Normalizing Flows (Abdelhamed, Brubaker and Brown,
    ICCV 2019). The module holds the variables; calling it with conditions gives an ordinary
    distribution with batch shape `[B]` and event shape `[H, W, 4]`.

    >>> model = NoiseFlow(seed=0)
    >>> model.num_parameters
    2431
    >>> p = model(tf.fill([2, 8, 6, 4], 0.25), iso=[100, 800], camera="S6")
    >>> noise = p.sample(seed=1)
    >>> noise.shape.as_list(), p.log_prob(noise).shape.as_list()
    ([2, 8, 6, 4], [2])
    """

    def __init__(
        self,
        arch: str = "S-Ax4-G-Ax4-CAM",
        width: int = 4,
        seed: int | None = None,
        *,
        cameras: Sequence[str] = CAMERAS,
        iso_levels: Sequence[int] = ISO_LEVELS,
        iso_interpolation: bool = False,
    ):
        """Makes a model with fresh variables.

        Args:
            arch: a name of the paper, or layer codes joined by `|` from the data side to the
                latent side; `architecture.table()` lists both.
            width: the number of hidden channels in the networks of the couplings.
            seed: fixes the initial values; None draws new ones each time.
            cameras: the codes of the cameras that have parameters of their own, in index order.
            iso_levels: the ISO levels that the model has a gain for.
            iso_interpolation: whether the model may be called with an ISO between two levels; the
                logarithm of the learned gain is then linear in log ISO. Off, it is an error. Can be
                set later, too.

        Raises:
            ValueError: an unknown or abandoned layer code, a width below 1, a camera's code that is
                not two or more capitals and digits, ISO levels that do not rise.
        """
        super().__init__(name="noise_flow")
        if not isinstance(arch, str):
            raise ValueError(f"arch must be a string; got {arch!r}")
        if not (isinstance(width, numbers.Integral) and width >= 1):
            raise ValueError(f"width must be a whole number of at least 1; got {width!r}")
        codes = architecture.parse(arch)
        self.arch = "|".join(codes)
        self.width = int(width)
        self.known = Known(tuple(cameras), tuple(iso_levels), bool(iso_interpolation))
        rng = np.random.default_rng(seed)
        self.layers = layers.build(codes, self.width, rng, self.known)

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> NoiseDistribution:
        """The distribution of the noise of a batch of images.

        Args:
            clean: `[B, H, W, 4]`, packed clean raw images in [0, 1], of any height and width;
                `conditions.packed` says what is refused.
            iso: the ISO level, one for all or `[B]`; with `iso_interpolation` also between levels.
            camera: the camera's index in `cameras` or code ("S6"), one for all or `[B]`.
            training: whether batch norm uses the moments of the batch; its averages are then in
                what `NoiseDistribution.one_pass` gives, and whoever trains assigns them.

        Returns:
            A `tfp.distributions.TransformedDistribution` over noise `[B, H, W, 4]`: `log_prob`
            `[B]` in nats, `sample`, and `bijector`, whose forward direction leads from the
            standard-normal latent to the noise.

        Raises:
            ValueError: a wrong shape or type, values that are no normalised raw intensities, an
                unknown ISO or camera (`conditions.Known.resolve`).
        """
        return NoiseDistribution(self, self.known.resolve(clean, iso, camera), training)

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        """The bijectors for a batch, from the data side to the latent side."""
        return [b for layer in self.layers for b in layer.bijectors(conditions, training)]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The codes of the cameras that the model knows, in index order."""
        return self.known.cameras

    @property
    def iso_levels(self) -> tuple[int, ...]:
        """The ISO levels that the model has a gain for."""
        return self.known.iso_levels

    @property
    def iso_interpolation(self) -> bool:
        """Whether the model may be called with an ISO between two levels."""
        return self.known.iso_interpolation

    @iso_interpolation.setter
    def iso_interpolation(self, allowed: bool) -> None:
        self.known = replace(self.known, iso_interpolation=bool(allowed))

    @property
    def num_parameters(self) -> int:
        """How many trainable scalars the model has."""
        return sum(variable.shape.num_elements() for variable in self.trainable_variables)

    @property
    def reach(self) -> int:
        """How many packed pixels away the noise of a pixel still depends on its surroundings."""
        return sum(layer.reach for layer in self.layers)

    def curves(self) -> dict[str, tf.Tensor]:
        """The scalars that tell a person what the model has learned, by name.

        `beta/beta1` and `beta/beta2` after their exponentials, the gain of every ISO level, and the
        camera factors. In the release's `sdn5` and `sdn6` a camera factor multiplies the exponent
        (`SignalLayer`); the betas and gains shown are those for a factor of 1.
        """
        return {name: value for layer in self.layers for name, value in layer.curves().items()}
