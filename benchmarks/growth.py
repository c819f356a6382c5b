"""The growth of time with the size of batches and images."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from noise_flow_tf import plotting

_LARGE = 10

Seconds = Mapping[float, float]
"""Seconds by size."""


def exponent(seconds: Seconds) -> float:
    """Fit the slope of log time over log size, to the sizes within a factor of ten of the largest.

    It is 1 if time is linear in size.

    >>> round(exponent({1: 5.0, 10: 20.0, 100: 200.0}), 3)
    1.0
    """
    largest = max(seconds)
    points = [(size, time) for size, time in seconds.items() if size >= largest / _LARGE]
    if len(points) < 2:
        raise ValueError(f"growth needs two sizes within a factor of {_LARGE}; got {[*seconds]}")
    size, time = np.log(np.transpose(points))
    return float(np.polyfit(size, time, 1)[0])


def draw(batches: Mapping[str, Seconds], images: Seconds) -> Figure:
    """Plot time over size on logarithmic axes, with the exponents.

    Args:
        batches: by operation, seconds by patches in a batch.
        images: seconds by megapixels of a whole image; may be empty.
    """
    charts = []
    if batches:
        charts.append(
            plotting.Chart(
                {_title(name, seconds): _curve(seconds) for name, seconds in batches.items()},
                "A batch of 32 x 32 patches",
                "patches in the batch",
                "seconds",
                loglog=True,
            )
        )
    if images:
        charts.append(
            plotting.Chart(
                {_title("sampling", images): _curve(images)},
                "A whole image",
                "megapixels",
                "seconds",
                loglog=True,
            )
        )
    return plotting.charts(*charts)


def _title(name: str, seconds: Seconds) -> str:
    return f"{name}: size to the power of {exponent(seconds):.2f}"


def _curve(seconds: Seconds) -> tuple[list[float], list[float]]:
    sizes = sorted(seconds)
    return sizes, [seconds[size] for size in sizes]
