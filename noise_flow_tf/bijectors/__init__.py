"""The bijectors of Noise Flow, pure functions of their parameters."""

from noise_flow_tf.bijectors.affine_coupling import AffineCoupling, ShiftAndLogScale
from noise_flow_tf.bijectors.causal_filter import CausalFilter
from noise_flow_tf.bijectors.gain import Gain
from noise_flow_tf.bijectors.invertible_conv1x1 import InvertibleConv1x1
from noise_flow_tf.bijectors.one_pass import NoCache, OnePassBijector, Updates
from noise_flow_tf.bijectors.signal_dependent import SignalDependent

__all__ = [
    "AffineCoupling",
    "CausalFilter",
    "Gain",
    "InvertibleConv1x1",
    "NoCache",
    "OnePassBijector",
    "ShiftAndLogScale",
    "SignalDependent",
    "Updates",
]
