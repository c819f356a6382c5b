"""How well a noise model fits: likelihood, comparisons of its samples, and the registry of metrics.

A metric is added here alone, as one object in `METRICS`; tables, CSV, JSON and reports follow. What
compares two noises is in modules of its own, and can be called without a model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from noise_flow_tf.evaluation import banding, by_intensity, spectrum
from noise_flow_tf.evaluation.banding import band_correlation
from noise_flow_tf.evaluation.by_intensity import kurtosis_error, variance_r2, variance_ratio
from noise_flow_tf.evaluation.histograms import (
    KL_EDGES,
    divergence,
    histogram,
    kl_of_pairs,
    marginal_kl,
    reverse_kl,
    reverse_kl_of_pairs,
    symmetric_kl,
    symmetric_kl_of_pairs,
)
from noise_flow_tf.evaluation.local_variance import akld, akld_of_patches
from noise_flow_tf.evaluation.noises import Noises
from noise_flow_tf.evaluation.spectrum import spectrum_divergence

__all__ = [
    "KL_EDGES",
    "KL_STRIDE",
    "METRICS",
    "Measured",
    "Metric",
    "akld",
    "band_correlation",
    "divergence",
    "histogram",
    "kl_of_pairs",
    "kurtosis_error",
    "marginal_kl",
    "nll_per_dimension",
    "reverse_kl",
    "spectrum_divergence",
    "symmetric_kl",
    "variance_r2",
    "variance_ratio",
]

KL_STRIDE = 5
"""Samples are compared with every 5th patch of a batch, as the marginal KL in the release."""


def nll_per_dimension(log_prob: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Return the negative log-likelihood in nats per dimension, `[B]`, of noise `[B, H, W, C]`."""
    return -log_prob / tf.cast(tf.reduce_prod(tf.shape(noise)[1:]), log_prob.dtype)


class Measured(NamedTuple):
    """What a noise model says about a batch of B patches.

    Attributes:
        nll: `[B]`, nats per dimension; None for a model without a density.
        latent: `[B, H, W, 4]`, of the batch's noise; None for a model without a latent.
        sample: `[B, H, W, 4]`, sampled noise for the same clean patches.
        again: another sample for every 5th patch.
        log_mass: of every 5th patch, nats per dimension, of a model of quantised noise.
    """

    nll: np.ndarray | None
    latent: np.ndarray | None
    sample: np.ndarray
    again: np.ndarray
    log_mass: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of noise models: how it is measured, averaged, compared and shown.

    Attributes:
        name: the key in JSON and the column in CSV.
        title: what tables call it.
        unit: "" for a number without one.
        meaning: what explanations below tables say of it.
        values: from a batch of arrays, and what a model says about it, one value per patch of those
            that the metric averages over, or sums `[B, ...]`; None if undefined for the model.
        of_image: from the sum of `values` over an image's patches, the image's value, or None if it
            is undefined there, as with too few pixels; None for the mean of `values`.
        needs: what an image must have for the metric to be defined.
        digits: decimals in tables.
        difference_digits: decimals of differences between models.
        lower_is_better: the direction; None if neither is better.
        best: for a metric without a direction, the value of a perfect model.
        every_5th_patch: whether it averages over every 5th patch (`KL_STRIDE`) instead of all.
        is_floor: whether it compares the model's samples with each other, and not with real noise.
        gain: from another model's value and ours, the relative improvement; None for a metric that
            is shown without comparing models by it: not in the tables by camera and ISO or in the
            paper's Table 2, but in Table 1 and in all files of numbers.
        gain_meaning: what the relative improvement is.
    """

    name: str
    title: str
    unit: str
    meaning: str
    values: Callable[[Mapping[str, np.ndarray], Measured], np.ndarray | None]
    of_image: Callable[[np.ndarray], float | None] | None = None
    needs: str = ""
    digits: int = 4
    difference_digits: int = 4
    lower_is_better: bool | None = True
    best: float | None = None
    every_5th_patch: bool = False
    is_floor: bool = False
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

    def value(self, total: np.ndarray, patches: int) -> float | None:
        """Return an image's value from the sum of `values` over its `patches` that count."""
        if not patches:
            return None
        return float(total / patches) if self.of_image is None else self.of_image(total)

    def best_of(self, values: Mapping[str, float | None]) -> set[str]:
        """Return which of the models' values, to the digits of tables, are the best.

        None if the metric has no direction, or fewer than two models have a value.
        """
        known = {name: round(v, self.digits) for name, v in values.items() if v is not None}
        if self.best is not None:
            known = {name: abs(value - self.best) for name, value in known.items()}
        elif self.lower_is_better is None:
            return set()
        elif not self.lower_is_better:
            known = {name: -value for name, value in known.items()}
        least = min(known.values(), default=0.0)
        return {name for name, v in known.items() if math.isclose(v, least) and len(known) > 1}

    def explained(self) -> str:
        """Return a line of Markdown on what the metric is."""
        unit = f", in {self.unit}" if self.unit else ""
        patches = ", of every 5th patch" if self.every_5th_patch else ""
        needs = f"; needs {self.needs}" if self.needs else ""
        direction = {True: "; lower is better", False: "; higher is better", None: ""}
        best = "" if self.best is None else f"; best at {self.best:g}"
        gain = f"; relative improvement: {self.gain_meaning}" if self.gain_meaning else ""
        return (
            f"- {self.title}{unit}{patches}: {self.meaning}{needs}"
            f"{direction[self.lower_is_better]}{best}{gain}."
        )


def part_gone(theirs: float, ours: float) -> float:
    """Return by which fraction ours is below theirs.

    >>> part_gone(0.4, 0.1)
    0.75
    """
    return 1 - ours / theirs if theirs else 0.0


