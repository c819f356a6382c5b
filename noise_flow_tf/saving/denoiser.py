"""Denoisers as SavedModels and in run folders, and back."""

import json
import os
import shutil
from pathlib import Path

import tensorflow as tf

from noise_flow_tf.denoising.dncnn import DnCNN
from noise_flow_tf.saving.run_folder import FORMAT, DenoiserRun, check_format

_ABOUT = "denoiser.json"


class _Export(tf.Module):
    def __init__(self, network: DnCNN):
        super().__init__()
        self.network = network

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 4], tf.float32, "noisy")],
        autograph=False,
    )
    def denoise(self, noisy):
        return {"denoised": tf.clip_by_value(self.network(noisy), 0.0, 1.0)}


def save(network: DnCNN, path: str | os.PathLike) -> None:
    """Writes a denoiser as a SavedModel that plain TensorFlow can serve.

    Its signature `denoise(noisy)` takes packed noisy raw images `[B, H, W, 4]` in [0, 1], any batch
    and image size, and gives `denoised` of the same shape, clipped to [0, 1]. An existing
    SavedModel is replaced once the new one is complete.
    """
    path = Path(path)
    export = _Export(network)
    beside = path.with_name(path.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    tf.saved_model.save(export, str(beside), {"denoise": export.denoise})
    about = {"format": FORMAT, "kind": DenoiserRun.kind, **network.recipe}
    (beside / _ABOUT).write_text(json.dumps(about))
    shutil.rmtree(path, ignore_errors=True)
    os.replace(beside, path)


def load(path: str | os.PathLike) -> DnCNN:
    """The denoiser that training saved.

    Args:
        path: a run folder of noise-flow train-denoiser (its best weights), or a SavedModel.

    Raises:
        ValueError: nothing of the kind, or something damaged.
    """
    path = Path(path)
    run = DenoiserRun(path)
    if run.settings.is_file():
        return run.load()
    if (path / "saved_model.pb").is_file():
        return _load_saved_model(path)
    raise ValueError(
        f"{path} holds no denoiser; give a run folder of noise-flow train-denoiser or a SavedModel"
    )


def restore(prefix: str | os.PathLike, **recipe: float) -> DnCNN:
    """A denoiser with the weights of a checkpoint in which it is called `network`.

    Args:
        prefix: the checkpoint's path without `.index`.
        **recipe: `DnCNN.recipe`.

    Raises:
        ValueError: no such checkpoint, a damaged one, or one of another size.
    """
    network = DnCNN(**recipe)
    try:
        status = tf.train.Checkpoint(network=network).read(str(prefix))
        status.assert_existing_objects_matched().expect_partial()
    except Exception as error:  # TensorFlow raises many kinds for a damaged file
        raise ValueError(
            f"checkpoint {prefix} cannot be read as a DnCNN of depth {network.depth} and width "
            f"{network.width}: {error}"
        ) from error
    return network


def _load_saved_model(path: Path) -> DnCNN:
    try:
        about = json.loads((path / _ABOUT).read_text())
        check_format(about, path)
        about = {name: value for name, value in about.items() if name not in ("format", "kind")}
        return restore(path / "variables" / "variables", **about)
    except (OSError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a SavedModel of a denoiser: {error}") from error
