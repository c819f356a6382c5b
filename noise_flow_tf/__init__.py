"""Noise Flow in TensorFlow 2: a conditional normalizing flow of smartphone-camera noise.

Noise Flow: Noise Modeling with Conditional Normalizing Flows, Abdelhamed, Brubaker and Brown,
ICCV 2019.
"""

from typing import Any

from noise_flow_tf import analysis, denoising, keras_layers, metrics, release, sampling
from noise_flow_tf.baselines import CameraNLF, GaussianNoise
from noise_flow_tf.conditions import CAMERAS, CLEAN_RANGE, ISO_LEVELS
from noise_flow_tf.distribution import NoiseDistribution
from noise_flow_tf.fit_camera import fit_camera
from noise_flow_tf.keras_layers import TFKerasNoiseFlowLayer
from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.new_camera import add_camera, settled
from noise_flow_tf.release import load_release
from noise_flow_tf.sampling import sample_image
from noise_flow_tf.scale import predicted_scale
from noise_flow_tf.training import Trainer, load

__all__ = [
    "CAMERAS",
    "CLEAN_RANGE",
    "ISO_LEVELS",
    "CameraNLF",
    "GaussianNoise",
    "Keras3NoiseFlowLayer",
    "NoiseDistribution",
    "NoiseFlow",
    "NoiseFlowLayer",
    "TFKerasNoiseFlowLayer",
    "Trainer",
    "add_camera",
    "analysis",
    "denoising",
    "fit_camera",
    "load",
    "load_release",
    "metrics",
    "predicted_scale",
    "release",
    "sample_image",
    "sampling",
    "settled",
]


def __getattr__(name: str) -> Any:
    if name in keras_layers.__all__:
        return getattr(keras_layers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
