"""Divergences between the histograms of single noise values, as in the release."""

import numpy as np

_HALF_RANGE = 0.1
_BINS = 64
KL_EDGES = np.concatenate([[-1000.0], np.linspace(-_HALF_RANGE, _HALF_RANGE, _BINS + 1), [1000.0]])
"""Edges of the marginal KL's histogram: 64 bins on [-0.1, 0.1] and an open one at each end."""


def marginal_kl(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the discrete KL divergence, in nats, of the histograms of two sets of noise values.

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


def reverse_kl(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the `marginal_kl` the other way round: sum(q log(q / p)), q of the synthetic noise.

    It is large where samples fall that real noise never does; `marginal_kl`, where samples lack
    what real noise has. Both leave out the bins that one of the two leaves empty.

    >>> real, synthetic = np.array([0.0, 0.0, 0.0, 0.05]), np.array([0.0, 0.05])
    >>> round(reverse_kl(real, synthetic), 4)  # log(4 / 3) / 2
    0.1438
    """
    return marginal_kl(synthetic, real)


def symmetric_kl(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the mean of `marginal_kl` and `reverse_kl`, half of Jeffreys' divergence, in nats.

    >>> real, synthetic = np.array([0.0, 0.0, 0.0, 0.05]), np.array([0.0, 0.05])
    >>> round(symmetric_kl(real, synthetic), 4)  # log(3) / 8
    0.1373
    """
    return _mean_of_both(histogram(real, "real"), histogram(synthetic, "synthetic"))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Return the `marginal_kl` of two histograms."""
    both = (p > 0) & (q > 0)
    return float(np.sum(p[both] * np.log(p[both] / q[both])))


def histogram(values: np.ndarray, which: str = "given") -> np.ndarray:
    """Return the fraction of noise values in each bin of `KL_EDGES`.

    Raises:
        ValueError: an array that is empty or holds NaN; the message calls it `which`.
    """
    values = np.asarray(values)
    if not values.size:
        raise ValueError(f"the {which} noise has no values")
    if np.isnan(values).any():
        raise ValueError(f"the {which} noise holds NaN")
    counts, _ = np.histogram(values, KL_EDGES)
    return counts / values.size


def kl_of_pairs(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return the `marginal_kl` of each patch `[B, H, W, 4]` and its counterpart, `[B]`."""
    return np.array([marginal_kl(*pair) for pair in zip(real, synthetic, strict=True)])


def reverse_kl_of_pairs(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return the `reverse_kl` of each patch `[B, H, W, 4]` and its counterpart, `[B]`."""
    return kl_of_pairs(synthetic, real)


def symmetric_kl_of_pairs(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return the `symmetric_kl` of each patch `[B, H, W, 4]` and its counterpart, `[B]`."""
    return np.array([symmetric_kl(*pair) for pair in zip(real, synthetic, strict=True)])


def _mean_of_both(p: np.ndarray, q: np.ndarray) -> float:
    return (divergence(p, q) + divergence(q, p)) / 2
