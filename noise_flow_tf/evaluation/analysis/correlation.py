"""Correlation of noise between neighbouring pixels and between the channels of a packed pixel."""

import numpy as np


class Correlation:
    """Correlation coefficients of noise with itself, some pixels away and in other channels.

        rho[dy, dx, c, c'] = E[n(y, x, c) n(y + dy, x + dx, c')] / (sigma_c sigma_c')

    with n free of its mean in each channel. They are taken of each image and then averaged over
    images, so that the strong noise of some does not drown the others'. Channels lie as packed,
    (0,0), (0,1), (1,1), (1,0): at lag 0, those of two channels are the correlations of adjacent
    pixels of the Bayer image.

    >>> white = np.random.default_rng(0).normal(size=(10, 32, 32, 4))
    >>> correlation = Correlation(max_lag=1)
    >>> correlation.add(white)
    >>> rho = correlation.mean()
    >>> rho.shape, round(float(rho[1, 1, 0, 0]), 6), bool(abs(rho[0, 0]).max() < 0.05)
    ((3, 3, 4, 4), 1.0, True)
    """

    def __init__(self, max_lag: int = 2) -> None:
        """Look at lags of up to `max_lag` packed pixels in each direction."""
        if max_lag < 0:
            raise ValueError(f"max_lag must not be negative; got {max_lag}")
        self.max_lag = max_lag
        self._images: list[np.ndarray] = []

    def add(self, noise: np.ndarray) -> None:
        """Add the noise of one image, `[N, h, w, C]`: all its patches, each above `max_lag` wide.

        An image with a channel that does not vary at all says nothing, and is skipped.

        Raises:
            ValueError: patches of another rank, or too small for `max_lag`.
        """
        noise = np.asarray(noise)
        if noise.ndim != 4 or min(noise.shape[1:3], default=0) <= self.max_lag:
            raise ValueError(
                f"noise must have shape [N, h, w, C], h and w above {self.max_lag}; got "
                f"{list(noise.shape)}"
            )
        noise = noise - noise.mean(axis=(0, 1, 2), dtype=np.float64).astype(noise.dtype)
        stddev = noise.std(axis=(0, 1, 2), dtype=np.float64)
        if not stddev.all():
            return
        size, channels = 2 * self.max_lag + 1, noise.shape[-1]
        rho = np.empty((size, size, channels, channels))
        for dy in range(self.max_lag + 1):
            for dx in range(-self.max_lag, self.max_lag + 1):
                here, there = _shifted(noise, dy, dx), _shifted(noise, -dy, -dx)
                products = here.reshape(-1, channels).T @ there.reshape(-1, channels)
                moment = products / (here.size // channels)
                rho[self.max_lag + dy, self.max_lag + dx] = moment
                rho[self.max_lag - dy, self.max_lag - dx] = moment.T
        self._images.append(rho / np.outer(stddev, stddev))

    def mean(self) -> np.ndarray:
        """Return the coefficients, `[2 max_lag + 1, 2 max_lag + 1, C, C]`, lag 0 in the middle.

        Raises:
            ValueError: there is no image.
        """
        if not self._images:
            raise ValueError("correlation needs at least one image whose noise varies")
        return np.mean(self._images, axis=0)


def correlation_error(rho: np.ndarray, real: np.ndarray) -> float:
    """Return the RMS difference of two sets of coefficients.

    Each channel with itself at lag 0 does not count. White noise has the RMS of the real
    coefficients themselves.
    """
    known = np.zeros(real.shape, bool)
    known[real.shape[0] // 2, real.shape[1] // 2] = np.eye(real.shape[-1], dtype=bool)
    return float(np.sqrt(np.mean(np.square(rho - real)[~known])))


def _shifted(noise: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Return the pixels that have one (dy, dx) further inside the patch."""
    height, width = noise.shape[1:3]
    rows = slice(max(0, -dy), height - max(0, dy))
    columns = slice(max(0, -dx), width - max(0, dx))
    return noise[:, rows, columns]
