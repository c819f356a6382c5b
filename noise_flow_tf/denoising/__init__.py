"""Denoising raw images with DnCNN, trained on real or on sampled noise (Section 5 of the paper)."""

from noise_flow_tf.denoising.dncnn import DnCNN
from noise_flow_tf.denoising.saving import DenoiserRun, load, save
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
