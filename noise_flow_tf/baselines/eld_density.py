"""The density of ELD noise: mixtures of Gaussians for its pixels, and rows integrated out."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_FEWEST = 1e-6
"""Photoelectrons; below, there is as good as never one."""

LAMBDAS = (-0.4, 0.14)
"""The shapes of read noise: from heavy tails to as good as a Gaussian."""
_MIXTURES = np.array(
    [
        (0.5277, 0.3957, 0.0734, 0.0032, 0.2663, 0.6755, 2.0356, 12.1973),
        (0.4959, 0.4174, 0.0828, 0.0039, 0.3363, 0.7875, 2.1014, 9.0282),
        (0.4630, 0.4396, 0.0929, 0.0046, 0.3942, 0.8560, 2.0477, 6.8712),
        (0.4268, 0.4628, 0.1051, 0.0053, 0.4448, 0.8973, 1.9363, 5.2987),
        (0.3849, 0.4872, 0.1216, 0.0063, 0.4903, 0.9188, 1.7930, 4.0957),
        (0.3338, 0.5114, 0.1468, 0.0080, 0.5321, 0.9239, 1.6297, 3.1421),
        (0.2673, 0.5282, 0.1920, 0.0125, 0.5701, 0.9125, 1.4497, 2.3610),
        (0.1841, 0.5068, 0.2764, 0.0327, 0.6073, 0.8867, 1.2593, 1.7085),
        (0.0744, 0.4488, 0.4479, 0.0290, 0.6398, 0.8518, 1.1621, 1.1618),
        (0.0744, 0.4488, 0.4479, 0.0290, 1.0000, 1.0000, 1.0000, 1.0000),
    ]
)
"""Of Tukey-lambda distributions of variance 1, with shapes evenly from -0.4 to 0.14, the mixtures
of four zero-mean Gaussians of maximum likelihood: weights and standard deviations."""

_NEWTON_STEPS = 3
_NODES = np.linspace(-5, 5, 11)
"""Where a row's offset is integrated, in standard deviations around the likeliest."""


class Mixture(NamedTuple):
    """Eight Gaussians for each pixel.

    Attributes:
        log_weight: `[2, 4, ...]`, where the rest broadcasts to the pixels: logarithms of the
            weights, which sum to 1.
        mean: `[2, 1, ...]`, of the noise.
        scale: `[2, 4, ...]`, 1 / standard deviation.
        variance: `[...]`, of the mixture.
    """

    log_weight: tf.Tensor
    mean: tf.Tensor
    scale: tf.Tensor
    variance: tf.Tensor


def mixture(
    clean: tf.Tensor, gain: tf.Tensor, sigma: tf.Tensor, tukey_lambda: tf.Tensor, rest: tf.Tensor
) -> Mixture:
    """Return the mixture of shot noise, read noise and Gaussian noise of variance `rest`.

    Shot noise of m photoelectrons is two Gaussians with the first four moments of the Poisson
    distribution. In photoelectrons, they have the variance m - u and are at distances of mean
    square u from the mean, for the only u with 2 u^3 + m u = m^2. As m falls they become the
    distribution itself, none or one.
    """
    m = tf.maximum(clean / gain, _FEWEST)
    u = 2 * tf.sqrt(m / 6) * tf.sinh(tf.asinh(1.5 * tf.sqrt(6 * m)) / 3)
    skew = m / (u * tf.sqrt(u))
    root = tf.sqrt(tf.square(skew) + 4)
    many = 2 / (root * (root + skew))  # the weight of the upper Gaussian
    ratio = tf.sqrt(many / (1 - many))
    distance = gain * tf.sqrt(u)
    mean = tf.stack([-distance * ratio, distance / ratio])[:, tf.newaxis]
    log_shot = tf.stack([tf.math.log1p(-many), tf.math.log(many)])[:, tf.newaxis]
    log_read, log_stddev = _read_noise(tukey_lambda)
    spread = tf.square(gain) * 2 * u**3 / m + rest + tf.square(sigma * tf.exp(log_stddev))
    scale = tf.repeat(tf.math.rsqrt(spread)[tf.newaxis], 2, axis=0)
    return Mixture(log_shot + log_read, mean, scale, gain**2 * m + sigma**2 + rest)


