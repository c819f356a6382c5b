"""The layers of an architecture."""

from collections.abc import Sequence
from importlib import import_module

import numpy as np

from noise_flow_tf.architecture import CODES
from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.layers.layer import CLASSES, BuildOptions, Layer


def build(
    codes: Sequence[str], width: int, rng: np.random.Generator, space: ConditionSpace
) -> list[Layer]:
    """Make the layers of parsed codes, in the same order.

    Args:
        codes: from `architecture.parse`.
        width: the number of hidden channels of the couplings.
        rng: the source of initial values.
        space: the supported cameras and ISO levels.
    """
    options = BuildOptions(width, rng, space)
    layers: list[Layer] = []
    for code in codes:
        import_module(f"noise_flow_tf.layers.{CODES[code].module}")
        layer = CLASSES[code].build(code, options)
        layer.code = code
        layers.append(layer)
    for layer in layers:
        layer.connect(layers)
    return layers
