"""Shot noise of photoelectrons, Gaussian read noise and quantisation, with the exact log mass."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.optimize import minimize

from noise_flow_tf.baselines.fitted import (
    Batches,
    Condition,
    Fitted,
    groups,
    space_of,
    table_of,
)
from noise_flow_tf.baselines.fitted_nlf import BETAS, FittedNLF
from noise_flow_tf.baselines.image_noise import ImageNoise
from noise_flow_tf.baselines.log_mass import log_mass
from noise_flow_tf.conditions import packed

_PIXELS = 8192
"""How many pixels of a camera and ISO are fitted to, drawn at random."""
_MOST_STEPS = 2**16
_OF_STEPS = 512
"""From how many values of a camera the number of its steps is found."""
_OFF = 0.02
"""How far a value may be from a level, in steps: more than the rounding of float32 moves it."""
_LEAST_GAIN = 1e-5
_LEAST_SIGMA = 0.05
"""Of read noise, in steps; below, quantisation hides it."""
_DIFFERENCE = 1e-5


class NotQuantisedError(ValueError):
    """Noise whose values have no levels, so that it has a density and no mass."""


class PoissonGaussian(Fitted):
    """Noisy values are levels, the nearest to gain * N + r, clipped to [0, 1].

    N is a Poisson number of photoelectrons of mean max(clean, 0) / gain and r is Gaussian read
    noise of standard deviation sigma, independent of pixel to pixel; the levels are k / steps for k
    from 0 to `steps`. Each camera has a gain and a sigma of its own at each ISO level. The
    probability of a level is exact, summed over the numbers of photoelectrons; see
    `baselines.log_mass`.

    `log_prob` of its distributions is the logarithm of a probability, a log mass, and no density:
    it is at most 0, and not to be compared with the `log_prob` of other models.

    The number of steps is that of the data, found for each camera. Gain and sigma are of maximum
    likelihood on 8192 pixels of each camera and ISO, drawn at random: they cost 1 / 8192 nats per
    dimension on other noise of the model. The search starts from the fitted NLF.

    Attributes:
        parameters: of each camera and level `log_gain` and `log_sigma`, in raw intensity; of each
            camera `steps`, from 1 to 65536.
        has_latent: False.
        is_mass: True: it has no density.

    >>> numbers = {"log_gain": [[-7.0]], "log_sigma": [[-6.0]], "steps": [1023]}
    >>> model = PoissonGaussian(numbers, ["S6"], [100])
    >>> clean = tf.fill([1, 2, 2, 4], 0.1)
    >>> p = model(clean, 100, "S6")
    >>> print((p.log_prob(p.sample(seed=1)) / 16 < 0).numpy(), p.log_prob(0.3 / 1023 - clean))
    [ True] tf.Tensor([-inf], shape=(1,), dtype=float32)
    """

    kind = "poisson_gaussian"
    per_level = frozenset({"log_gain", "log_sigma"})
    has_latent = False
    is_mass = True

    def __init__(
        self,
        parameters: Mapping[str, Any],
        cameras: Sequence[str],
        iso_levels: Sequence[int],
        camera_levels: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(parameters, cameras, iso_levels, camera_levels)
        steps = self.parameters["steps"].numpy()
        if np.any(steps != np.rint(steps)) or steps.min() < 1 or steps.max() > _MOST_STEPS:
            raise ValueError(
                f"steps of {self.kind} must be whole numbers from 1 to {_MOST_STEPS}; got "
                f"{steps.tolist()}"
            )
        limits = {"log_gain": np.log(_LEAST_GAIN), "log_sigma": np.log(_LEAST_SIGMA / _MOST_STEPS)}
        for name, least in limits.items():
            value = self.parameters[name].numpy()
            if value.min() < least - 1e-3 or value.max() > 3:
                raise ValueError(
                    f"{name} of {self.kind} must be from {least:.1f} to 3; got "
                    f"{value.min():g} to {value.max():g}"
                )

    @classmethod
    def fit(cls, batches: Batches, cameras: Sequence[str]) -> Self:
        """Fit the model; see `Fitted.fit`.

        Raises:
            NotQuantisedError: a ValueError; noisy values, noise + clean, that are on no levels.
            ValueError: as `Fitted.fit`; shot noise of more than 100,000 photoelectrons at white.
        """
        nlf = FittedNLF.fit(batches, cameras)
        pixels = drawn_pixels(batches, cameras)
        space = space_of(pixels, cameras)
        steps = {
            camera: steps_of(
                {pair[1]: one for pair, one in pixels.items() if pair[0] == camera}, of
            )
            for camera, of in enumerate(cameras)
        }
        found = {}
        for (camera, iso), one in pixels.items():
            row = camera, nlf.iso_levels.index(iso)
            beta1, beta2 = (np.exp(float(nlf.parameters[n].numpy()[row])) for n in BETAS)
            found[camera, iso] = _fit(one, steps[camera], beta1, beta2)
            if found[camera, iso][0] < np.log(_LEAST_GAIN) + 1e-3:
                raise ValueError(
                    f"the noise of camera {cameras[camera]} at ISO {iso} has no shot noise of "
                    f"{_LEAST_GAIN:g} * clean or more; leave these images out"
                )
        logs = {
            name: table_of({pair: both[i] for pair, both in found.items()}, space)
            for i, name in enumerate(("log_gain", "log_sigma"))
        }
        return cls({**logs, "steps": [steps[camera] for camera in range(len(cameras))]}, **space)

    @classmethod
    def shapes(cls, cameras: int, levels: int) -> dict[str, tuple[int, ...]]:
        both = dict.fromkeys(("log_gain", "log_sigma"), (cameras, levels))
        return {**both, "steps": (cameras,)}

    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> "QuantisedNoise":
        """Return the distribution of the noise, batch `[B]`, event `[H, W, 4]`.

        Raises:
            ValueError: as `ConditionSpace.resolve`, for a camera or ISO that it was not fitted on.
        """
        conditions = self.condition_space.resolve(clean, iso, camera)
        gain, sigma = (tf.exp(self.at(name, conditions)) for name in ("log_gain", "log_sigma"))
        steps = tf.gather(self.parameters["steps"], conditions.camera)
        return QuantisedNoise(conditions.clean, gain=gain, sigma=sigma, steps=steps)

    def predicted_scale(self, clean: Any, iso: Any, camera: Any) -> tf.Tensor:
        """Return the standard deviation `[B, H, W, 4]` of the noise but for clipping.

        Its variance is gain * max(clean, 0) + sigma^2 + 1 / (12 steps^2), the last for rounding.
        """
        return self(packed(clean), iso, camera).stddev()


class QuantisedNoise(ImageNoise):
    """Noise whose noisy image has levels: batch shape `[B]`, event shape `[H, W, 4]`.

    `log_prob` is the logarithm of a probability, in nats. Noise with a value that is further than
    2% of a step from a level has the probability 0. `stddev` leaves out clipping. For the numbers,
    see `log_mass`.

    Attributes:
        is_mass: True; evaluation keeps log mass and log density apart by it.
    """

    is_mass = True
    numbers = ("gain", "sigma", "steps")

    def _log_prob(self, noise: tf.Tensor) -> tf.Tensor:
        gain, sigma, steps = self._of_pixels()
        clean = tf.cast(self._clean, tf.float64)
        in_steps = (tf.cast(noise, tf.float64) + clean) * steps
        level = tf.round(in_steps)
        is_level = (tf.abs(in_steps - level) < _OFF) & (level >= 0) & (level <= steps)
        within = tf.where(is_level, level, 0.0)
        mass = log_mass(within, clean, gain, sigma, steps)
        mass = tf.where(is_level, mass, -np.inf) + 0.0 * in_steps  # NaN stays NaN
        return tf.cast(tf.reduce_sum(mass, axis=[-3, -2, -1]), tf.float32)

    def _sample_n(self, n: int | tf.Tensor, seed: Any = None) -> tf.Tensor:
        gain, sigma, steps = self._of_pixels()
        seeds = tfp.random.split_seed(seed, 2, salt="quantised_noise")
        shape = tf.concat([[n], tf.shape(self._clean)], axis=0)
        clean = tf.cast(self._clean, tf.float64)
        mean = tf.broadcast_to(tf.maximum(clean, 0.0) / gain, shape)
        value = gain * tf.random.stateless_poisson(shape, seeds[0], mean, tf.float64)
        value += sigma * tf.random.stateless_normal(shape, seeds[1], dtype=tf.float64)
        level = tf.clip_by_value(tf.round(value * steps), 0.0, steps)
        return tf.cast(level / steps - clean, tf.float32)

    def _stddev(self) -> tf.Tensor:
        gain, sigma, steps = self._of_pixels()
        shot = gain * tf.maximum(tf.cast(self._clean, tf.float64), 0.0)
        variance = shot + tf.square(sigma) + 1 / (12 * tf.square(steps))
        return tf.cast(tf.sqrt(variance), tf.float32)


class Pixels(NamedTuple):
    """Some pixels of one camera and ISO, `[n]`, float64."""

    noisy: np.ndarray
    clean: np.ndarray


def drawn_pixels(batches: Batches, cameras: Sequence[str]) -> dict[Condition, Pixels]:
    """Draw pixels of each camera and ISO, those with the smallest of random numbers."""
    kept: dict[Condition, np.ndarray] = {}
    random = np.random.default_rng(0)
    for pair, group in groups(batches, cameras):
        noisy = (group.noise + group.clean).ravel()
        rows = np.stack([random.random(noisy.size), noisy, group.clean.ravel()])
        rows = np.concatenate([kept.get(pair, rows[:, :0]), rows], axis=1)
        kept[pair] = rows[:, np.argsort(rows[0])[:_PIXELS]]
    return {pair: Pixels(*rows[1:]) for pair, rows in sorted(kept.items())}


def steps_of(levels: Mapping[int, Pixels], camera: str) -> int:
    """Return the number of steps from 0 to 1, with which the values of a camera are whole numbers.

    Of all numbers with which no value is further than 2% of a step from a level, it is that with
    the smallest distance, and among multiples of it the smallest.
    """
    values = np.unique(np.concatenate([one.noisy for one in levels.values()]))
    some = values[np.linspace(0, len(values) - 1, _OF_STEPS).astype(int)]
    steps = np.arange(1, _MOST_STEPS + 1)
    for part in (some[:: _OF_STEPS // 31], some, values):  # few numbers are left after the first
        off = np.abs(np.outer(steps, part) - np.rint(np.outer(steps, part))).max(axis=1)
        one_level = np.rint(steps * part[0]) == np.rint(steps * part[-1])
        steps, off = (x[(off < _OFF) & ~one_level] for x in (steps, off))
        if part is some and len(steps):
            steps = steps[[np.argmin(off)]]
    of_best = int(steps[0]) if len(steps) else 0
    if not of_best or values[0] < -_OFF / of_best or values[-1] > 1 + _OFF / of_best:
        raise NotQuantisedError(
            f"the noisy values of camera {camera}, noise + clean, are not on levels from 0 to 1 in "
            "steps of 1 / n, n up to 65536: they are not quantised and clipped; fit fitted_nlf"
        )
    return of_best


def _fit(of: Pixels, steps: int, beta1: float, beta2: float) -> np.ndarray:
    """Return the logarithms of gain and sigma of maximum likelihood, by L-BFGS from an NLF."""
    level = np.rint(of.noisy * steps)
    least = np.log([_LEAST_GAIN, _LEAST_SIGMA / steps])
    read = max(beta2 - 1 / (12 * steps**2), (0.2 / steps) ** 2)
    start = np.clip([np.log(beta1), 0.5 * np.log(read)], least + 0.1, 0.0)
    moves = _DIFFERENCE * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    def nll(logs: np.ndarray) -> tuple[float, np.ndarray]:
        gain, sigma = np.exp(logs + moves).T[..., np.newaxis]
        here, *moved = -log_mass(level, of.clean, gain, sigma, steps).numpy().mean(axis=1)
        return here, (np.array(moved) - here) / _DIFFERENCE

    limits = [(low, 3.0) for low in least]
    options = {"ftol": 1e-10, "gtol": 1e-5, "maxiter": 20}
    return minimize(nll, start, jac=True, method="L-BFGS-B", bounds=limits, options=options).x
