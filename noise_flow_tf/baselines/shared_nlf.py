"""The noise level function with few parameters: each camera's gain, times ISO."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow as tf

from noise_flow_tf.baselines.fitted import Batches, FittedGaussian, space_of
from noise_flow_tf.baselines.moments import Moments, fit_nlf, moments, most_likely
from noise_flow_tf.bijectors import OnePassBijector, SignalDependent
from noise_flow_tf.conditions import Conditions

_BASE = 100.0
"""The ISO at which the parameters are stated."""


class SharedNLF(FittedGaussian):
    """Heteroscedastic Gaussian noise with three numbers for each camera, for all of its ISO levels.

    With g = ISO / 100, the variance is

        exp(log_gain) * g * max(clean, 0) + exp(log_read) * g^read_slope

    that is, shot noise grows with ISO, and the logarithm of read noise is linear in log ISO. For a
    camera with a single level, `read_slope` is 0.

    >>> numbers = {"log_gain": [-6.0], "log_read": [-9.0], "read_slope": [1.5]}
    >>> model = SharedNLF(numbers, ["S6"], [100, 400])
    >>> model.num_parameters, model(tf.zeros([1, 2, 2, 4]), 400, "S6").event_shape.as_list()
    (3, [2, 2, 4])
    """

    kind = "shared_nlf"

    @classmethod
    def fit(cls, batches: Batches, cameras: Sequence[str]) -> Self:
        found = moments(batches, cameras)
        space = space_of(found, cameras)
        of_cameras = [
            _fit({iso: of for (c, iso), of in found.items() if c == camera})
            for camera in range(len(cameras))
        ]
        return cls(dict(zip(cls.shapes(1, 1), np.transpose(of_cameras), strict=True)), **space)

    @classmethod
    def shapes(cls, cameras: int, levels: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("log_gain", "log_read", "read_slope"), (cameras,))

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        log_gain, log_read, slope = (
            tf.gather(value, conditions.camera) for value in self.parameters.values()
        )
        level = tf.math.log(conditions.iso / _BASE)
        betas = tf.exp(log_gain + level), tf.exp(log_read + slope * level)
        return [SignalDependent(conditions.clean, *betas)]


def _fit(levels: dict[int, Moments]) -> np.ndarray:
    """Return `log_gain`, `log_read`, `read_slope` of one camera from its noise by ISO."""
    separate = np.log([fit_nlf(of) for of in levels.values()])
    log_iso = np.log(np.array(list(levels)) / _BASE)
    start = np.array([np.mean(separate[:, 0] - log_iso), np.mean(separate[:, 1]), 0.0])
    count, intensity, square = (np.concatenate(part) for part in zip(*levels.values(), strict=True))
    level = np.repeat(log_iso, [len(of.number) for of in levels.values()])
    middle = log_iso.mean()
    spread = (level - middle) if len(levels) > 1 else np.zeros_like(level)

    def variance(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_gain, log_read, slope = parameters
        shot = np.exp(log_gain + level) * intensity
        read = np.exp(log_read + slope * spread)
        return shot + read, np.stack([shot, read, spread * read])

    log_gain, log_read, slope = most_likely(count, square, variance, start)
    if len(levels) < 2:
        return np.array([log_gain, log_read, 0.0])
    return np.array([log_gain, log_read - slope * middle, slope])
