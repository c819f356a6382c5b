"""The base class of layers, and the helpers that they share."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.bijectors import OnePassBijector
from noise_flow_tf.conditions import Conditions, ConditionSpace
from noise_flow_tf.native.ops import Op

CHANNELS = 4

Summaries = dict[str, dict[str, tf.Tensor]]
"""Learned scalars, by group and label."""

_DECLARED = ("codes", "pointwise", "depends_on", "receptive_field")

CLASSES: dict[str, type["Layer"]] = {}
"""The classes of the layers by code."""


class BuildOptions(NamedTuple):
    """The options that a new layer may use; see `build`."""

    width: int
    rng: np.random.Generator
    space: ConditionSpace


class Layer(tf.Module):
    """A trainable part of the flow.

    A subclass must define `ops` or, if the compiled core has no such operation, `bijectors`, and
    declare the first four attributes:

    Attributes:
        codes: the codes of `architecture.CODES` that it implements.
        pointwise: whether it multiplies each value by a positive factor that does not depend on
            the noise, and does nothing else.
        depends_on: which of "clean", "iso" and "camera" its bijectors depend on.
        receptive_field: the distance in pixels within which its bijectors mix them.
        gives_gain: whether it has a method `gamma`, the gain of each image for other layers.
        has_ops: whether the compiled core may take `ops` for `bijectors`; set from what the class
            defines.
        code: the one of `codes` that this layer was made for.
    """

    codes: ClassVar[tuple[str, ...]]
    pointwise: ClassVar[bool]
    depends_on: ClassVar[frozenset[str]]
    receptive_field: ClassVar[int]
    gives_gain: ClassVar[bool] = False
    has_ops: ClassVar[bool] = False
    code: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = [name for name in _DECLARED if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"layer {cls.__name__} must declare {', '.join(missing)}")
        if vars(cls).keys() & {"ops", "bijectors"}:
            cls.has_ops = "ops" in vars(cls)  # inherited ones are not those of other bijectors
        if not cls.has_ops and cls.bijectors is Layer.bijectors:
            raise TypeError(f"layer {cls.__name__} must define ops, or else bijectors")
        CLASSES.update(dict.fromkeys(cls.codes, cls))

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "Layer":
        """Make the layer of one of `codes`."""
        return cls()

    @property
    def camera_parameters(self) -> tf.Variable | None:
        """Return the variable of one column per camera, `[..., cameras]`; None if there is none."""
        return None

    @property
    def iso_parameters(self) -> list[tuple[tf.Variable, int]]:
        """Return the variables of one value per ISO level, each with the axis of the levels.

        Values are linear in log ISO between levels, as `Conditions.at_iso` takes them.
        """
        return []

    def connect(self, layers: Sequence["Layer"]) -> None:  # noqa: B027  (optional)
        """Receive all layers of the flow, from the data side to the latent side."""

    def ops(self, conditions: Conditions, training: bool) -> list[Op] | None:
        """Return the layer's operations for a batch, from the data side to the latent side.

        None if the compiled core has none for it: TensorFlow then computes the whole flow.
        """
        return None

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        """Return the layer's bijectors for a batch, from the data side to the latent side."""
        ops = self.ops(conditions, training)
        if ops is None:
            raise TypeError(f"{type(self).__name__}.ops gave None; define bijectors, too")
        return [op.reference(*op.parameters) for op in ops]

    def summaries(self) -> Summaries:
        """Return the learned scalars that people can interpret."""
        return {}

    def at_camera(self, conditions: Conditions) -> tf.Tensor:
        """Return the camera parameters of each image, `[..., B]`."""
        return tf.gather(tf.convert_to_tensor(self.camera_parameters), conditions.camera, axis=-1)


def tag(group: str, label: str) -> str:
    """Return the tag of a summary in TensorBoard and its column in a history."""
    return f"{group}/{label}"


def tagged(summaries: Summaries) -> dict[str, tf.Tensor]:
    """Return summaries by their `tag`."""
    return {tag(g, label): value for g, row in summaries.items() for label, value in row.items()}


def live(
    value: Callable[[], tf.Tensor],
    variable: tf.Variable | tf.Tensor,
    conditions: Conditions | None = None,
    shape: Any = None,
) -> tfp.util.DeferredTensor:
    """Defer `value()`, a function of `variable` and others, to each use.

    Its shape is the batch shape of `conditions`, or else `shape`.
    """
    shape = shape if conditions is None else conditions.iso.shape
    return tfp.util.DeferredTensor(variable, lambda _: value(), shape=shape)
