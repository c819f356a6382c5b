"""Models that are called like a `NoiseFlow`: the paper's baselines, and fitted ones."""

from noise_flow_tf.baselines.camera_nlf import CameraNLF
from noise_flow_tf.baselines.eld import ELD
from noise_flow_tf.baselines.fitted import Fitted
from noise_flow_tf.baselines.fitted_nlf import FittedNLF
from noise_flow_tf.baselines.gaussian import GaussianNoise
from noise_flow_tf.baselines.linear_gaussian import LinearGaussian
from noise_flow_tf.baselines.poisson_gaussian import PoissonGaussian
from noise_flow_tf.baselines.shared_nlf import SharedNLF

__all__ = [
    "ELD",
    "CameraNLF",
    "Fitted",
    "FittedNLF",
    "GaussianNoise",
    "LinearGaussian",
    "PoissonGaussian",
    "SharedNLF",
]
