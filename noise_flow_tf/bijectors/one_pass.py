"""The base class of the bijectors of Noise Flow."""

import abc
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

Updates = Sequence[tuple[tf.Variable, tf.Tensor]]
"""Pairs (variable, new value) that a pass requests, such as batch norm's averages in training."""


class NoCache:
    """Replaces TFP's cache of a bijector's values: each value is computed anew.

    TFP's cache recognizes a tensor, but not that a weight has changed since, and threads cannot
    share it.
    """

    def __get__(self, bijector: Any, _: type | None = None) -> Any:
        return self if bijector is None else _Uncached(bijector)


class _Uncached:
    def __init__(self, bijector: tfb.Bijector) -> None:
        self._bijector = bijector

    def forward(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        return self._bijector._forward(x, **kwargs)

    def inverse(self, y: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        return self._bijector._inverse(y, **kwargs)

    def forward_attributes(self, x: tf.Tensor, **kwargs: Any) -> dict:
        return {}

    def inverse_attributes(self, y: tf.Tensor, **kwargs: Any) -> dict:
        return {}


class OnePassBijector(tfb.Bijector):
    """A bijector of images `[..., H, W, C]` that computes value and log-det-Jacobian together.

    A subclass defines `forward_and_log_det` and `inverse_and_log_det`; TFP's separate methods
    follow from them. Both are pure functions of the image and the parameters, which are read at
    each use: if a parameter is a `tf.Variable` or a `tfp.util.DeferredTensor`, the bijector follows
    its changes, and gradients reach it, whenever the bijector was made.
    """

    _cache = NoCache()

    def __init__(self, parameters: dict[str, Any], name: str, validate_args: bool = False) -> None:
        """Make the bijector; `parameters` are the subclass's arguments, as for `tfb.Bijector`."""
        super().__init__(
            forward_min_event_ndims=3,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @abc.abstractmethod
    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return forward(x) `[..., H, W, C]` and log |det d forward(x) / d x|, nats.

        The log-det-Jacobian has the batch shape, or one that broadcasts to it.
        """

    @abc.abstractmethod
    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return inverse(y) `[..., H, W, C]` and log |det d inverse(y) / d y|, nats.

        The log-det-Jacobian has the batch shape, or one that broadcasts to it.
        """

    def moving_inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Updates]:
        """Return `inverse_and_log_det` and the updates that the pass requests."""
        return *self.inverse_and_log_det(y), []

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward_and_log_det(as_float32(x, "x"))[0]

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return self.inverse_and_log_det(as_float32(y, "y"))[0]

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward_and_log_det(as_float32(x, "x"))[1]

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return self.inverse_and_log_det(as_float32(y, "y"))[1]


def as_float32(values: tf.Tensor, name: str) -> tf.Tensor:
    """Cast floating-point values to float32.

    Raises:
        TypeError: values of another type.
    """
    if values.dtype == tf.float32:
        return values
    if not values.dtype.is_floating:
        raise TypeError(
            f"{name} must be floating-point noise in units of raw intensity; got "
            f"{values.dtype.name}"
        )
    return tf.cast(values, tf.float32)


def per_image(parameter: tf.Tensor) -> tf.Tensor:
    """Reshape one value per image, `[...]`, to `[..., 1, 1, 1]`."""
    return parameter[..., tf.newaxis, tf.newaxis, tf.newaxis]
