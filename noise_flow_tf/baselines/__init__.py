"""The baselines of the paper, called like a `NoiseFlow`."""

from noise_flow_tf.baselines.camera_nlf import CameraNLF
from noise_flow_tf.baselines.gaussian import GaussianNoise

__all__ = ["CameraNLF", "GaussianNoise"]
