"""The probability of a level: shot noise of photoelectrons, Gaussian read noise, quantisation."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

_LEFT_OUT = 1e-12
"""What a sum leaves out on either side of its start, in parts of the sum, is below this."""


def log_mass(level: Any, clean: Any, gain: Any, sigma: Any, steps: Any) -> tf.Tensor:
    """Return the logarithm of the probability of a level, in nats, summed over photoelectrons.

    The raw value is the nearest of the levels k / steps, k = 0 to steps, to gain N + r, with N a
    Poisson number of mean clean / gain and r normal of standard deviation sigma:

        P(k) = sum over n of Poisson(n; clean / gain)
               * (Phi(((k + 1/2) / steps - gain n) / sigma)
                  - Phi(((k - 1/2) / steps - gain n) / sigma))

    The outer bounds of the levels 0 and `steps` are infinite, so that they have all that is
    clipped, and the masses sum to 1.

    The terms are a product of two log-concave sequences, and so log-concave: their ratios
    t(n + 1) / t(n) fall as n rises. From a term t(n) whose ratio to the term before is r < 1, all
    further ones sum to at most t(n) r / (1 - r); the same holds downwards. Summation goes from near
    the largest term, both ways, until this bound is below 1e-12 of the sum, so that what is left
    out is below 2e-12 of the probability, for any level.

    Args:
        level: `[...]`, whole numbers.
        clean: `[...]`, the clean intensity; below 0 it counts as 0.
        gain: the intensity of one photoelectron, positive.
        sigma: the standard deviation of read noise, in raw intensity, positive.
        steps: the number of steps between the intensities 0 and 1.

    Returns:
        `[...]`, float64; NaN where an argument is.
    """
    # tf.cast alone would round numbers of Python to float32.
    arguments = (level, clean, gain, sigma, steps)
    tensors = (tf.convert_to_tensor(x, dtype_hint=tf.float64) for x in arguments)
    return _log_mass(*(tf.cast(x, tf.float64) for x in tensors))


@tf.function(reduce_retracing=True, autograph=False)
def _log_mass(
    level: tf.Tensor, clean: tf.Tensor, gain: tf.Tensor, sigma: tf.Tensor, steps: tf.Tensor
) -> tf.Tensor:
    mean = tf.maximum(clean, 1e-12) / gain
    # A Gaussian's estimate of the photoelectrons is near the largest term, where sums start.
    read = tf.square(sigma / gain)
    at = tf.where(level <= 0, tf.minimum(gain * mean, 0.5 / steps), level / steps)
    at = tf.where(level >= steps, tf.maximum(gain * mean, 1 - 0.5 / steps), at)
    start = tf.maximum(tf.round(mean * (read + at / gain) / (read + mean)), 0.0)
    low = tf.where(level <= 0, np.float64(-np.inf), (level - 0.5) / steps)
    high = tf.where(level >= steps, np.float64(np.inf), (level + 0.5) / steps)
    log_mean = tf.math.log(mean)

    def of_interval(n: tf.Tensor) -> tf.Tensor:
        return log_interval((low - gain * n) / sigma, (high - gain * n) / sigma)

    log_poisson = start * log_mean - mean - tf.math.lgamma(start + 1)
    first = log_poisson + of_interval(start)

    def both_ways(total: tf.Tensor, up: bool) -> tf.Tensor:
        def body(
            n: tf.Tensor, log_poisson: tf.Tensor, last: tf.Tensor, total: tf.Tensor, _: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            if up:
                n, log_poisson = n + 1, log_poisson + log_mean - tf.math.log(n + 1)
            else:
                log_poisson = log_poisson + tf.math.log(tf.maximum(n, 1e-300)) - log_mean
                n = n - 1
            there = n >= 0
            term = tf.where(there, log_poisson + of_interval(tf.maximum(n, 0.0)), -np.inf)
            total = _log_sum(total, term)
            log_ratio = term - last
            rest = term + log_ratio - tf.math.log(-tf.math.expm1(tf.minimum(log_ratio, -1e-12)))
            # False for NaN, so that it ends.
            more = there & ((log_ratio >= 0) | (rest > total + math.log(_LEFT_OUT)))
            return n, log_poisson, term, total, more

        more = tf.ones_like(total, tf.bool)
        state = start, log_poisson, first, total, more
        *_, total, _ = tf.while_loop(lambda *now: tf.reduce_any(now[-1]), body, state)
        return total

    return both_ways(both_ways(first, up=True), up=False)


def log_interval(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Return log(Phi(high) - Phi(low)) for low < high, of which one may be infinite."""
    flip = low + high < 0
    low, high = tf.where(flip, -high, low), tf.where(flip, -low, high)
    # Now low + high >= 0, and the upper tails are the small ones.
    inside = low < 0
    root = math.sqrt(0.5)
    # erf of TensorFlow is NaN at infinity, and 1 from 9 on.
    straddling = 0.5 * (tf.math.erf(root * tf.minimum(high, 50.0)) - tf.math.erf(root * low))
    near = tf.where(inside, tf.zeros_like(low), low)
    far = tf.maximum(tf.where(tf.math.is_inf(high), near + 1e3, high), near)
    ratio = tf.exp(0.5 * (near - far) * (near + far))
    tails = tfp.math.erfcx(root * near) - ratio * tfp.math.erfcx(root * far)
    outside = -0.5 * tf.square(near) + tf.math.log(0.5 * tails)
    return tf.where(inside, tf.math.log(tf.where(inside, straddling, 1.0)), outside)


def _log_sum(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return log(exp(a) + exp(b)) for an `a` that is finite."""
    return tf.maximum(a, b) + tf.math.log1p(tf.exp(-tf.abs(a - b)))