def _read_noise(tukey_lambda: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return logarithms of weights and standard deviations `[4, ...]`, linear between shapes."""
    last = len(_MIXTURES) - 1
    place = (tukey_lambda - LAMBDAS[0]) * (last / (LAMBDAS[1] - LAMBDAS[0]))
    below = tf.clip_by_value(tf.floor(place), 0, last - 1)
    table = tf.constant(np.log(_MIXTURES), tf.float32)
    low, high = (tf.gather(table, tf.cast(below, tf.int32) + i) for i in (0, 1))
    logs = tf.stack(tf.unstack(low + (place - below)[..., tf.newaxis] * (high - low), axis=-1))
    return tf.nn.log_softmax(logs[:4], axis=0), logs[4:]


class Observed(NamedTuple):
    """What a value of the noise says.

    Attributes:
        noise: the value; at an end of the levels, the end's inner bound.
        end: -1 if the noise is below, 1 if it is above, and 0 if it is the value.
        log_scale: what is added to the logarithm for a density: log(steps) at ends; -inf where no
            level is.
    """

    noise: tf.Tensor
    end: tf.Tensor
    log_scale: tf.Tensor


def observed(noise: tf.Tensor, clean: tf.Tensor, steps: tf.Tensor) -> Observed:
    """Return what noise says if noise + clean are levels k / steps; for 0 steps, it is a value."""
    has_levels = steps > 0
    half = tf.where(has_levels, 0.5 / tf.maximum(steps, 1), 0.0)
    noisy = noise + clean
    below, above = has_levels & (noisy < half), has_levels & (noisy > 1 - half)
    outside = has_levels & ((noisy < -half) | (noisy > 1 + half))
    value = tf.where(below, half - clean, tf.where(above, 1 - half - clean, noise))
    end = tf.cast(above, tf.float32) - tf.cast(below, tf.float32)
    log_scale = tf.abs(end) * tf.math.log(tf.maximum(steps, 1))
    return Observed(value, end, tf.where(outside, -np.inf, log_scale))


def rounding_variance(steps: tf.Tensor) -> tf.Tensor:
    """Return the variance of rounding to levels, 0 without levels."""
    return tf.where(steps > 0, 1 / (12 * tf.square(tf.maximum(steps, 1))), 0.0)


def log_density(of: Mixture, seen: Observed, shift: Any = 0.0, ends: bool = True) -> tf.Tensor:
    """Return the log density of pixels, but for `log_scale`, whose noise has a `shift` more."""
    z = (seen.noise - shift - of.mean) * of.scale
    terms = tf.math.log(of.scale) - _HALF_LOG_TWO_PI - tf.square(z) / 2
    if ends:
        terms = tf.where(seen.end == 0, terms, _log_cdf(-seen.end * z))
    return tf.reduce_logsumexp(of.log_weight + terms, axis=[0, 1])


def _log_cdf(z: tf.Tensor) -> tf.Tensor:
    """Return log Phi(z) to a relative 1e-4 or so, for any z."""
    near = tf.math.log(0.5 * tf.math.erfc(-math.sqrt(0.5) * tf.maximum(z, -5.0)))
    far = tf.minimum(z, -5.0)
    series = 1 / tf.square(far)
    tail = tf.math.log1p(-series * (1 - series * (3 - 15 * series)))
    beyond = -tf.square(far) / 2 - tf.math.log(-far) - _HALF_LOG_TWO_PI + tail
    return tf.where(z > -5.0, near, beyond)


def log_prob_of_rows(of: Mixture, seen: Observed, row: tf.Tensor) -> tf.Tensor:
    """Return the log density of rows of pixels that share an offset, integrated over it.

    The integral is a sum over evenly spaced offsets around the likeliest, which Newton's method
    finds from that of Gaussian noise.

    Args:
        of: of pixels `[..., H, W, 2, 2]`: the last axes are the mosaic's two rows and two columns
            of a packed pixel.
        seen: likewise.
        row: the standard deviation of the offset.

    Returns:
        `[..., H, 2]`.
    """
    has_ends = tf.reduce_any(seen.end != 0)
    rows = tf.cond(
        has_ends, lambda: _rows(of, seen, row, True), lambda: _rows(of, seen, row, False)
    )
    return rows + tf.reduce_sum(seen.log_scale, axis=[-3, -1])


def _rows(of: Mixture, seen: Observed, row: tf.Tensor, ends: bool) -> tf.Tensor:
    def total(pixels: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(pixels, axis=[-3, -1], keepdims=True)

    def of_offset(offset: tf.Tensor) -> tf.Tensor:
        prior = -tf.square(offset / row) / 2 - tf.math.log(row) - _HALF_LOG_TWO_PI
        return total(log_density(of, seen, offset, ends)) + prior

    def at(nodes: np.ndarray, middle: tf.Tensor, width: tf.Tensor) -> list[tf.Tensor]:
        values = tf.map_fn(
            lambda node: of_offset(middle + node * width),
            tf.constant(nodes, tf.float32),
            fn_output_signature=tf.TensorSpec(None, tf.float32),
        )
        return tf.unstack(values, num=len(nodes))

    precision = 1 / tf.broadcast_to(of.variance, tf.shape(seen.noise))
    width = tf.math.rsqrt(total(precision) + 1 / tf.square(row))
    middle = total(seen.noise * precision) * tf.square(width)
    for _ in range(_NEWTON_STEPS):
        low, here, high = at(np.array([-1, 0, 1]), middle, width)
        bend = tf.clip_by_value(2 * here - low - high, 0.25, 4)
        middle += width * tf.clip_by_value((high - low) / (2 * bend), -3, 3)
        width = tf.minimum(width * tf.math.rsqrt(bend), row)
    values = tf.reduce_logsumexp(at(_NODES, middle, width), axis=0)
    return tf.squeeze(values + tf.math.log(width * (_NODES[1] - _NODES[0])), axis=[-3, -1])
