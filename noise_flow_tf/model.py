"""The Noise Flow model: conditions in, a distribution over noise out."""

import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf import architecture, layers
from noise_flow_tf.bijectors import OnePassBijector
from noise_flow_tf.conditions import CAMERAS, ISO_LEVELS, Conditioned, Conditions, ConditionSpace
from noise_flow_tf.distribution import NoiseDistribution
from noise_flow_tf.layers import Layer, Summaries, scale
from noise_flow_tf.native.ops import Op


class NoiseFlow(tf.Module, Conditioned):
    """p(noise | clean raw image, ISO, camera) as a conditional normalizing flow.

    Noise Flow: Noise Modeling with Conditional Normalizing Flows (Abdelhamed, Brubaker and Brown,
    ICCV 2019). The module owns the variables; calling it with conditions returns an ordinary
    distribution with batch shape `[B]` and event shape `[H, W, 4]`.

    >>> model = NoiseFlow(seed=0)
    >>> model.num_parameters
    2431
    >>> p = model(tf.fill([2, 8, 6, 4], 0.25), iso=[100, 800], camera="S6")
    >>> noise = p.sample(seed=1)
    >>> noise.shape.as_list(), p.log_prob(noise).shape.as_list()
    ([2, 8, 6, 4], [2])
    """

    arch: str
    width: int
    layers: list[Layer]

    def __init__(
        self,
        arch: str = "S-Ax4-G-Ax4-CAM",
        width: int = 4,
        seed: int | None = None,
        *,
        cameras: Sequence[str] = CAMERAS,
        iso_levels: Sequence[int] = ISO_LEVELS,
        iso_interpolation: bool = False,
        camera_levels: Sequence[Sequence[int]] = (),
    ) -> None:
        """Make a model with fresh variables.

        Args:
            arch: a name of the paper, or layer codes joined by `|` from the data side to the
                latent side; `architecture.table()` lists both.
            width: the number of hidden channels in the networks of the couplings.
            seed: fixes the initial values; None draws new ones each time.
            cameras: the codes of the supported cameras, in index order.
            iso_levels: the supported ISO levels.
            iso_interpolation: whether to accept an ISO between two levels; the logarithm of the
                learned gain is then linear in log ISO. It can be set later, too.
            camera_levels: the ISO levels of each camera, in index order, if not all cameras have
                all levels; the others are refused.

        Raises:
            ValueError: an unknown or abandoned layer code, a width below 1, a camera's code that is
                not two to eight capitals and digits, ISO levels that do not rise, or levels of a
                camera that are not among them.
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
            tuple(cameras),
            tuple(iso_levels),
            bool(iso_interpolation),
            tuple(map(tuple, camera_levels)),
        )
        rng = np.random.default_rng(seed)
        self.layers = layers.build(codes, self.width, rng, self.condition_space)

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> NoiseDistribution:
        """Return the distribution of the noise of a batch of images.

        Args:
            clean: `[B, H, W, 4]`, packed clean raw images in [0, 1], of any height and width, as
                `conditions.packed` accepts them.
            iso: the ISO level, one for all or `[B]`; with `iso_interpolation` also between levels.
            camera: the camera's index in `cameras` or code ("S6"), one for all or `[B]`.
            training: whether batch norm uses the moments of the batch; `NoiseDistribution.one_pass`
                then returns the new averages, for the training step to assign.

        Returns:
            A `tfp.distributions.TransformedDistribution` over noise `[B, H, W, 4]`: `log_prob`
            `[B]` in nats, `sample`, and `bijector`, whose forward direction maps the
            standard-normal latent to the noise.

        Raises:
            ValueError: a wrong shape or type, values that are not normalised raw intensities, an
                unknown ISO or camera (`conditions.ConditionSpace.resolve`).
        """
        return NoiseDistribution(self, self.condition_space.resolve(clean, iso, camera), training)

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        """Return the bijectors for a batch, from the data side to the latent side."""
        return [b for layer in self.layers for b in layer.bijectors(conditions, training)]

    def ops(self, conditions: Conditions, training: bool) -> list[Op] | None:
        """Return the operations for a batch, from the data side to the latent side.

        None if the compiled core has none for one of the layers.
        """
        ops: list[Op] = []
        for layer in self.layers:
            of_layer = layer.ops(conditions, training) if layer.has_ops else None
            if of_layer is None:
                return None
            ops += of_layer
        return ops

    @property
    def num_parameters(self) -> int:
        """Return the number of trainable scalars."""
        return sum(variable.shape.num_elements() for variable in self.trainable_variables)

    @property
    def receptive_field(self) -> int:
        """Return the distance, in packed pixels, within which pixels affect each other's noise."""
        return sum(layer.receptive_field for layer in self.layers)

    @property
    def camera_parameters(self) -> list[tf.Variable]:
        """Return the variables of one column per camera, `[..., cameras]`."""
        tables = [layer.camera_parameters for layer in self.layers]
        return [table for table in tables if table is not None]

    @property
    def iso_parameters(self) -> list[tuple[tf.Variable, int]]:
        """Return the variables of one value per ISO level, each with the axis of the levels."""
        return [table for layer in self.layers for table in layer.iso_parameters]

    def with_camera(self, code: str, iso_levels: Sequence[int] = ()) -> "NoiseFlow":
        """Copy the model with one more camera, the last one (Section 4.2 of the paper).

        All other parameters, and so the likelihoods of all other cameras, stay the same bit for
        bit. The new camera starts at the mean of the others' parameters (of the logarithms of their
        factors); `fit_camera` trains these alone.

        ISO levels that the model does not have are added for the new camera alone; the others
        refuse them. What depends on the ISO starts there at what `iso_interpolation` takes between
        levels; below and above the model's own levels it follows their straight line over log ISO.

        Args:
            iso_levels: all ISO levels of the new camera, of which the model may have some; it
                refuses the others. If none are given, it has those of the model.
            code: two to eight capitals and digits.

        Raises:
            ValueError: an architecture without camera parameters (`sdn5`, `sdn6`, `nlf` and `eq16`
                have them), a code that the model has already or that is not of that form, an ISO
                level that is not a positive whole number.

        >>> NoiseFlow(seed=0).with_camera("P9").cameras
        ('IP', 'GP', 'S6', 'N6', 'G4', 'P9')
        """
        tables = {id(table) for table in self.camera_parameters}
        if not tables:
            raise ValueError(
                f"architecture {self.arch!r} has no camera parameters, so no camera can be added; "
                "take one with camera factors, such as S-G-CAM"
            )
        if code in self.cameras:
            raise ValueError(f"the model has camera {code} already: {', '.join(self.cameras)}")
        own = {v.item() if isinstance(v, np.generic) else v for v in iso_levels}
        own = own or {*self.iso_levels}
        levels = tuple(sorted({*self.iso_levels, *own}))
        of_cameras = [*map(self.condition_space.levels_of, self.cameras), tuple(sorted(own))]
        space = replace(
            self.condition_space,
            cameras=(*self.cameras, code),
            iso_levels=levels,
            camera_levels=tuple(of_cameras),
        )
        model = NoiseFlow(self.arch, self.width, **vars(space))
        axes = {id(table): axis for table, axis in self.iso_parameters}
        for new, old in zip(model.variables, self.variables, strict=True):
            value = tf.convert_to_tensor(old)
            if levels != self.iso_levels and id(old) in axes:
                value = _at_levels(value.numpy(), axes[id(old)], self.iso_levels, levels)
            if id(old) in tables:
                value = tf.concat([value, tf.reduce_mean(value, axis=-1, keepdims=True)], axis=-1)
            new.assign(value)
        return model

    @property
    def has_scale(self) -> bool:
        """Return whether `predicted_scale` is defined for the architecture."""
        return scale.is_defined(self.layers)

    def predicted_scale(self, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
        """Return the standard deviation `[B, H, W, 4]` of the noise; see `nf.predicted_scale`."""
        return scale.predict(self.layers, self.condition_space.resolve(clean, iso, camera))

    def summaries(self) -> Summaries:
        """Return the learned scalars that people can interpret, by group and label.

        `beta1` and `beta2` after their exponentials, the gain of every ISO level, and the camera
        factors. In the release's `sdn5` and `sdn6` a camera factor multiplies the exponent
        (`SignalLayer`); the betas and gains shown are those for a factor of 1. If two layers have
        the same label in a group, as `sdn5|eq14` has gains in both, the later one's group names the
        layer by its place.
        """
        groups: Summaries = {}
        for place, layer in enumerate(self.layers, 1):
            for group, values in layer.summaries().items():
                if groups.get(group, {}).keys() & values.keys():
                    group = f"{group} of layer {place}"
                groups.setdefault(group, {}).update(values)
        return groups


def _at_levels(
    values: np.ndarray, axis: int, levels: Sequence[int], wanted: Sequence[int]
) -> np.ndarray:
    """Return the values at other ISO levels: unchanged at its own, linear in log ISO elsewhere."""
    rows = np.moveaxis(values, axis, 0)
    x = np.log(np.array(levels, float))
    flat = rows.reshape(len(levels), -1).astype(float)
    slope = np.zeros(flat.shape[1]) if len(levels) == 1 else np.polyfit(x, flat, 1)[0]
    new = []
    for level in wanted:
        if level in levels:
            new.append(rows[levels.index(level)])
            continue
        place = np.log(level)
        nearest = np.clip(place, x[0], x[-1])
        at_nearest = np.array([np.interp(nearest, x, column) for column in flat.T])
        new.append((at_nearest + slope * (place - nearest)).reshape(rows.shape[1:]))
    return np.moveaxis(np.stack(new).astype(values.dtype), 0, axis)
