"""Denoising raw images with DnCNN, trained on real or on sampled noise (Section 5 of the paper)."""

from noise_flow_tf.denoising.dncnn import DnCNN
from noise_flow_tf.denoising.sources import (
    Gauss,
    GaussMix,
    ModelNoise,
    TableNLF,
    noisy_batches,
    real,
)
from noise_flow_tf.denoising.trainer import DenoiserTrainer, psnr
from noise_flow_tf.denoising.whole_images import denoise_image

__all__ = [
    "DenoiserRun",
    "DenoiserTrainer",
    "DnCNN",
    "Gauss",
    "GaussMix",
    "ModelNoise",
    "TableNLF",
    "denoise_image",
    "load",
    "noisy_batches",
    "psnr",
    "real",
    "save",
]


def __getattr__(name: str):
    # `saving` knows the network, so that the network's package cannot import it first.
    if name in ("DenoiserRun", "load", "save"):
        from noise_flow_tf.saving import denoiser

        return getattr(denoiser, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
