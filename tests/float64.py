"""The flow of the compiled core's operations in float64, as plain as can be.

Both cores are compared with it. TensorFlow derives its gradients; finite differences check those.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from noise_flow_tf.layers.flow_step import LOWER_PLACES, UPPER_PLACES
from noise_flow_tf.native.ops import OpCode

_EPSILON = np.float64(np.float32(1e-4))


class Case(NamedTuple):
    """A flow and a batch, all arrays float32.

    Attributes:
        ops: `[n, 2]`, code and width.
        parameters: of each operation, in the core's order.
        noise: `[B, H, W, 4]`.
        clean: `[B, H, W, 4]`.
    """

    ops: np.ndarray
    parameters: list[list[np.ndarray]]
    noise: np.ndarray
    clean: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        values = [np.ravel(p) for parameters in self.parameters for p in parameters]
        return np.concatenate([*values, np.zeros(0)]).astype(np.float32)


class Result(NamedTuple):
    """What float64 gives for a case; arrays.

    Attributes:
        latent: `[B, H, W, 4]`.
        log_prob: `[B]`, nats.
        moments: of the batch in training, as the core orders them.
        closest: the least distance of a hidden value from 0, where ReLU has no derivative.
        gradients: by the noise, the clean images and each parameter, of the sum of `latent` and
            `log_prob` times the given weights; None if no weights are given.
    """

    latent: np.ndarray
    log_prob: np.ndarray
    moments: np.ndarray
    closest: float
    gradients: list[np.ndarray] | None


def random_case(seed: int, codes: str, width: int, shape: tuple[int, int, int]) -> Case:
    """Draw a case; `codes` are letters of S, G, M and C, from the data side to the latent side.

    The noise is that of a standard normal latent, as if the model fitted it.
    """
    rng = np.random.default_rng(seed)
    kinds = [dict(zip("SGMC", OpCode, strict=True))[letter] for letter in codes]
    ops = [(code, width if code == OpCode.COUPLING else 0) for code in kinds]
    parameters = [_random_parameters(code, width, shape[0], rng) for code in kinds]
    latent, clean = rng.normal(size=(*shape, 4)), rng.uniform(-0.05, 1, (*shape, 4))
    case = Case(
        np.array(ops, np.int32).reshape(-1, 2),
        [[np.asarray(p, np.float32) for p in one] for one in parameters],
        np.zeros((*shape, 4), np.float32),
        clean.astype(np.float32),
    )
    return case._replace(noise=noise_of(case, latent).astype(np.float32))


def case_of(model, conditions, noise: np.ndarray) -> Case:
    """The case of a model for resolved conditions."""
    ops = model.ops(conditions, False)
    parameters = [[np.asarray(tf.convert_to_tensor(p)) for p in op.parameters] for op in ops]
    table = [
        (op.code, p[0].shape[-1] if op.averages else 0)
        for op, p in zip(ops, parameters, strict=True)
    ]
    clean = np.asarray(conditions.clean)
    return Case(np.array(table, np.int32).reshape(-1, 2), parameters, noise, clean)


def _random_parameters(code: OpCode, w: int, batch: int, rng: np.random.Generator) -> list:
    normal = rng.normal
    if code == OpCode.SIGNAL:
        return [np.exp(normal(-7, 0.5, batch)), np.exp(normal(-8, 0.5, batch))]
    if code == OpCode.GAIN:
        return [np.exp(normal(0, 0.5, batch))]
    if code == OpCode.MIX:
        permutation, signs = np.eye(4)[rng.permutation(4)], rng.choice([-1.0, 1.0], 4)
        return [permutation, signs, normal(0, 0.2, 4), normal(0, 0.4, 6), normal(0, 0.4, 6)]

    def layer(*kernel):
        averages = normal(0, 0.3, w), np.exp(normal(0, 0.5, w))
        return [normal(0, 0.6 / np.sqrt(kernel[2]), kernel), normal(0, 0.2, w), *averages]

    last = [normal(0, 0.2 / np.sqrt(w), (3, 3, w + 1, 4)), normal(0, 0.1, 4), normal(0, 0.1, 4)]
    return [*layer(3, 3, 2, w), *layer(1, 1, w, w), *last, normal(0, 0.3)]


def evaluate(case: Case, training: bool = False, weights: tuple | None = None) -> Result:
    """Compute a case; `weights` are those of the latent `[B, H, W, 4]` and of log_prob `[B]`."""
    noise, clean, *flat = inputs = _as_float64(case)
    parts, moments, closest = iter(flat), [], [np.inf]
    parameters = [[next(parts) for _ in one] for one in case.parameters]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        latent, log_prob = _passed(case, parameters, noise, clean, training, moments, closest)
        loss = 0.0
        if weights is not None:
            pairs = zip((latent, log_prob), weights, strict=True)
            loss = tf.add_n([tf.reduce_sum(value * np.float64(weight)) for value, weight in pairs])
    gradients = None
    if weights is not None:
        gradients = tape.gradient(loss, inputs, unconnected_gradients="zero")
        gradients = [g.numpy() for g in gradients]
    moments = np.concatenate([np.zeros(0), *moments])
    return Result(latent.numpy(), log_prob.numpy(), moments, min(closest), gradients)


def noise_of(case: Case, latent: np.ndarray) -> np.ndarray:
    """The noise of a latent."""
    _, clean, *flat = _as_float64(case)
    parts = iter(flat)
    parameters = [[next(parts) for _ in one] for one in case.parameters]
    x = tf.constant(latent, tf.float64)
    for (code, _), p in reversed(list(zip(case.ops, parameters, strict=True))):
        if code == OpCode.SIGNAL:
            x = x * tf.sqrt(_variance(p, clean))
        elif code == OpCode.GAIN:
            x = x * _each(p[0])
        elif code == OpCode.MIX:
            x = tf.einsum("bhwi,ij->bhwj", x, tf.linalg.inv(_matrix(p)))
        else:
            shift, log_scale = _network(x[..., :2], p, False, [], [])
            x = tf.concat([x[..., :2], (x[..., 2:] - shift) * tf.exp(-log_scale)], -1)
    return x.numpy()


def _as_float64(case: Case) -> list[tf.Tensor]:
    arrays = [case.noise, case.clean, *(p for one in case.parameters for p in one)]
    return [tf.constant(array, tf.float64) for array in arrays]


def _passed(case, parameters, noise, clean, training, moments, closest):
    x, pixels = noise, float(noise.shape[1] * noise.shape[2])
    log_det = tf.zeros(noise.shape[0], tf.float64)
    for (code, _), p in zip(case.ops, parameters, strict=True):
        if code == OpCode.SIGNAL:
            variance = _variance(p, clean)
            x = x / tf.sqrt(variance)
            log_det -= 0.5 * tf.reduce_sum(tf.math.log(variance), [1, 2, 3])
        elif code == OpCode.GAIN:
            x = x / _each(p[0])
            log_det -= 4 * pixels * tf.math.log(p[0])
        elif code == OpCode.MIX:
            x = tf.einsum("bhwi,ij->bhwj", x, _matrix(p))
            log_det += pixels * tf.reduce_sum(p[2])
        else:
            shift, log_scale = _network(x[..., :2], p, training, moments, closest)
            x = tf.concat([x[..., :2], x[..., 2:] * tf.exp(log_scale) + shift], -1)
            log_det += tf.reduce_sum(log_scale, [1, 2, 3])
    normal = -0.5 * (tf.reduce_sum(x * x, [1, 2, 3]) + 4 * pixels * np.log(2 * np.pi))
    return x, normal + log_det


def _each(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None, None]


def _variance(p, clean):
    return _each(p[0]) * tf.maximum(clean, tf.zeros([], tf.float64)) + _each(p[1])


def _matrix(p):
    permutation, signs, log_diagonal, lower, upper = p
    lower = tf.eye(4, dtype=tf.float64) + tf.scatter_nd(LOWER_PLACES, lower, [4, 4])
    diagonal = tf.linalg.diag(signs * tf.exp(log_diagonal))
    return permutation @ lower @ (diagonal + tf.scatter_nd(UPPER_PLACES, upper, [4, 4]))


def _network(first_half, p, training, moments, closest):
    *layers, kernel3, bias3, logs, rescaling = p
    h = first_half
    for kernel, bias, mean, variance in (layers[:4], layers[4:]):
        h = _convolve(h, kernel) + bias
        if training:
            mean, variance = tf.nn.moments(h, [0, 1, 2])
            moments += [mean.numpy(), variance.numpy()]
        h = (h - mean) * tf.math.rsqrt(variance + _EPSILON)
        closest.append(np.abs(h).min(initial=np.inf))
        h = tf.nn.relu(h)
    h = tf.pad(h, [[0, 0], [1, 1], [1, 1], [0, 0]])
    inside = tf.zeros_like(h[:, 1:-1, 1:-1, :1])
    border = tf.pad(inside, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
    h = _convolve(tf.concat([h, border], -1), kernel3, "VALID") + bias3
    h = h * tf.exp(3 * logs)
    return h[..., :2], rescaling * tf.tanh(h[..., 2:])


def _convolve(images, kernel, padding="SAME"):
    return tf.nn.conv2d(images, kernel, 1, padding)
