"""The trainable parts of Noise Flow: they own variables and make bijectors for conditions."""

from noise_flow_tf.layers.building import build
from noise_flow_tf.layers.layer import CHANNELS, BuildOptions, Layer, Summaries, live, tag, tagged

__all__ = ["CHANNELS", "BuildOptions", "Layer", "Summaries", "build", "live", "tag", "tagged"]
