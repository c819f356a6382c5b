"""What marginal KL does not see: correlation, signal dependence, calibration, temperature."""

from noise_flow_tf.evaluation.analysis.calibration import Calibration
from noise_flow_tf.evaluation.analysis.correlation import Correlation, correlation_error
from noise_flow_tf.evaluation.analysis.intensity import VarianceOverIntensity
from noise_flow_tf.evaluation.analysis.temperature import TEMPERATURES, KLOverTemperature

__all__ = [
    "TEMPERATURES",
    "Calibration",
    "Correlation",
    "KLOverTemperature",
    "VarianceOverIntensity",
    "correlation_error",
]
