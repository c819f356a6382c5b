"""AKLD: whether noise is strong where real noise is, by variances in small windows.

Yue, Zhao, Zhang and Meng, "Dual adversarial network: toward real-world noise removal and noise
generation", ECCV 2020.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import correlate1d

from noise_flow_tf.evaluation.noises import Noises, checked

WINDOW = np.array([1, 3.5, 7, 9, 7, 3.5, 1]) / 32
"""One side of the 7 x 7 Gaussian window: the weights that OpenCV has for that size."""

_LEAST = 1e-10  # of a variance, (1e-5)^2: far below one step of any camera's quantisation


def akld(real: ArrayLike, synthetic: ArrayLike) -> float:
    """Return the average KL divergence (AKLD), in nats, of local Gaussians.

    At each pixel of each packed channel, noise is taken for N(0, V), with V the mean of its squares
    in a 7 x 7 Gaussian window (mirrored at the edges); the AKLD is the mean over all pixels of
    KL(N(0, V_synthetic) || N(0, V_real)) = (V_s / V_r - 1 - log(V_s / V_r)) / 2. The program of the
    authors also limits the ratio of variances to [0.1, 10]; this does not. Two draws of one sensor
    have an AKLD well above 0, since a window has the information of only 25 independent values.

    Args:
        real: real noise `[B, h, w, 4]`, h and w at least 7, in units of raw intensity.
        synthetic: sampled noise for the same patches.

    Raises:
        ValueError: noise of another shape, empty, too small, integer, constant or not finite.

    >>> signs = np.random.default_rng(0).choice([-1.0, 1.0], [1, 8, 8, 4])
    >>> round(akld(0.1 * signs, 0.2 * signs), 4)  # (4 - 1 - log(4)) / 2
    0.8069
    """
    return float(akld_of_patches(checked(real, synthetic, least=len(WINDOW))).mean())


def akld_of_patches(noises: Noises) -> np.ndarray:
    """Return the `akld` of each patch, `[B]`."""
    ratio = local_variance(noises.synthetic) / local_variance(noises.real)
    return np.mean(ratio - 1 - np.log(ratio), axis=(1, 2, 3)) / 2


def local_variance(noise: np.ndarray) -> np.ndarray:
    """Return the mean square of noise `[B, h, w, C]` around each pixel, at least 1e-10."""
    squares = np.square(noise, dtype=np.float64)
    for axis in (1, 2):
        squares = correlate1d(squares, WINDOW, axis=axis, mode="mirror")
    return np.maximum(squares, _LEAST)
