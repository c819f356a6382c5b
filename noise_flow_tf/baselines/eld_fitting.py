"""Fitting of the ELD baseline: row noise by moments, the rest by maximum likelihood."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import least_squares, minimize

from noise_flow_tf.baselines.eld_density import (
    LAMBDAS,
    log_density,
    mixture,
    observed,
    rounding_variance,
)
from noise_flow_tf.baselines.fitted import Batches, Condition, groups, space_of, table_of
from noise_flow_tf.baselines.fitted_nlf import BETAS, FittedNLF
from noise_flow_tf.baselines.poisson_gaussian import (
    NotQuantisedError,
    Pixels,
    drawn_pixels,
    steps_of,
)

OF_CAMERA = ("read_offset", "read_slope", "row_offset", "row_slope", "tukey_lambda", "steps")
LOG_GAINS = (-14.0, 3.0)
_LEAST_ROW = 1e-3
"""Of row noise, in parts of read noise."""
_ROW_SLOPES = (-0.25, 1.25)
"""Offsets from before the amplifier have the slope 1, those from behind it 0."""
_FROM_ENDS = 3.0
"""How far from the ends of the levels pixels show row noise, in standard deviations of noise."""


def fit_eld(
    batches: Batches, cameras: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the parameters of `ELD`, and its conditions as `space_of` does; see `ELD.fit`."""
    nlf = FittedNLF.fit(batches, cameras)
    tables = [np.exp(nlf.parameters[name].numpy().astype(float)) for name in BETAS]
    drawn = drawn_pixels(batches, cameras)
    betas = {
        (camera, iso): tuple(float(t[camera, nlf.iso_levels.index(iso)]) for t in tables)
        for camera, iso in drawn
    }
    of_cameras = [
        {iso: one for (c, iso), one in drawn.items() if c == i} for i in range(len(cameras))
    ]
    steps = [_steps(pixels, code) for pixels, code in zip(of_cameras, cameras, strict=True)]
    rows = _row_variances(batches, cameras, betas, steps)
    log_gains: dict[Condition, float] = {}
    numbers = []
    for camera, pixels in enumerate(of_cameras):
        own = [rows.get((camera, iso)) for iso in pixels]
        if not any(own):
            raise ValueError(
                f"camera {cameras[camera]} has no row of pixels that is not clipped, so that "
                "row noise cannot be measured; add brighter images or leave it out"
            )
        beta = np.array([betas[camera, iso] for iso in pixels])
        gains, of_camera = _fit(list(pixels.values()), beta, steps[camera], own)
        log_gains |= {(camera, iso): gain for iso, gain in zip(pixels, gains, strict=True)}
        numbers.append([*of_camera, steps[camera]])
    space = space_of(log_gains, cameras)
    parameters = dict(zip(OF_CAMERA, np.transpose(numbers), strict=True))
    return {"log_gain": table_of(log_gains, space), **parameters}, space


class _RowVariance(NamedTuple):
    """The variance that pixels of a row share, and its standard error."""

    value: float
    error: float


def _steps(levels: Mapping[int, Pixels], camera: str) -> int:
    try:
        return steps_of(levels, camera)
    except NotQuantisedError:
        return 0


def _row_variances(
    batches: Batches,
    cameras: Sequence[str],
    betas: Mapping[Condition, tuple[float, ...]],
    steps: Sequence[int],
) -> dict[Condition, _RowVariance]:
    """Return the variance of row noise by camera and ISO, without bias.

    Pixels have the weight of the inverse of their variance, and none near the ends of levels, where
    clipping takes noise away. Each patch's mean is taken off each half, as in
    `evaluation.banding`.
    """
    sums: dict[Condition, list[np.ndarray]] = {}
    for pair, group in groups(batches, cameras):
        variance = betas[pair][0] * np.maximum(group.clean, 0) + betas[pair][1]
        weight = 1 / variance
        if steps[pair[0]]:
            margin = _FROM_ENDS * np.sqrt(variance)
            weight *= (group.clean > margin) & (group.clean < 1 - margin)
        count, height, width, _ = weight.shape
        halves = []
        for x in (weight, weight * group.noise):
            lines = x.reshape(count, height, width, 2, 2).swapaxes(2, 3)
            lines = lines.reshape(count, 2 * height, 2 * width)
            halves.append([lines[:, :, :width].sum(2), lines[:, :, width:].sum(2)])
        (a, b), (x, y) = halves
        of_a, of_b = (np.maximum(w.sum(1), 1e-100) for w in (a, b))
        x, y = (z - w * (z.sum(1) / of)[:, None] for z, w, of in ((x, a, of_a), (y, b, of_b)))
        both = a * b
        known = both.sum(1) * (1 + both.sum(1) / (of_a * of_b))
        known -= (both * b).sum(1) / of_b + (both * a).sum(1) / of_a
        sums.setdefault(pair, []).append(np.stack([(x * y).sum(1), known]))
    found = {}
    for pair, parts in sums.items():
        shared, known = np.concatenate(parts, axis=1)
        if known.sum() > 0:
            value = shared.sum() / known.sum()
            error = np.sqrt(np.square(shared - value * known).sum()) / known.sum()
            found[pair] = _RowVariance(value, error + 1e-3 * abs(value) + 1e-30)
    return found


