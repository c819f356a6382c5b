"""`denoising.load` and `denoising.save`."""

import os

from noise_flow_tf.denoising.dncnn import DnCNN
from noise_flow_tf.saving import loading, saved_model
from noise_flow_tf.saving.kinds import DENOISER


def load(path: str | os.PathLike) -> DnCNN:
    """Load the denoiser in a run folder (its best weights) or a SavedModel.

    Raises:
        ValueError: nothing of the kind, or something damaged.
    """
    return loading.load_kind(DENOISER, path)


def save(network: DnCNN, path: str | os.PathLike) -> None:
    """Write a denoiser as a SavedModel; see `noise_flow_tf.saving.exports`."""
    saved_model.save(network, path, DENOISER)
