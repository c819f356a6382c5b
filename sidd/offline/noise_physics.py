"""The noise of the offline dataset: phone sensors with physics that a camera NLF leaves out.

METADATA states a camera's noise level function (NLF), variance = beta1 y + beta2
(`noise_profile`; the Poissonian-Gaussian model of Foi et al. [1]). What the sensor does to a clean
intensity y in [0, 1] is

1. shot noise: a Poisson number of photoelectrons, a P(y / a) with a = s beta1;
2. read noise of variance r beta2 from a Tukey-lambda distribution, whose tails are heavier than a
   Gaussian's (measured on real sensors in low light by Wei et al. [2]);
3. crosstalk: charge and signal leak to the adjacent pixels of the Bayer plane, so that neighbours'
   noises are correlated ([3], chapter on crosstalk; [4]). The kernel has unit energy: it moves
   no variance, only correlates;
4. row noise: one offset per row of the upright sensor, from its shared readout ([2]);
5. quantisation to the sensor's 10 bits (EMVA 1288 [5]: a uniform error of a step's variance / 12);
6. clipping to [0, 1], at black and at the full well ([1]).

The factors s and r are each camera's own (`sidd.cameras`): makers calibrate an NLF on a few
devices, and in the Noise Flow paper the real NLFs of SIDD are 0.4 nats per dimension worse than
the same formula fitted to the data.

[1] Foi, Trimeche, Katkovnik and Egiazarian, "Practical Poissonian-Gaussian noise modeling and
    fitting for single-image raw-data", IEEE TIP 17(10), 2008.
[2] Wei, Fu, Yang and Huang, "A physics-based noise formation model for extreme low-light raw
    denoising", CVPR 2020.
[3] Holst and Lomheim, "CMOS/CCD sensors and camera systems", 2nd edition, SPIE, 2011.
[4] Healey and Kondepudy, "Radiometric CCD camera calibration and noise estimation", IEEE TPAMI
    16(3), 1994.
[5] EMVA Standard 1288, "Characterization of image sensors and cameras", release 3.1, 2016.
"""

import numpy as np
from scipy.ndimage import convolve
from scipy.special import gamma

from sidd.cameras import BY_CODE, Sensor
from sidd.errors import SiddError

BIT_DEPTH = 10
"""Analogue-to-digital resolution of the sensors."""

TUKEY_LAMBDA = -0.1
"""Shape of the read noise's Tukey-lambda distribution: 0.14 is near Gaussian, less is heavier."""


def sensor_of(camera: str) -> Sensor:
    """Return the made-up sensor of a camera.

    Raises:
        SiddError: if the camera has none.
    """
    row = BY_CODE.get(camera)
    if row is None or row.sensor is None:
        allowed = ", ".join(code for code, row in BY_CODE.items() if row.sensor)
        raise SiddError(f"no made-up sensor for camera {camera}; allowed: {allowed}")
    return row.sensor


def noise_profile(camera: str, iso: int) -> tuple[float, float]:
    """Return the NLF (beta1, beta2) that METADATA states for a camera at an ISO level.

    Shot noise grows with the gain, and so with ISO. Of read noise, the part from before the
    amplifier does, and the part from behind it does not: beta2 = read (0.8 + 0.2 (ISO / 100)^1.5).

    >>> beta1, beta2 = noise_profile("GP", 400)
    >>> round(beta1, 6), round(beta2, 9)
    (0.00104, 5.76e-06)
    """
    if not iso > 0:
        raise ValueError(f"ISO must be positive; got {iso}")
    sensor, gain = sensor_of(camera), iso / 100
    return sensor.shot * gain, sensor.read * (0.8 + 0.2 * gain**1.5)


def true_profile(camera: str, iso: int) -> tuple[float, float]:
    """Return the true (a, b) of variance = a y + b, before quantisation and clipping.

    These are `noise_profile` times the sensor's factors, with row noise.
    """
    sensor, (beta1, beta2) = sensor_of(camera), noise_profile(camera, iso)
    return sensor.shot_factor * beta1, sensor.read_factor * beta2 * (1 + sensor.row**2)


def crosstalk_kernel(camera: str) -> np.ndarray:
    """Return the kernel [3, 3] that correlates a camera's noise, of unit energy.

    >>> float(np.sum(crosstalk_kernel("S6") ** 2).round(12))
    1.0
    """
    along, across = sensor_of(camera).crosstalk
    kernel = np.outer([across, 1, across], [along, 1, along])
    return kernel / np.linalg.norm(kernel)


def expose(clean: np.ndarray, camera: str, iso: int, random: np.random.Generator) -> np.ndarray:
    """Return a noisy shot, float32, of a clean upright Bayer image [H, W] in [0, 1]."""
    sensor = sensor_of(camera)
    shot, _ = true_profile(camera, iso)
    read = np.sqrt(sensor.read_factor * noise_profile(camera, iso)[1])
    noise = shot * random.poisson(clean / shot) - clean
    noise += read * tukey_lambda(clean.shape, random)
    noise = convolve(noise, crosstalk_kernel(camera), mode="reflect")
    noise += read * sensor.row * random.standard_normal((clean.shape[0], 1))
    return quantise(clean + noise, BIT_DEPTH)


def quantise(image: np.ndarray, bits: int) -> np.ndarray:
    """Round to steps of 2^-bits, which float32 stores exactly, and clip to [0, 1]; float32."""
    return np.clip(np.rint(image * 2.0**bits) / 2.0**bits, 0, 1).astype(np.float32)


def tukey_lambda(
    shape: tuple[int, ...], random: np.random.Generator, shape_parameter: float = TUKEY_LAMBDA
) -> np.ndarray:
    """Draw Tukey-lambda variates of variance 1, by the quantile function (u^l - (1 - u)^l) / l."""
    power = shape_parameter
    uniform = random.uniform(1e-12, 1, shape)
    variates = (uniform**power - (1 - uniform) ** power) / power
    variance = 2 / power**2 * (1 / (1 + 2 * power) - gamma(1 + power) ** 2 / gamma(2 + 2 * power))
    return variates / np.sqrt(variance)