def _against_real(batch: Mapping[str, np.ndarray], m: Measured) -> Noises:
    return Noises(*(a[::KL_STRIDE] for a in (batch["noise"], m.sample, batch["clean"])))


def _against_itself(batch: Mapping[str, np.ndarray], m: Measured) -> Noises:
    return Noises(m.sample[::KL_STRIDE], m.again, batch["clean"][::KL_STRIDE])


def _with_floor(
    sums: Callable[[Noises], np.ndarray],
    *,
    name: str,
    title: str,
    meaning: str,
    needs: str,
    unit: str = "",
    of_image: Callable[[np.ndarray], float | None] | None = None,
    lower_is_better: bool | None = True,
    best: float | None = None,
    digits: int = 4,
) -> tuple[Metric, Metric]:
    """Return a metric that compares samples with real noise, and its floor.

    The floor is the same between two samples of the model. `sums` makes `Metric.values` of two
    noises.
    """
    metric = Metric(
        name=name,
        title=title,
        unit=unit,
        meaning=meaning,
        values=lambda batch, m: sums(_against_real(batch, m)),
        of_image=of_image,
        needs=needs,
        digits=digits,
        lower_is_better=lower_is_better,
        best=best,
        every_5th_patch=True,
    )
    floor = Metric(
        name=f"{name}_floor",
        title=f"{title}, floor",
        unit=unit,
        meaning="the same between two samples of the model, which a perfect model would have",
        values=lambda batch, m: sums(_against_itself(batch, m)),
        of_image=of_image,
        digits=digits,
        lower_is_better=None,
        every_5th_patch=True,
        is_floor=True,
    )
    return metric, floor


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="nll",
            title="NLL",
            unit="nats per dimension",
            meaning="negative log-likelihood",
            values=lambda batch, m: m.nll,
            needs="one patch",
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
            needs="one patch",
            gain=part_gone,
            gain_meaning="the part of the divergence that is gone",
        ),
        Metric(
            name="kl_reverse",
            title="Reverse KL",
            unit="nats",
            meaning="the same the other way round, large where samples fall and noise does not",
            values=lambda batch, m: reverse_kl_of_pairs(*_against_real(batch, m)[:2]),
            every_5th_patch=True,
            needs="one patch",
        ),
        Metric(
            name="kl_symmetric",
            title="Symmetric KL",
            unit="nats",
            meaning="the mean of KL and reverse KL of each patch",
            values=lambda batch, m: symmetric_kl_of_pairs(*_against_real(batch, m)[:2]),
            every_5th_patch=True,
            needs="one patch",
        ),
        Metric(
            name="kl_floor",
            title="KL floor",
            unit="nats",
            meaning="that between two samples of the same model, which is what a perfect model "
            "would have with patches of this size, either way round",
            values=lambda batch, m: kl_of_pairs(m.sample[::KL_STRIDE], m.again),
            every_5th_patch=True,
            is_floor=True,
            lower_is_better=None,
        ),
        Metric(
            name="log_mass",
            title="Log mass (no density)",
            unit="nats per dimension",
            meaning="logarithm of the probability of quantised noise, for models that have it but "
            "no density; it is no NLL, and not to be compared with one",
            values=lambda batch, m: m.log_mass,
            every_5th_patch=True,
            needs="one patch",
            lower_is_better=False,
        ),
        *_with_floor(
            akld_of_patches,
            name="akld",
            title="AKLD",
            unit="nats",
            meaning="divergence of zero-mean Gaussians whose variances are local, in a 7 x 7 "
            "Gaussian window (Yue et al., ECCV 2020)",
            needs="one patch",
        ),
        *_with_floor(
            by_intensity.variance_sums,
            name="variance_r2",
            title="R2 of variance",
            meaning="how much of the course of the log variance over the clean intensity samples "
            "have",
            of_image=by_intensity.r2_of_sums,
            needs="an image with three bins of intensity of 100 noise values, and a variance that "
            "depends on intensity",
            lower_is_better=False,
            digits=3,
        ),
        *_with_floor(
            by_intensity.variance_sums,
            name="variance_ratio",
            title="Variance ratio",
            meaning="variance of samples over that of the noise, geometric mean over intensities",
            of_image=by_intensity.ratio_of_sums,
            needs="an image with a bin of intensity of 100 noise values",
            lower_is_better=None,
            best=1,
            digits=3,
        ),
        *_with_floor(
            banding.row_sums,
            name="row_correlation",
            title="Row correlation",
            meaning="the part of the variance that pixels of a row share (banding), of samples "
            "less that of the noise",
            of_image=banding.difference_of_sums,
            needs="one patch",
            lower_is_better=None,
            best=0,
        ),
        *_with_floor(
            banding.column_sums,
            name="column_correlation",
            title="Column correlation",
            meaning="the same of columns, in the orientation of the file",
            of_image=banding.difference_of_sums,
            needs="one patch",
            lower_is_better=None,
            best=0,
        ),
        *_with_floor(
            by_intensity.tail_sums,
            name="kurtosis_error",
            title="Kurtosis error",
            meaning="absolute difference of excess kurtosis, in bins of the clean intensity",
            of_image=by_intensity.kurtosis_of_sums,
            needs="an image with a bin of intensity of 1000 noise values",
            digits=3,
        ),
        *_with_floor(
            spectrum.spectra,
            name="spectrum",
            title="Spectrum",
            unit="nats per dimension",
            meaning="divergence of the power spectra after division by the local scale",
            of_image=spectrum.divergence_of_spectra,
            needs="an image, of which few patches raise the floor",
        ),
    )
}
"""All metrics by name, in the order of tables and columns."""
