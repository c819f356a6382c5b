"""The Noise Flow model: conditions in, a distribution over noise out."""

import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf import architecture, layers
from noise_flow_tf.bijectors import OnePassBijector
from noise_flow_tf.conditions import CAMERAS, ISO_LEVELS, Conditions, ConditionSpace
from noise_flow_tf.distribution import NoiseDistribution
from noise_flow_tf.layers import scale


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
        self.condition_space = ConditionSpace(
            tuple(cameras), tuple(iso_levels), bool(iso_interpolation)
        )
        rng = np.random.default_rng(seed)
        self.layers = layers.build(codes, self.width, rng, self.condition_space)

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
                unknown ISO or camera (`conditions.ConditionSpace.resolve`).
        """
        return NoiseDistribution(self, self.condition_space.resolve(clean, iso, camera), training)

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        """The bijectors for a batch, from the data side to the latent side."""
        return [b for layer in self.layers for b in layer.bijectors(conditions, training)]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The codes of the cameras that the model knows, in index order."""
        return self.condition_space.cameras

    @property
    def iso_levels(self) -> tuple[int, ...]:
        """The ISO levels that the model has a gain for."""
        return self.condition_space.iso_levels

    @property
    def iso_interpolation(self) -> bool:
        """Whether the model may be called with an ISO between two levels."""
        return self.condition_space.iso_interpolation

    @iso_interpolation.setter
    def iso_interpolation(self, allowed: bool) -> None:
        self.condition_space = replace(self.condition_space, iso_interpolation=bool(allowed))

    @property
    def num_parameters(self) -> int:
        """How many trainable scalars the model has."""
        return sum(variable.shape.num_elements() for variable in self.trainable_variables)

    @property
    def receptive_field(self) -> int:
        """How many packed pixels away the noise of a pixel still depends on its surroundings."""
        return sum(layer.receptive_field for layer in self.layers)

    @property
    def camera_parameters(self) -> list[tf.Variable]:
        """The variables of one column per camera, `[..., cameras]`."""
        tables = [layer.camera_parameters for layer in self.layers]
        return [table for table in tables if table is not None]

    def with_camera(self, code: str) -> "NoiseFlow":
        """Copy the model with one more camera, the last one (Section 4.2 of the paper).

        All other parameters, and so the likelihoods of all other cameras, stay the same bit for
        bit. The new camera begins at the mean of the others' parameters (of the logarithms of
        their factors); `fit_camera` trains these alone.

        Args:
            code: the new camera's, two or more capitals and digits.

        Raises:
            ValueError: an architecture without camera parameters (`sdn5`, `sdn6` and `eq16` have
                them), a code that is taken or not of that form.

        >>> NoiseFlow(seed=0).with_camera("P9").cameras
        ('IP', 'GP', 'S6', 'N6', 'G4', 'P9')
        """
        tables = {id(table) for table in self.camera_parameters}
        if not tables:
            raise ValueError(
                f"architecture {self.arch!r} has no parameters of a camera's own, so that a new "
                "one cannot be added; sdn5, sdn6 and eq16 have them"
            )
        if code in self.cameras:
            raise ValueError(f"the model has camera {code} already: {', '.join(self.cameras)}")
        space = replace(self.condition_space, cameras=(*self.cameras, code))
        model = NoiseFlow(self.arch, self.width, **vars(space))
        for ours, theirs in zip(model.variables, self.variables, strict=True):
            value = tf.convert_to_tensor(theirs)
            if id(theirs) in tables:
                value = tf.concat([value, tf.reduce_mean(value, axis=-1, keepdims=True)], axis=-1)
            ours.assign(value)
        return model

    @property
    def has_scale(self) -> bool:
        """Whether `predicted_scale` is defined for the architecture."""
        return scale.is_defined(self.layers)

    def predicted_scale(self, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
        """Return the standard deviation `[B, H, W, 4]` of the noise; see `nf.predicted_scale`."""
        return scale.of_layers(self.layers, self.condition_space.resolve(clean, iso, camera))

    def summaries(self) -> layers.Summaries:
        """Return the scalars that tell a person what the model has learned, by group and label.

        `beta1` and `beta2` after their exponentials, the gain of every ISO level, and the camera
        factors. In the release's `sdn5` and `sdn6` a camera factor multiplies the exponent
        (`SignalLayer`); the betas and gains shown are those for a factor of 1.
        """
        groups: layers.Summaries = {}
        for layer in self.layers:
            for group, values in layer.summaries().items():
                groups.setdefault(group, {}).update(values)
        return groups
