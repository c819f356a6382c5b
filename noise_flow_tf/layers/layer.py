"""The base class of layers, and the helpers that they share."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.bijectors import OnePassBijector
from noise_flow_tf.conditions import Conditions, ConditionSpace

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


class Layer(tf.Module, abc.ABC):
    """A trainable part of the flow.

    A subclass must declare the first four attributes:

    Attributes:
        codes: the codes of `architecture.CODES` that it implements.
        pointwise: whether it multiplies each value by a positive factor that does not depend on
            the noise, and does nothing else.
        depends_on: which of "clean", "iso" and "camera" its bijectors depend on.
        receptive_field: the distance in pixels within which its bijectors mix them.
        gives_gain: whether it has a method `gamma`, the gain of each image for other layers.
        code: the one of `codes` that this layer was made for.
    """

    codes: ClassVar[tuple[str, ...]]
    pointwise: ClassVar[bool]
    depends_on: ClassVar[frozenset[str]]
    receptive_field: ClassVar[int]
    gives_gain: ClassVar[bool] = False
    code: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = [name for name in _DECLARED if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"layer {cls.__name__} must declare {', '.join(missing)}")
        CLASSES.update(dict.fromkeys(cls.codes, cls))

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "Layer":
        """Make the layer of one of `codes`."""
        return cls()

    @property
    def camera_parameters(self) -> tf.Variable | None:
        """Return the variable of one column per camera, `[..., cameras]`; None if there is none."""
        return None

    def connect(self, layers: Sequence["Layer"]) -> None:  # noqa: B027  (optional)
        """Receive all layers of the flow, from the data side to the latent side."""

    @abc.abstractmethod
    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        """Return the layer's bijectors for a batch, from the data side to the latent side."""

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
    variable: tf.Variable,
    conditions: Conditions | None = None,
    shape: Any = None,
) -> tfp.util.DeferredTensor:
    """Defer `value()`, a function of `variable` and others, to each use.

    Its shape is the batch shape of `conditions`, or else `shape`.
    """
    shape = shape if conditions is None else conditions.iso.shape
    return tfp.util.DeferredTensor(variable, lambda _: value(), shape=shape)
