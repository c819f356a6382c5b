"""Gaussian noise with a fitted correlation: what a flow's couplings have to beat."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from noise_flow_tf.baselines.fitted import (
    Batches,
    Condition,
    FittedGaussian,
    Group,
    groups,
    space_of,
    table_of,
)
from noise_flow_tf.baselines.fitted_nlf import BETAS, FittedNLF
from noise_flow_tf.bijectors import CausalFilter, OnePassBijector, SignalDependent
from noise_flow_tf.bijectors.causal_filter import neighbours
from noise_flow_tf.conditions import Conditions, packed

_REACH = 2
_PLACES = neighbours(_REACH)
_ABOVE_DIAGONAL = np.triu_indices(4, 1)
_IMPULSE = 32
_MOST = 100.0
_LARGEST = 5.0
"""The fitted filter's limits: its noise's standard deviation, and log(1 / what is unpredicted)."""


class LinearGaussian(FittedGaussian):
    """The standard deviations of a fitted NLF, and a stationary correlation of packed pixels.

    With s = sqrt(beta1 * max(clean, 0) + beta2), u = noise / s is a Gaussian autoregression in
    raster order (`CausalFilter`): each value is predicted linearly from the four channels of 12
    pixels before it, two rows above and two columns to each side, and from the channels before it
    of its own pixel. Pixels outside the image count as 0, so that the density is exact and
    normalised for images of any size, and the correlation is stationary but within some pixels of
    the upper, left and right border.

    The likelihood takes one pass over 13 neighbours. Sampling goes from row to row, in log2(W)
    steps in each, and draws whole images at once.

    Attributes:
        parameters: of each camera and level `log_beta1` and `log_beta2`; `log_own` `[4]` and
            `within` `[6]`, the logarithm of the diagonal and what is above it in the matrix `own`
            of `CausalFilter`; and `others` `[12, 4, 4]`.
    """

    kind = "linear_gaussian"
    per_level = frozenset({*BETAS, "log_own", "within", "others"})
    receptive_field = None

    @classmethod
    def fit(cls, batches: Batches, cameras: Sequence[str]) -> Self:
        nlf = FittedNLF.fit(batches, cameras)
        grams: dict[Condition, np.ndarray] = {}
        numbers: dict[Condition, int] = {}
        for pair, group in groups(batches, cameras):
            features = _features(group, nlf, pair)
            grams[pair] = grams.get(pair, 0.0) + features.T @ features
            numbers[pair] = numbers.get(pair, 0) + len(features)
        found = {pair: _predict(grams[pair] / numbers[pair]) for pair in grams}
        own = np.stack([one.own() for one in found.values()]).astype(np.float32)
        others = np.stack([one.others for one in found.values()]).astype(np.float32)
        stddevs = _stddevs(own, others).numpy()
        for ((camera, iso), one), stddev in zip(found.items(), stddevs, strict=True):
            if one.log_own.max() > _LARGEST or not np.all(stddev < _MOST):
                raise ValueError(
                    f"the noise of camera {cameras[camera]} at ISO {iso} has no stationary "
                    "correlation: some values follow from others; is a frame damaged?"
                )
        space = space_of(found, cameras)
        tables = {
            name: table_of({pair: getattr(one, name) for pair, one in found.items()}, space, shape)
            for name, shape in (("log_own", (4,)), ("within", (6,)), ("others", _SHAPE))
        }
        return cls({**{n: nlf.parameters[n].numpy() for n in BETAS}, **tables}, **space)

    @classmethod
    def shapes(cls, cameras: int, levels: int) -> dict[str, tuple[int, ...]]:
        each = {**dict.fromkeys(BETAS, ()), "log_own": (4,), "within": (6,), "others": _SHAPE}
        return {name: (cameras, levels, *shape) for name, shape in each.items()}

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        betas = (tf.exp(self.at(name, conditions)) for name in BETAS)
        filtered = CausalFilter(self._own(conditions), self.at("others", conditions))
        return [SignalDependent(conditions.clean, *betas), filtered]

    def predicted_scale(self, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
        """Return the standard deviation `[B, H, W, 4]` of the noise away from the border."""
        conditions = self.condition_space.resolve(packed(clean), iso, camera)
        white, _ = self.bijectors(conditions, training=False)
        stddevs = _stddevs(self._own(conditions), self.at("others", conditions))
        return white.forward(tf.ones_like(conditions.clean)) * stddevs[:, None, None, :]

    def _own(self, conditions: Conditions) -> tf.Tensor:
        diagonal = tf.linalg.diag(tf.exp(self.at("log_own", conditions)))
        return diagonal + tf.tensordot(self.at("within", conditions), _BASIS, 1)


_SHAPE = (len(_PLACES), 4, 4)
_BASIS = np.zeros((6, 4, 4), np.float32)
_BASIS[range(6), *_ABOVE_DIAGONAL] = 1


class _Prediction(NamedTuple):
    """The filter of one camera and ISO."""

    log_own: np.ndarray
    within: np.ndarray
    others: np.ndarray

    def own(self) -> np.ndarray:
        return np.diag(np.exp(self.log_own)) + np.tensordot(self.within, _BASIS, 1)


def _features(group: Group, nlf: FittedNLF, pair: Condition) -> np.ndarray:
    """Return for each pixel what it is predicted from, and its own four values, `[N, 52]`."""
    camera, level = pair[0], nlf.iso_levels.index(pair[1])
    beta1, beta2 = (np.exp(float(nlf.parameters[n].numpy()[camera, level])) for n in BETAS)
    u = group.noise / np.sqrt(beta1 * np.maximum(group.clean, 0) + beta2)
    _, height, width, _ = u.shape
    padded = np.pad(u, [(0, 0), (_REACH, 0), (_REACH, _REACH), (0, 0)])
    parts = [
        padded[:, _REACH + i : _REACH + i + height, _REACH + j : _REACH + j + width]
        for i, j in [*_PLACES, (0, 0)]
    ]
    return np.concatenate(parts, axis=-1).reshape(-1, 4 * len(parts))


def _predict(gram: np.ndarray) -> _Prediction:
    """Return the filter of maximum likelihood from the second moments `[52, 52]` of features."""
    before = 4 * len(_PLACES)
    own, others = np.zeros((4, 4)), np.zeros((before, 4))
    for channel in range(4):
        known = before + channel
        weights = np.linalg.lstsq(gram[:known, :known], gram[:known, known], rcond=None)[0]
        variance = gram[known, known] - weights @ gram[:known, known]
        scale = 1 / np.sqrt(max(variance, 1e-12))
        others[:, channel] = -scale * weights[:before]
        own[:channel, channel] = -scale * weights[before:]
        own[channel, channel] = scale
    log_own = np.log(np.diag(own))
    return _Prediction(log_own, own[_ABOVE_DIAGONAL], others.reshape(_SHAPE))


def _stddevs(own: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Return the standard deviations `[B, 4]` of what B filters make of white noise.

    They are the energy of the responses to unit impulses, within 32 x 32 pixels, in which those of
    a correlation of a few pixels end.
    """
    impulses = np.zeros((4, _IMPULSE, _IMPULSE, 4), np.float32)
    impulses[range(4), 0, _IMPULSE // 2, range(4)] = 1
    each = CausalFilter(tf.repeat(own, 4, axis=0), tf.repeat(others, 4, axis=0))
    response = each.forward(tf.tile(impulses, [tf.shape(own)[0], 1, 1, 1]))
    variance = tf.reduce_sum(tf.square(response), axis=[1, 2])
    return tf.sqrt(tf.reduce_sum(tf.reshape(variance, [-1, 4, 4]), axis=1))