def _row_line(
    rows: Sequence[_RowVariance | None], log_gain: np.ndarray, least: float
) -> np.ndarray:
    """Return offset and slope of the logarithm of the standard deviation, by least squares."""
    log_gain = log_gain[[row is not None for row in rows]]
    value, error = np.transpose([row for row in rows if row is not None])
    middle, low = log_gain.mean(), np.log(least)
    slopes = _ROW_SLOPES if np.ptp(log_gain) > 0 else (-1e-9, 1e-9)  # 0 for a single level

    def off(line: np.ndarray) -> np.ndarray:
        return (np.exp(2 * (line[0] + line[1] * (log_gain - middle))) - value) / error

    mean = max(np.average(value, weights=error**-2), (1.01 * least) ** 2)
    start = [0.5 * np.log(mean), np.mean(slopes)]
    limits = ([low, slopes[0]], [3.0, slopes[1]])
    offset, slope = least_squares(off, start, bounds=limits).x
    return np.array([offset - slope * middle, slope])


def _fit(
    pixels: Sequence[Pixels],
    betas: np.ndarray,
    steps: int,
    rows: Sequence[_RowVariance | None],
) -> tuple[np.ndarray, list[float]]:
    """Return gains of maximum likelihood of one camera, and what is fitted of `OF_CAMERA`.

    Args:
        pixels: by ISO.
        betas: `[levels, 2]`, those of the fitted NLF.
        steps: of the levels, or 0.
        rows: by ISO, if known.
    """
    start = np.clip(np.log(betas[:, 0]), LOG_GAINS[0] + 0.1, LOG_GAINS[1])
    least = _LEAST_ROW * np.sqrt(betas[:, 1].min())
    offset, slope = _row_line(rows, start, least)
    row = np.exp(2 * (offset + slope * start))
    rounding = float(rounding_variance(tf.constant(float(steps))))
    read = 0.5 * np.log(np.maximum(betas[:, 1] - row - rounding, betas[:, 1] / 10))
    middle = start.mean()
    several = np.ptp(start) > 0
    line = np.polyfit(start - middle, read, 1) if several else [0.0, read.mean()]
    level = np.repeat(np.arange(len(pixels)), [len(one.clean) for one in pixels])
    clean, noisy = (
        tf.constant(np.concatenate(part), tf.float32)
        for part in ([one.clean for one in pixels], [one.noisy for one in pixels])
    )
    seen = observed(noisy - clean, clean, tf.constant(float(steps)))
    rest = tf.gather(tf.constant(row, tf.float32), level)
    rest += tf.where(seen.end == 0, np.float32(rounding), 0.0)

    @tf.function(autograph=False)
    def graph(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_gain, read_offset, read_slope, shape = p[:-3], p[-3], p[-2], p[-1:]
        sigma = tf.exp(read_offset + read_slope * (log_gain - middle))
        gain, sigma = (tf.gather(x, level) for x in (tf.exp(log_gain), sigma))
        parts = mixture(clean, gain, sigma, shape, rest)
        nll = -tf.reduce_mean(log_density(parts, seen, ends=bool(steps)))
        return nll, tf.gradients(nll, p)[0]

    def nll(p: np.ndarray) -> tuple[float, np.ndarray]:
        value, slopes = graph(tf.constant(p, tf.float32))
        return float(value), slopes.numpy().astype(float)

    slopes = (-3.0, 3.0) if several else (0.0, 0.0)
    limits = [LOG_GAINS] * len(pixels) + [(line[1] - 5, line[1] + 3), slopes, LAMBDAS]
    first = np.array([*start, line[1], np.clip(line[0], *slopes), -0.05])
    options = {"ftol": 1e-9, "gtol": 1e-5, "maxiter": 100}
    found = minimize(nll, first, jac=True, method="L-BFGS-B", bounds=limits, options=options).x
    log_gain, (read_offset, read_slope, shape) = found[:-3], found[-3:]
    of_row = _row_line(rows, log_gain, least)
    return log_gain, [read_offset - read_slope * middle, read_slope, *of_row, shape]
