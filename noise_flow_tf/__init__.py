"""Noise Flow in TensorFlow 2: a conditional normalizing flow of smartphone-camera noise.

Noise Flow: Noise Modeling with Conditional Normalizing Flows, Abdelhamed, Brubaker and Brown,
ICCV 2019.

The public names are loaded when they are first used (PEP 562), so that importing the package does
not import TensorFlow. To load a Keras model with a `NoiseFlowLayer` or a `Trainer`, import
TensorFlow before this package, or access the class once.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noise_flow_tf import architecture as architecture
    from noise_flow_tf import denoising as denoising
    from noise_flow_tf import evaluation as evaluation
    from noise_flow_tf import plotting as plotting
    from noise_flow_tf import sampling as sampling
    from noise_flow_tf import saving as saving
    from noise_flow_tf import training as training
    from noise_flow_tf.baselines import ELD as ELD
    from noise_flow_tf.baselines import CameraNLF as CameraNLF
    from noise_flow_tf.baselines import FittedNLF as FittedNLF
    from noise_flow_tf.baselines import GaussianNoise as GaussianNoise
    from noise_flow_tf.baselines import LinearGaussian as LinearGaussian
    from noise_flow_tf.baselines import PoissonGaussian as PoissonGaussian
    from noise_flow_tf.baselines import SharedNLF as SharedNLF
    from noise_flow_tf.conditions import CAMERAS as CAMERAS
    from noise_flow_tf.conditions import CLEAN_RANGE as CLEAN_RANGE
    from noise_flow_tf.conditions import ISO_LEVELS as ISO_LEVELS
    from noise_flow_tf.distribution import NoiseDistribution as NoiseDistribution
    from noise_flow_tf.evaluation import analysis as analysis
    from noise_flow_tf.evaluation import metrics as metrics
    from noise_flow_tf.model import NoiseFlow as NoiseFlow
    from noise_flow_tf.native.use import use_core as use_core
    from noise_flow_tf.sampling.images import sample_image as sample_image
    from noise_flow_tf.sampling.keras_layers import Keras3NoiseFlowLayer as Keras3NoiseFlowLayer
    from noise_flow_tf.sampling.keras_layers import NoiseFlowLayer as NoiseFlowLayer
    from noise_flow_tf.sampling.keras_layers import TFKerasNoiseFlowLayer as TFKerasNoiseFlowLayer
    from noise_flow_tf.sampling.scale import predicted_scale as predicted_scale
    from noise_flow_tf.saving import pretrained as pretrained
    from noise_flow_tf.saving import release as release
    from noise_flow_tf.saving.baselines import save_baseline as save_baseline
    from noise_flow_tf.saving.loading import load as load
    from noise_flow_tf.saving.numpy_weights import save_npz as save_npz
    from noise_flow_tf.saving.release import load_release as load_release
    from noise_flow_tf.training.new_cameras import fit_camera as fit_camera
    from noise_flow_tf.training.trainer import Trainer as Trainer

__version__ = "0.1.0"

_MODULES_OF_NAMES = {
    "CAMERAS": "conditions",
    "CLEAN_RANGE": "conditions",
    "CameraNLF": "baselines",
    "ELD": "baselines",
    "FittedNLF": "baselines",
    "GaussianNoise": "baselines",
    "ISO_LEVELS": "conditions",
    "Keras3NoiseFlowLayer": "sampling.keras_layers",
    "LinearGaussian": "baselines",
    "NoiseDistribution": "distribution",
    "NoiseFlow": "model",
    "NoiseFlowLayer": "sampling.keras_layers",
    "PoissonGaussian": "baselines",
    "SharedNLF": "baselines",
    "TFKerasNoiseFlowLayer": "sampling.keras_layers",
    "Trainer": "training.trainer",
    "fit_camera": "training.new_cameras",
    "load": "saving.loading",
    "load_release": "saving.release",
    "predicted_scale": "sampling.scale",
    "sample_image": "sampling.images",
    "save_baseline": "saving.baselines",
    "save_npz": "saving.numpy_weights",
    "use_core": "native.use",
}
_MODULES = {
    "analysis": "evaluation.analysis",
    "architecture": "architecture",
    "denoising": "denoising",
    "evaluation": "evaluation",
    "metrics": "evaluation.metrics",
    "plotting": "plotting",
    "pretrained": "saving.pretrained",
    "release": "saving.release",
    "sampling": "sampling",
    "saving": "saving",
    "training": "training",
}

__all__ = sorted([*_MODULES_OF_NAMES, *_MODULES])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _MODULES_OF_NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES_OF_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "tensorflow" in sys.modules:
    # Keras loads saved models only of registered classes; with TensorFlow there already, importing
    # them takes little time.
    importlib.import_module(f"{__name__}.sampling.keras_layers")
    importlib.import_module(f"{__name__}.training.trainer")
