"""How time grows with the batch and with the image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from noise_flow_tf import plotting

_LARGE = 10


def exponent(seconds: Mapping[float, float]) -> float:
    """The slope of log time over log size, of the sizes within a factor of ten of the largest.

    1 where time is linear in size.

    >>> round(exponent({1: 5.0, 10: 20.0, 100: 200.0}), 3)
    1.0
    """
    largest = max(seconds)
    points = [(size, taken) for size, taken in seconds.items() if size >= largest / _LARGE]
    if len(points) < 2:
        raise ValueError(f"growth needs two sizes within a factor of {_LARGE}; got {[*seconds]}")
    size, taken = np.log(np.transpose(points))
    return float(np.polyfit(size, taken, 1)[0])


def draw(batches: Mapping[str, Mapping[int, float]], images: Mapping[float, float]) -> Figure:
    """Time over size on logarithmic axes, with the exponents.

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


def _title(name: str, seconds: Mapping[float, float]) -> str:
    return f"{name}: size to the power of {exponent(seconds):.2f}"


def _curve(seconds: Mapping[float, float]) -> tuple[list[float], list[float]]:
    sizes = sorted(seconds)
    return sizes, [seconds[size] for size in sizes]
