"""The noise model of ELD: shot noise, read noise with heavy tails, row noise, quantisation."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.baselines.eld_density import (
    LAMBDAS,
    log_prob_of_rows,
    mixture,
    observed,
    rounding_variance,
)
from noise_flow_tf.baselines.eld_fitting import LOG_GAINS, OF_CAMERA, fit_eld
from noise_flow_tf.baselines.fitted import Batches, Fitted
from noise_flow_tf.baselines.image_noise import ImageNoise
from noise_flow_tf.conditions import packed

_MOST_STEPS = 2**16


class ELD(Fitted):
    """The noise formation model of Wei, Fu, Yang and Huang for extreme low light, CVPR 2020.

    The raw value is gain * N + r + b, rounded to the nearest level k / steps and clipped to [0, 1]
    if the data has levels. N is a Poisson number of photoelectrons of mean max(clean, 0) / gain; r
    is read noise of a Tukey-lambda distribution, whose shape is the camera's; b is Gaussian, one
    value for all pixels of a row of the mosaic: of channels 0 and 1 of a row of packed pixels, or
    of channels 2 and 3. The rows are those of the file: sensors that were read out along columns,
    or images that were turned, have none of this noise. Each camera has a gain at each ISO level;
    the logarithms of the standard deviations of r and b are linear in the logarithm of the gain:

        log sigma = offset + slope * log gain

    `log_prob` is a density. Of data with levels it is that of the levels with uniform noise of one
    step's width, so that clipped ones have `steps` times their probability. It is approximate: r
    is a mixture of four Gaussians, N one of two with the first four moments of its distribution,
    and rounding adds the variance 1 / (12 steps^2). Against sums over photoelectrons, averaged over
    the offsets of rows, the mean error is at most 0.0013 nats per dimension if read noise is 2
    photoelectrons or more, 0.006 for 1, 0.02 for 0.7 and more below, where photoelectrons show one
    by one. Tails lighter than a Gaussian's are left out.

    `fit` draws 8192 pixels of each camera and ISO. Gains, read noise and its shape are of maximum
    likelihood on them, jointly for a camera. Row noise is from the covariance of the left and right
    half rows of patches, in which neighbours' correlation hardly counts.

    Attributes:
        parameters: of each camera and level `log_gain`, in raw intensity; of each camera
            `read_offset`, `read_slope`, `row_offset`, `row_slope`, `tukey_lambda` from -0.4 to
            0.14, as good as Gaussian, and `steps`, 0 for none.
        has_latent: False.

    >>> lines = {"read_offset": [-3.0], "read_slope": [0.5], "row_offset": [-5.0]}
    >>> others = {"row_slope": [0.5], "tukey_lambda": [-0.1], "steps": [0]}
    >>> model = ELD({"log_gain": [[-7.0]], **lines, **others}, ["S6"], [100])
    >>> p = model(tf.fill([1, 2, 2, 4], 0.1), 100, "S6")
    >>> p.sample(seed=1).shape.as_list(), model.num_parameters
    ([1, 2, 2, 4], 7)
    """

    kind = "eld"
    per_level = frozenset({"log_gain"})
    has_latent = False

    def __init__(
        self,
        parameters: Mapping[str, Any],
        cameras: Sequence[str],
        iso_levels: Sequence[int],
        camera_levels: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(parameters, cameras, iso_levels, camera_levels)
        steps = self.parameters["steps"].numpy()
        if np.any(steps != np.rint(steps)) or steps.min() < 0 or steps.max() > _MOST_STEPS:
            raise ValueError(
                f"steps of {self.kind} must be whole numbers from 0 to {_MOST_STEPS}; got "
                f"{steps.tolist()}"
            )
        for name, (low, high) in (("tukey_lambda", LAMBDAS), ("log_gain", LOG_GAINS)):
            value = self.parameters[name].numpy()
            if value.min() < low - 1e-3 or value.max() > high + 1e-3:
                raise ValueError(
                    f"{name} of {self.kind} must be from {low:g} to {high:g}; got "
                    f"{value.min():g} to {value.max():g}"
                )

    @classmethod
    def fit(cls, batches: Batches, cameras: Sequence[str]) -> Self:
        """Fit the model; see `Fitted.fit`.

        Raises:
            ValueError: as `Fitted.fit`; a camera that clips all of its noise.
        """
        parameters, space = fit_eld(batches, cameras)
        return cls(parameters, **space)

    @classmethod
    def shapes(cls, cameras: int, levels: int) -> dict[str, tuple[int, ...]]:
        return {"log_gain": (cameras, levels), **dict.fromkeys(OF_CAMERA, (cameras,))}

    def __call__(self, clean: Any, iso: Any, camera: Any, training: bool = False) -> "ELDNoise":
        """Return the distribution of the noise, batch `[B]`, event `[H, W, 4]`.

        Raises:
            ValueError: as `ConditionSpace.resolve`, for a camera or ISO that it was not fitted on.
        """
        conditions = self.condition_space.resolve(clean, iso, camera)
        log_gain = self.at("log_gain", conditions)
        of = {name: tf.gather(self.parameters[name], conditions.camera) for name in OF_CAMERA}
        read, row = (
            tf.exp(of[f"{name}_offset"] + of[f"{name}_slope"] * log_gain)
            for name in ("read", "row")
        )
        rest = {name: of[name] for name in ("tukey_lambda", "steps")}
        return ELDNoise(conditions.clean, gain=tf.exp(log_gain), read=read, row=row, **rest)

    def predicted_scale(self, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
        """Return the standard deviation `[B, H, W, 4]` of the noise but for clipping.

        Its variance is gain * max(clean, 0), that of read noise and row noise, and with levels
        1 / (12 steps^2) for rounding.
        """
        return self(packed(clean), iso, camera).stddev()


class ELDNoise(ImageNoise):
    """Noise of `ELD`: batch shape `[B]`, event shape `[H, W, 4]`.

    Samples are exact; `log_prob` is approximate, see `ELD`. `stddev` leaves out clipping.

    Attributes:
        numbers: the intensity of one photoelectron, the standard deviations of read noise and row
            noise, the shape of read noise, and the number of steps from 0 to 1, 0 for no levels.
    """

    numbers = ("gain", "read", "row", "tukey_lambda", "steps")

    def _log_prob(self, noise: tf.Tensor) -> tf.Tensor:
        noise += tf.zeros_like(self._clean)
        # Of one rank, by which mixtures have further axes in front: draws, images, H, W, 2, 2.
        height, width = tf.unstack(tf.shape(self._clean)[-3:-1])
        clean = tf.reshape(self._clean, [1, -1, height, width, 2, 2])
        draws = tf.reshape(noise, [-1, tf.shape(clean)[1], height, width, 2, 2])
        numbers = [tf.reshape(x, [1, -1, 1, 1, 1, 1]) for x in self._of_pixels(tf.float32)]
        return tf.reshape(_log_prob(draws, clean, *numbers), tf.shape(noise)[:-3])

    def _sample_n(self, n: int | tf.Tensor, seed: Any = None) -> tf.Tensor:
        seeds = tfp.random.split_seed(seed, 3, salt="eld_noise")
        shape = tf.concat([[n], tf.shape(self._clean)], axis=0)
        clean = tf.cast(self._clean, tf.float64)
        gain, read, row, shape_of_read, steps = self._of_pixels()
        mean = tf.broadcast_to(tf.maximum(clean, 0.0) / gain, shape)
        value = gain * tf.random.stateless_poisson(shape, seeds[0], mean, tf.float64)
        u = tf.random.stateless_uniform(shape, seeds[1], 1e-15, 1.0, tf.float64)
        value += read * _tukey_quantile(u, shape_of_read)
        of_rows = tf.concat([shape[:-2], [1, 2]], axis=0)
        offset = tf.random.stateless_normal(of_rows, seeds[2], dtype=tf.float64)
        value += row * tf.repeat(offset, 2, axis=-1)
        has_levels = steps > 0
        most = tf.where(has_levels, steps, 1.0)
        level = tf.clip_by_value(tf.round(value * most), 0.0, most)
        return tf.cast(tf.where(has_levels, level / most, value) - clean, tf.float32)

    def _stddev(self) -> tf.Tensor:
        gain, read, row, _, steps = self._of_pixels()
        shot = gain * tf.maximum(tf.cast(self._clean, tf.float64), 0.0)
        variance = shot + tf.square(read) + tf.square(row) + rounding_variance(steps)
        return tf.cast(tf.sqrt(variance), tf.float32)


@tf.function(reduce_retracing=True, autograph=False)
def _log_prob(
    noise: tf.Tensor,
    clean: tf.Tensor,
    gain: tf.Tensor,
    read: tf.Tensor,
    row: tf.Tensor,
    tukey_lambda: tf.Tensor,
    steps: tf.Tensor,
) -> tf.Tensor:
    seen = observed(noise, clean, steps)
    rounding = tf.where(seen.end == 0, rounding_variance(steps), 0.0)
    parts = mixture(clean, gain, read, tukey_lambda, rounding)
    return tf.reduce_sum(log_prob_of_rows(parts, seen, row), axis=[-2, -1])


def _tukey_quantile(u: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Return quantiles of the Tukey-lambda distribution of variance 1."""
    power = tf.where(tf.abs(shape) < 1e-4, tf.constant(1e-4, shape.dtype), shape)
    beta = tf.exp(2 * tf.math.lgamma(1 + power) - tf.math.lgamma(2 + 2 * power))
    scale = tf.sqrt(2 * (1 / (1 + 2 * power) - beta)) * tf.sign(power)
    return (
        tf.math.expm1(power * tf.math.log(u)) - tf.math.expm1(power * tf.math.log1p(-u))
    ) / scale
