"""The trainable parts of Noise Flow: own variables, and given conditions build the bijectors."""

from noise_flow_tf.layers.building import build
from noise_flow_tf.layers.flow_step import LOWER_PLACES, UPPER_PLACES, FlowStep
from noise_flow_tf.layers.gain import GainLayer
from noise_flow_tf.layers.layer import CHANNELS, Layer
from noise_flow_tf.layers.paper_gain import PaperGainLayer
from noise_flow_tf.layers.paper_signal import PaperSignalLayer
from noise_flow_tf.layers.signal import SignalLayer

__all__ = [
    "CHANNELS",
    "LOWER_PLACES",
    "UPPER_PLACES",
    "FlowStep",
    "GainLayer",
    "Layer",
    "PaperGainLayer",
    "PaperSignalLayer",
    "SignalLayer",
    "build",
]
