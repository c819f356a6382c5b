"""Denoising raw images with DnCNN, trained on real or on sampled noise (Section 5 of the paper).

The names are loaded when they are first used (PEP 562): command lines take the registry of noise
sources from here without TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noise_flow_tf.denoising.dncnn import DnCNN as DnCNN
    from noise_flow_tf.denoising.sources import Gauss as Gauss
    from noise_flow_tf.denoising.sources import GaussMix as GaussMix
    from noise_flow_tf.denoising.sources import ModelNoise as ModelNoise
    from noise_flow_tf.denoising.sources import TableNLF as TableNLF
    from noise_flow_tf.denoising.sources import noisy_batches as noisy_batches
    from noise_flow_tf.denoising.sources import real as real
    from noise_flow_tf.denoising.trainer import DenoiserTrainer as DenoiserTrainer
    from noise_flow_tf.denoising.trainer import psnr as psnr
    from noise_flow_tf.denoising.whole_images import denoise_image as denoise_image
    from noise_flow_tf.saving.denoiser import load as load
    from noise_flow_tf.saving.denoiser import save as save
    from noise_flow_tf.saving.run_folder import DenoiserRun as DenoiserRun

_NAMES = {
    "denoising.dncnn": ["DnCNN"],
    "denoising.sources": ["Gauss", "GaussMix", "ModelNoise", "TableNLF", "noisy_batches", "real"],
    "denoising.trainer": ["DenoiserTrainer", "psnr"],
    "denoising.whole_images": ["denoise_image"],
    "saving.denoiser": ["load", "save"],
    "saving.run_folder": ["DenoiserRun"],
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = ("dncnn", "scores", "sources", "trainer", "whole_images")

__all__ = sorted(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(f"noise_flow_tf.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
