"""The layers of an architecture."""

import numpy as np

from noise_flow_tf.conditions import Known
from noise_flow_tf.layers.flow_step import FlowStep
from noise_flow_tf.layers.gain import GainLayer
from noise_flow_tf.layers.layer import Layer
from noise_flow_tf.layers.paper_gain import PaperGainLayer
from noise_flow_tf.layers.paper_signal import PaperSignalLayer
from noise_flow_tf.layers.signal import SignalLayer


def build(codes: list[str], width: int, rng: np.random.Generator, known: Known) -> list[Layer]:
    """The layers for parsed codes, in the same order.

    Args:
        codes: what `parse` gave.
        width: the number of hidden channels of the couplings.
        rng: where initial values are drawn from.
        known: the cameras and ISO levels to have parameters for.
    """
    paper_gain = None
    if "eq14" in codes or "eq16" in codes:
        paper_gain = PaperGainLayer("eq16" in codes, known, name="gain")
    make = {
        "sdn4": lambda: SignalLayer(0, known, name="signal"),
        "sdn5": lambda: SignalLayer(3, known, name="signal"),
        "sdn6": lambda: SignalLayer(1, known, name="signal"),
        "gain4": lambda: GainLayer(name="gain"),
        "unc": lambda: FlowStep(width, rng, name="flow_step"),
        "eq12": lambda: PaperSignalLayer(paper_gain, name="signal"),
        "eq14": lambda: paper_gain,
        "eq16": lambda: paper_gain,
    }
    return [make[code]() for code in codes]
