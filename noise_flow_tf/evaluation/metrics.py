"""How well a noise model fits: likelihood, the histogram of the noise, and the registry of metrics.

A metric is added here alone, as one object in `METRICS`; tables, CSV, JSON and reports follow.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

KL_STRIDE = 5
"""The marginal KL is of every 5th patch of a batch, as in the release."""

_HALF_RANGE = 0.1
_BINS = 64
KL_EDGES = np.concatenate([[-1000.0], np.linspace(-_HALF_RANGE, _HALF_RANGE, _BINS + 1), [1000.0]])
"""Edges of the marginal KL's histogram: 64 bins on [-0.1, 0.1] and an open one at each end."""


def nll_per_dimension(log_prob: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Return the negative log-likelihood in nats per dimension, `[B]`, of noise `[B, H, W, C]`."""
    return -log_prob / tf.cast(tf.reduce_prod(tf.shape(noise)[1:]), log_prob.dtype)


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


class Measured(NamedTuple):
    """What a noise model says about a batch of B patches.

    Attributes:
        nll: `[B]`, nats per dimension; None for a model without a density.
        latent: `[B, H, W, 4]`, of the batch's noise; None for a model without a latent.
        sample: `[B, H, W, 4]`, sampled noise for the same clean patches.
        again: another sample for every 5th patch.
    """

    nll: np.ndarray | None
    latent: np.ndarray | None
    sample: np.ndarray
    again: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of noise models: how it is measured, averaged, compared and shown.

    Attributes:
        name: the key in JSON and the column in CSV.
        title: what tables call it.
        unit: "" for a number without one.
        meaning: what explanations below tables say of it.
        values: from a batch of arrays, and what a model says about it, one value per patch of those
            that the metric averages over; None if it is undefined for the model.
        digits: decimals in tables.
        difference_digits: decimals of differences between models.
        lower_is_better: the direction; None if neither is better, as for a ratio that is best at 1.
        every_5th_patch: whether it averages over every 5th patch (`KL_STRIDE`) instead of all.
        gain: from another model's value and ours, the relative improvement; None for a metric that
            is shown without comparing models by it: without standard errors, and not in the tables
            by camera and ISO or in the paper's Table 2, but in all files of numbers.
        gain_meaning: what the relative improvement is.
    """

    name: str
    title: str
    unit: str
    meaning: str
    values: Callable[[Mapping[str, np.ndarray], Measured], np.ndarray | None]
    digits: int = 4
    difference_digits: int = 4
    lower_is_better: bool | None = True
    every_5th_patch: bool = False
    gain: Callable[[float, float], float] | None = None
    gain_meaning: str = ""

    @property
    def stride(self) -> int:
        """From one patch that counts to the next, in a batch."""
        return KL_STRIDE if self.every_5th_patch else 1

    @property
    def weight(self) -> str:
        """The column with the number of an image's patches that count."""
        return "kl_patches" if self.every_5th_patch else "patches"

    def explained(self) -> str:
        """Return a line of Markdown on what the metric is."""
        unit = f", in {self.unit}" if self.unit else ""
        patches = ", of every 5th patch" if self.every_5th_patch else ""
        direction = {True: "; lower is better", False: "; higher is better", None: ""}
        gain = f"; relative improvement: {self.gain_meaning}" if self.gain_meaning else ""
        return (
            f"- {self.title}{unit}{patches}: {self.meaning}{direction[self.lower_is_better]}{gain}."
        )


def part_gone(theirs: float, ours: float) -> float:
    """Return by which fraction ours is below theirs.

    >>> part_gone(0.4, 0.1)
    0.75
    """
    return 1 - ours / theirs if theirs else 0.0


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="nll",
            title="NLL",
            unit="nats per dimension",
            meaning="negative log-likelihood",
            values=lambda batch, m: m.nll,
            digits=3,
            gain=lambda theirs, ours: math.expm1(theirs - ours),
            gain_meaning="that of the likelihood, exp(difference of NLL) - 1",
        ),
        Metric(
            name="kl",
            title="KL",
            unit="nats",
            meaning="marginal divergence, between the histograms of single noise values",
            values=lambda batch, m: kl_of_pairs(batch["noise"][::KL_STRIDE], m.sample[::KL_STRIDE]),
            every_5th_patch=True,
            gain=part_gone,
            gain_meaning="the part of the divergence that is gone",
        ),
        Metric(
            name="kl_floor",
            title="KL floor",
            unit="nats",
            meaning="that between two samples of the same model, which is what a perfect model "
            "would have with patches of this size",
            values=lambda batch, m: kl_of_pairs(m.sample[::KL_STRIDE], m.again),
            every_5th_patch=True,
            lower_is_better=None,
        ),
    )
}
"""All metrics by name, in the order of tables and columns."""
