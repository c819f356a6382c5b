"""How well a noise model fits: likelihood and the histogram of the noise."""

import numpy as np
import tensorflow as tf

_HALF_RANGE = 0.1
_BINS = 64
KL_EDGES = np.concatenate([[-1000.0], np.linspace(-_HALF_RANGE, _HALF_RANGE, _BINS + 1), [1000.0]])
"""Edges of the marginal KL's histogram: 64 bins on [-0.1, 0.1] and an open one at each end."""


def nll_per_dimension(log_prob: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood in nats per dimension, `[B]`, of noise `[B, H, W, C]`."""
    return -log_prob / tf.cast(tf.reduce_prod(tf.shape(noise)[1:]), log_prob.dtype)


def marginal_kl(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Discrete KL divergence, in nats, between the histograms of two sets of noise values.

    Section 4.1 of the paper in the form of its release: sum(p log(p / q)) over the bins of
    `KL_EDGES` where both histograms are positive, p of the real and q of the synthetic noise. It
    looks at single values only, so that correlation does not count, and bins that one of the two
    leaves empty do not count either: histograms without a common bin have a divergence of 0.

    Args:
        real: real noise of any shape, in units of raw intensity.
        synthetic: sampled noise of any shape.

    Raises:
        ValueError: an array that is empty or holds NaN.

    >>> marginal_kl(np.array([0.0, 0.05]), np.array([0.0, 0.05]))
    0.0
    """
    return divergence(histogram(real, "real"), histogram(synthetic, "synthetic"))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """`marginal_kl` of two histograms."""
    both = (p > 0) & (q > 0)
    return float(np.sum(p[both] * np.log(p[both] / q[both])))


def histogram(values: np.ndarray, which: str = "given") -> np.ndarray:
    """The part of noise values that is in each bin of `KL_EDGES`.

    Raises:
        ValueError: an array that is empty or holds NaN; it is called `which` there.
    """
    values = np.asarray(values)
    if not values.size:
        raise ValueError(f"the {which} noise has no values")
    if np.isnan(values).any():
        raise ValueError(f"the {which} noise holds NaN")
    counts, _ = np.histogram(values, KL_EDGES)
    return counts / values.size
