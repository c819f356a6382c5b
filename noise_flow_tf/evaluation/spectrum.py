"""Whether noise has its energy at the frequencies where real noise has it."""

import numpy as np
from numpy.typing import ArrayLike

from noise_flow_tf.evaluation.local_variance import local_variance
from noise_flow_tf.evaluation.noises import Noises, checked, unpacked

BANDS = 8
"""Of |frequency| along each axis, between 0 and 1/2 cycles per pixel of the Bayer plane."""


def spectrum_divergence(real: ArrayLike, synthetic: ArrayLike) -> float:
    """Return the divergence of two power spectra, in nats per dimension.

    Noise is divided by its local scale, the root of its mean square in a 7 x 7 Gaussian window, so
    that strength does not count. The power spectra of the patches' Bayer planes are averaged over
    patches and in 8 x 8 bands of |frequency|, and divided by their mean. The result is
    mean(P_r / P_s - 1 - log(P_r / P_s)) / 2, weighted by the frequencies of a band: what Gaussian
    noise of the real spectrum P_r has to pay, in likelihood, for being taken for that of P_s
    (Whittle's approximation, "Hypothesis testing in time series analysis", 1951). Division by the
    noise's own local scale takes up to a tenth off that of noise of one strength.

    Args:
        real: real noise `[B, h, w, 4]`, h and w at least 8, in units of raw intensity.
        synthetic: sampled noise for the same patches.

    Raises:
        ValueError: noise of another shape, empty, too small, integer, constant or not finite.
    """
    noises = checked(real, synthetic, least=BANDS)
    value = divergence_of_spectra(spectra(noises).sum(axis=0))
    if value is None:
        raise ValueError("the noise has no power in a band of frequencies; give other patches")
    return value


def spectra(noises: Noises) -> np.ndarray:
    """Return each patch's power in bands of frequency, real and synthetic, `[B, 2, 8, 8, 2]`.

    The last axis has the power of a band and its number of frequencies; these add over patches.
    """
    patches, height, width, _ = noises.real.shape
    rows, columns = (_bands(2 * side) for side in (height, width))
    index = (BANDS * rows[:, None] + columns).ravel()
    counts = np.bincount(index, minlength=BANDS**2).reshape(BANDS, BANDS)
    found = np.empty((patches, 2, BANDS, BANDS, 2))
    found[..., 1] = counts
    of_patch = (BANDS**2 * np.arange(patches)[:, None] + index).ravel()
    for which, noise in enumerate(noises[:2]):
        scaled = unpacked(noise / np.sqrt(local_variance(noise)))
        power = np.square(np.abs(np.fft.fft2(scaled))) / scaled[0].size
        sums = np.bincount(of_patch, power.ravel(), minlength=patches * BANDS**2)
        found[:, which, ..., 0] = sums.reshape(patches, BANDS, BANDS)
    return found


def divergence_of_spectra(sums: np.ndarray) -> float | None:
    """Return the `spectrum_divergence` of `spectra`; None where a band has no power."""
    power, counts = sums[..., 0], sums[0, ..., 1]
    known = counts > 0
    if not (power[:, known] > 0).all():
        return None
    density = power[:, known] / counts[known]
    weights = counts[known] / counts.sum()
    density /= (density @ weights)[:, None]
    ratio = density[0] / density[1]
    return float(weights @ (ratio - 1 - np.log(ratio))) / 2


def _bands(size: int) -> np.ndarray:
    return np.minimum((2 * BANDS * np.abs(np.fft.fftfreq(size))).astype(int), BANDS - 1)
