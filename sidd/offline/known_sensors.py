"""Sensors whose exact likelihood is known, to measure how far a noise model is from the truth.

On noise of such a sensor no model has a lower expected negative log-likelihood than the sensor
itself, so that the difference is the model's Kullback-Leibler divergence from the truth. All are
made up; shot and read noise are those of the offline dataset's sensors (`sidd.cameras`).

A sensor with quantisation has no density: `log_prob` is the logarithm of a probability mass. A
model that is a density can be scored on its noise after uniform `dequantise`: with steps of size d,
the mean of log(d q(x + u)) over u is at most the log mass that the model q gives to the level
(Jensen; Theis, van den Oord and Bethge, "A note on the evaluation of generative models", ICLR
2016). So a model's NLL of dequantised noise, plus log(1 / d) per dimension, is an upper bound of
its NLL in nats of mass, and the truth's own NLL in a density's terms is that of its mass less
log(1 / d) per dimension.
"""

import abc

import numpy as np
from scipy.special import gammaln, ndtr

from sidd.offline.noise_physics import BIT_DEPTH, noise_profile, quantise, sensor_of

_STEP = 2048  # pixels whose masses are summed at once
_WIDTH = 8  # standard deviations of the photon count on each side that are summed


class KnownSensor(abc.ABC):
    """A sensor that draws noise and gives its exact log-likelihood.

    Attributes:
        bits: of its quantisation; None if its noise has a density.
    """

    bits: int | None = None

    @abc.abstractmethod
    def variance(self, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        """Return the variance of the noise, but for clipping, quantisation and patches' edges."""

    @abc.abstractmethod
    def draw(
        self, clean: np.ndarray, camera: str, iso: int, random: np.random.Generator
    ) -> np.ndarray:
        """Return noise `[B, h, w, 4]`, float32, for clean packed patches in [0, 1].

        Raises:
            ValueError: patches of another shape, not floating point, or outside [0, 1]; an ISO
                that is not positive.
            SiddError: a camera without a made-up sensor.
        """

    @abc.abstractmethod
    def log_prob(self, noise: np.ndarray, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        """Return the log-likelihood of each patch's noise, `[B]`, in nats.

        Of a density in raw intensity, or, if the sensor has `bits`, of a probability mass.

        Raises:
            ValueError: as `draw`; noise of another shape or not finite; or, with `bits`, noise that
                does not lead to levels of the sensor.
            SiddError: a camera without a made-up sensor.
        """


class GaussianSensor(KnownSensor):
    """Heteroscedastic Gaussian noise, white or with a known stationary correlation.

    Its variance is a y + b, where a grows with ISO and b does not. Correlated noise is
    s(y) A (z + K z): z is standard normal; K adds, to channels 2 and 3, channels 0 and 1 of the
    packed pixels to the left and above; A leaks between adjacent channels of a packed pixel;
    outside of the patch, z is 0. The rows of A are scaled to keep the variance. A Noise Flow of the
    release's form has this sensor in its class: a signal layer for s, 1 x 1 convolutions for A, and
    one coupling for K.

    >>> clean, random = np.full([1, 8, 8, 4], 0.5), np.random.default_rng(0)
    >>> sensor = GaussianSensor()
    >>> noise = sensor.draw(clean, "S6", 400, random)
    >>> noise.shape, sensor.log_prob(noise, clean, "S6", 400).shape
    ((1, 8, 8, 4), (1,))
    """

    def __init__(
        self, correlated: bool = False, leak: float = 0.2, neighbours: float = 0.25
    ) -> None:
        """Make the sensor.

        Args:
            correlated: whether there is any correlation.
            leak: from an adjacent channel, A; below 0.5.
            neighbours: the weight of the pixels to the left and above, in K.

        Raises:
            ValueError: a leak that is not between 0 and 0.5, or neighbours not finite.
        """
        if not 0 <= leak < 0.5:
            raise ValueError(f"leak must be from 0 to below 0.5; got {leak}")
        if not np.isfinite(neighbours):
            raise ValueError(f"neighbours must be finite; got {neighbours}")
        ring = np.roll(np.eye(4), 1, axis=1) + np.roll(np.eye(4), -1, axis=1)
        self._neighbours = neighbours if correlated else 0.0
        mix = np.eye(4) + (leak * ring if correlated else 0.0)
        of_z = np.array([1.0, 1.0, *[1 + 2 * self._neighbours**2] * 2])
        self._mix = mix / np.sqrt(np.square(mix) @ of_z)[:, None]
        _, self._log_det = np.linalg.slogdet(self._mix)

    def variance(self, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        sensor = sensor_of(camera)
        return sensor.shot_factor * sensor.shot * iso / 100 * clean + self.offset(camera)

    def offset(self, camera: str) -> float:
        """Return b, which is the same at all ISO levels."""
        sensor = sensor_of(camera)
        return 4 * sensor.read_factor * sensor.read

    def draw(
        self, clean: np.ndarray, camera: str, iso: int, random: np.random.Generator
    ) -> np.ndarray:
        clean = _checked(clean, camera, iso)
        z = random.standard_normal(clean.shape)
        z[..., 2:] += self._added(z[..., :2])
        noise = np.sqrt(self.variance(clean, camera, iso)) * (z @ self._mix.T)
        return noise.astype(np.float32)

    def log_prob(self, noise: np.ndarray, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        clean = _checked(clean, camera, iso)
        variance = self.variance(clean, camera, iso)
        z = (_noise_for(noise, clean) / np.sqrt(variance)) @ np.linalg.inv(self._mix).T
        z[..., 2:] -= self._added(z[..., :2])
        pixels = clean[0, ..., 0].size
        log_normal = -0.5 * np.sum(np.square(z) + np.log(2 * np.pi * variance), axis=(1, 2, 3))
        return log_normal - pixels * self._log_det

    def entropy(self, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        """Return the exact entropy of each patch's noise, `[B]`, in nats."""
        variance = self.variance(_checked(clean, camera, iso), camera, iso)
        each = 0.5 * np.log(2 * np.pi * np.e * variance)
        return np.sum(each, axis=(1, 2, 3)) + clean[0, ..., 0].size * self._log_det

    def _added(self, first: np.ndarray) -> np.ndarray:
        """Return K z for channels 2 and 3, from channels 0 and 1, `[B, h, w, 2]`."""
        added = np.zeros_like(first)
        added[:, :, 1:] += self._neighbours * first[:, :, :-1]
        added[:, 1:] += self._neighbours * first[:, :-1]
        return added


class PoissonGaussianSensor(KnownSensor):
    """Photon counts, Gaussian read noise, quantisation and clipping: exact mass by summation.

    A pixel's level is round(2^bits (a N + r)), clipped to 0 .. 2^bits, with N Poisson of mean y / a
    and r normal of variance b. Its mass is the sum over N of Poisson(N; y / a) times the normal
    mass of the level's interval; the levels 0 and 2^bits have all that is clipped. The sum leaves
    out counts that are more than eight standard deviations off. Pixels are independent.
    """

    def __init__(self, bits: int = BIT_DEPTH) -> None:
        """Make the sensor with levels of 2^-bits.

        Raises:
            ValueError: bits that are not from 4 to 16.
        """
        if not 4 <= bits <= 16:
            raise ValueError(f"bits must be from 4 to 16; got {bits}")
        self.bits: int = bits

    def gain_and_read(self, camera: str, iso: int) -> tuple[float, float]:
        """Return a, the intensity of one photon, and b, the variance of read noise."""
        sensor, (beta1, beta2) = sensor_of(camera), noise_profile(camera, iso)
        return sensor.shot_factor * beta1, sensor.read_factor * beta2

    def variance(self, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        gain, read = self.gain_and_read(camera, iso)
        return gain * clean + read

    def draw(
        self, clean: np.ndarray, camera: str, iso: int, random: np.random.Generator
    ) -> np.ndarray:
        clean = _checked(clean, camera, iso)
        gain, read = self.gain_and_read(camera, iso)
        signal = gain * random.poisson(clean / gain)
        signal += np.sqrt(read) * random.standard_normal(clean.shape)
        return (quantise(signal, self.bits) - clean).astype(np.float32)

    def log_prob(self, noise: np.ndarray, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        clean = _checked(clean, camera, iso)
        exact = (clean + _noise_for(noise, clean)) * 2.0**self.bits
        levels = np.rint(exact)
        if np.abs(exact - levels).max() > 0.01 or levels.min() < 0 or levels.max() > 2**self.bits:
            raise ValueError(
                f"clean + noise is not on the sensor's levels, 0 to 2^{self.bits} in steps of "
                f"2^-{self.bits}; score dequantised noise with a density"
            )
        gain, read = self.gain_and_read(camera, iso)
        mass = self._log_mass(levels.ravel(), clean.ravel() / gain, gain, np.sqrt(read))
        return mass.reshape(len(clean), -1).sum(axis=1)

    def _log_mass(
        self, levels: np.ndarray, photons: np.ndarray, gain: float, read: float
    ) -> np.ndarray:
        """Return the log mass of each pixel's level, given its expected number of photons."""
        found, steps = np.empty(len(levels)), 2.0**self.bits
        order = np.argsort(photons)  # so that those summed at once need as many terms
        for start in range(0, len(order), _STEP):
            part = order[start : start + _STEP]
            level, mean = levels[part, None], photons[part, None]
            reach = int(np.ceil(_WIDTH * (np.sqrt(mean[-1, 0]) + 1)))
            counts = np.floor(mean) + np.arange(-reach, reach + 1)
            kept = np.maximum(counts, 0.0)
            log_poisson = np.where(
                counts >= 0, kept * np.log(np.maximum(mean, 1e-300)) - mean - gammaln(kept + 1),
                -np.inf,
            )  # fmt: skip
            upper = np.where(level == steps, np.inf, (level + 0.5) / steps)
            lower = np.where(level == 0, -np.inf, (level - 0.5) / steps)
            above, below = ((edge - gain * kept) / read for edge in (upper, lower))
            flip = below > 0  # the tails of ndtr are exact on the left only
            normal = ndtr(np.where(flip, -below, above)) - ndtr(np.where(flip, -above, below))
            total = np.sum(np.exp(log_poisson) * normal, axis=1)
            found[part] = np.log(np.maximum(total, 1e-300))
        return found


def dequantise(noise: np.ndarray, bits: int, random: np.random.Generator) -> np.ndarray:
    """Return noise of a sensor with `bits`, with uniform noise of one step added, float32.

    Raises:
        ValueError: noise that is empty or not finite.

    >>> noise = dequantise(np.zeros(1000), 10, np.random.default_rng(0))
    >>> bool(abs(noise).max() <= 0.5 / 1024)
    True
    """
    noise = np.asarray(noise, np.float64)
    if not noise.size or not np.isfinite(noise).all():
        raise ValueError("the noise to dequantise is empty or holds NaN or infinity")
    return (noise + random.uniform(-0.5, 0.5, noise.shape) / 2.0**bits).astype(np.float32)


def _checked(clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
    clean = np.asarray(clean)
    if clean.ndim != 4 or clean.shape[-1] != 4 or not clean.size:
        raise ValueError(f"clean patches are packed, [B, h, w, 4]; got {[*clean.shape]}")
    if not np.issubdtype(clean.dtype, np.floating):
        raise ValueError(f"clean patches are floating point in [0, 1]; got {clean.dtype}")
    if not (clean.min() >= 0 and clean.max() <= 1):  # NaN fails, too
        raise ValueError("clean patches have values outside [0, 1], or NaN")
    sensor_of(camera)
    if not iso > 0:
        raise ValueError(f"ISO must be positive; got {iso}")
    return clean.astype(np.float64)


def _noise_for(noise: np.ndarray, clean: np.ndarray) -> np.ndarray:
    noise = np.asarray(noise, np.float64)
    if noise.shape != clean.shape:
        raise ValueError(f"noise is {[*noise.shape]}, the clean patches are {[*clean.shape]}")
    if not np.isfinite(noise).all():
        raise ValueError("the noise holds NaN or infinity")
    return noise
