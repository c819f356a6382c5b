"""The compiled core as an operation of TensorFlow, with its gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import forwardprop_util, record

from noise_flow_tf.native import arrays
from noise_flow_tf.native.ops import Op

AVERAGE_UPDATE = 0.1
"""By which part of the difference to the batch's moments training moves batch norm's averages."""


def latent_and_log_prob(
    ops: Sequence[Op],
    noise: tf.Tensor,
    clean: tf.Tensor,
    training: bool,
    with_latent: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, list[tuple[tf.Variable, tf.Tensor]]]:
    """Return the latent, log_prob, and in training the new averages of batch norm.

    The gradient is the core's. That of the gradient is TensorFlow's of the ops' references, and in
    forward mode they compute everything.

    Args:
        ops: from the data side to the latent side.
        noise: `[B, H, W, 4]`, float32.
        clean: `[B, H, W, 4]`, float32.
        training: whether batch norm uses the moments of the batch.
        with_latent: whether the latent is needed; else it may be empty.
    """
    parameters = [tf.convert_to_tensor(p) for op in ops for p in op.parameters]
    table = _table(ops)
    if _in_forward_mode(noise, clean, *parameters):
        return _by_references(ops, noise)

    def run_gradient(flat: Any, noise: Any, clean: Any, latent: Any, *rest: Any) -> Any:
        by_latent, by_log_prob, saved = rest
        if not saved.size:
            latent, _, _, saved = arrays.forward(table, flat, noise, clean, training)
        return arrays.gradient(table, flat, clean, training, saved, latent, by_latent, by_log_prob)

    # Without a tape the values alone are computed, which takes a third of the time; a gradient that
    # is asked for all the same, through a graph, then computes them once more.
    keep = training or record.could_possibly_record()
    with_latent = with_latent or keep

    def run_values(flat: Any, noise: Any, clean: Any) -> arrays.Values:
        if keep:
            return arrays.forward(table, flat, noise, clean, training)
        values = arrays.latent_and_log_prob(table, flat, noise, clean, with_latent)
        nothing = np.zeros(0, np.float32)
        return arrays.Values(*values, nothing, nothing)

    outer_noise, outer_clean, outer_parameters = noise, clean, parameters

    @tf.custom_gradient
    def core(noise: tf.Tensor, clean: tf.Tensor, *parameters: tf.Tensor) -> Any:
        latent, log_prob, moments, saved = _call(run_values, 4, parameters, noise, clean)
        latent = tf.ensure_shape(latent, noise.shape if with_latent else [0])
        log_prob = tf.ensure_shape(log_prob, noise.shape[:1])

        def gradient(by_latent: tf.Tensor, by_log_prob: tf.Tensor, _: Any) -> Any:
            @tf.custom_gradient
            def slopes(
                by_latent: tf.Tensor, by_log_prob: tf.Tensor, noise: Any, clean: Any, *rest: Any
            ) -> Any:
                given = [noise, clean, latent, by_latent, by_log_prob, saved]
                by_noise, by_clean, by_flat = _call(run_gradient, 3, rest, *given)
                results = [
                    tf.ensure_shape(by_noise, noise.shape),
                    tf.ensure_shape(by_clean, clean.shape),
                    *_like(by_flat, rest),
                ]

                def gradient_of_gradient(*by_results: tf.Tensor) -> Any:
                    return _second_gradient(
                        ops, [outer_noise, outer_clean, *outer_parameters],
                        [by_latent, by_log_prob], by_results,
                    )  # fmt: skip

                return results, gradient_of_gradient

            by_latent = by_latent if with_latent else tf.zeros_like(noise)
            return slopes(by_latent, by_log_prob, noise, clean, *parameters)

        return (latent, log_prob, moments), gradient

    latent, log_prob, moments = core(noise, clean, *parameters)
    return latent, log_prob, _moved(ops, moments) if training else []


def noise_of(ops: Sequence[Op], latent: tf.Tensor, clean: tf.Tensor) -> tf.Tensor:
    """Return the noise of a latent `[B, H, W, 4]`; the gradient is that of the ops' references."""
    parameters = [tf.convert_to_tensor(p) for op in ops for p in op.parameters]
    table = _table(ops)
    outer = [latent, clean, *parameters]
    if _in_forward_mode(*outer):
        value = latent
        for op in reversed(ops):
            value = op.reference(*op.parameters).forward(value)
        return value

    def run(flat: Any, latent: Any, clean: Any) -> list[np.ndarray]:
        return [arrays.noise_of(table, flat, latent, clean)]

    @tf.custom_gradient
    def core(latent: tf.Tensor, clean: tf.Tensor, *parameters: tf.Tensor) -> Any:
        (noise,) = _call(run, 1, parameters, latent, clean)

        def gradient(by_noise: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(outer)
                value = outer[0]
                for op, p in reversed(_with_parameters(ops, outer[2:])):
                    value, _ = op.reference(*p).forward_and_log_det(value)
            return tape.gradient(value, outer, by_noise, tf.UnconnectedGradients.ZERO)

        return tf.ensure_shape(noise, latent.shape), gradient

    return core(latent, clean, *parameters)


def noise_array(ops: Sequence[Op], latent: tf.Tensor, clean: tf.Tensor) -> np.ndarray:
    """Return what `noise_of` does, in an eager call, as an array without a gradient."""
    parameters = [tf.convert_to_tensor(p) for op in ops for p in op.parameters]
    return arrays.noise_of(_table(ops), _vector(parameters), *map(_array, (latent, clean)))


def _in_forward_mode(*tensors: tf.Tensor) -> bool:
    """Return whether a `ForwardAccumulator` follows a tensor: the core would break its chain."""
    return bool(forwardprop_util.pack_tangents(tensors).tangents)


def _by_references(
    ops: Sequence[Op], noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, list[tuple[tf.Variable, tf.Tensor]]]:
    """Return what `latent_and_log_prob` does, computed by TensorFlow."""
    value, log_det, moved = noise, 0.0, []
    for op in ops:
        bijector = op.reference(*op.parameters)
        value, part, updates = bijector.moving_inverse_and_log_det(value)
        log_det += part
        moved += updates
    normal = -0.5 * (value * value + math.log(2 * math.pi))
    return value, log_det + tf.reduce_sum(normal, axis=[1, 2, 3]), moved


def _second_gradient(
    ops: Sequence[Op],
    inputs: list[tf.Tensor],
    by_values: list[tf.Tensor],
    by_slopes: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Return the gradient by `by_values` and `inputs`, given that by the gradient by `inputs`."""
    given = [*by_values, *inputs]
    with tf.GradientTape() as outer:
        outer.watch(given)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            value, log_det = inputs[0], 0.0
            for op, p in _with_parameters(ops, inputs[2:]):
                value, part = op.reference(*p).inverse_and_log_det(value)
                log_det += part
            log_prob = log_det - 0.5 * tf.reduce_sum(value * value, axis=[1, 2, 3])
        slopes = inner.gradient([value, log_prob], inputs, by_values, tf.UnconnectedGradients.ZERO)
    return outer.gradient(slopes, given, list(by_slopes), tf.UnconnectedGradients.ZERO)


def _with_parameters(
    ops: Sequence[Op], parameters: Sequence[tf.Tensor]
) -> list[tuple[Op, Sequence[tf.Tensor]]]:
    pairs, at = [], 0
    for op in ops:
        pairs.append((op, parameters[at : at + len(op.parameters)]))
        at += len(op.parameters)
    return pairs


def _moved(ops: Sequence[Op], moments: tf.Tensor) -> list[tuple[tf.Variable, tf.Tensor]]:
    averages = [average for op in ops for average in op.averages]
    if not averages:
        return []
    old = tf.concat([tf.convert_to_tensor(average) for average in averages], axis=0)
    new = old - AVERAGE_UPDATE * (old - moments)
    return list(zip(averages, _like(new, averages), strict=True))


def _table(ops: Sequence[Op]) -> np.ndarray:
    """Return code and width of each op."""
    widths = [op.parameters[0].shape[-1] if op.averages else 0 for op in ops]
    return np.array([(op.code, w) for op, w in zip(ops, widths, strict=True)], np.int32).reshape(
        -1, 2
    )


def _like(flat: tf.Tensor, tensors: Sequence[Any]) -> list[tf.Tensor]:
    """Divide a vector into tensors of the shapes of others."""
    if not tensors:
        return []
    shapes = [t.shape if t.shape.is_fully_defined() else tf.shape(t) for t in tensors]
    sizes = [t.shape.num_elements() or tf.size(t) for t in tensors]
    parts = zip(tf.split(flat, sizes), shapes, tensors, strict=True)
    return [tf.ensure_shape(tf.reshape(part, shape), t.shape) for part, shape, t in parts]


def _call(
    function: Callable, results: int, parameters: Sequence[tf.Tensor], *inputs: tf.Tensor
) -> list[tf.Tensor]:
    """Call a function of NumPy arrays, the first of them all parameters in one vector.

    It is called now, or when the graph runs; then TensorFlow makes the vector, because each array
    that enters Python or leaves it takes as long as several operations.
    """
    if tf.executing_eagerly():
        values = function(_vector(parameters), *map(_array, inputs))
        return [tf.convert_to_tensor(value) for value in values]
    flat = [tf.reshape(p, [-1]) for p in parameters]
    inputs = (tf.concat(flat, axis=0) if flat else tf.zeros([0]), *inputs)
    outputs = tf.numpy_function(
        lambda *values: list(function(*values)), inputs, [tf.float32] * results, stateful=False
    )
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _vector(parameters: Sequence[tf.Tensor]) -> np.ndarray:
    """Return all parameters in one vector, of eager tensors."""
    flat = [np.ravel(_array(p)) for p in parameters]
    return np.concatenate(flat) if flat else np.zeros(0, np.float32)


def _array(tensor: tf.Tensor) -> np.ndarray:
    """Return an eager tensor as a read-only array, without a copy."""
    return np.asarray(memoryview(tensor))
