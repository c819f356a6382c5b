"""Models back from what training saved, whatever form that has."""

import os
from pathlib import Path
from typing import Any

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.saving import pretrained, saved_model
from noise_flow_tf.saving.baselines import FILE, load_baseline
from noise_flow_tf.saving.files import settled
from noise_flow_tf.saving.kinds import NOISE_MODEL, Kind
from noise_flow_tf.saving.release import load_release
from noise_flow_tf.saving.run_folder import RunFolder


def load(path: str | os.PathLike) -> Any:
    """Load the noise model that training saved: a `NoiseFlow`, or a fitted baseline.

    Args:
        path: a run folder (its best weights), a SavedModel, the folder of a fitted baseline, the
            prefix of a checkpoint of the original release, or a name: `"demo"`, `"release"` or
            `"hf://USER/REPO"`; see `noise_flow_tf.saving.pretrained`.

    Raises:
        ValueError: nothing of the kind, something damaged, or a licence that is not accepted.
        OSError: a model that cannot be fetched.
    """
    return load_kind(NOISE_MODEL, pretrained.find(path))


def load_flow(path: str | os.PathLike) -> NoiseFlow:
    """Load a `NoiseFlow`; see `load`.

    Raises:
        ValueError: nothing of the kind, something damaged, or a fitted baseline.
    """
    model = load(path)
    if hasattr(model, "kind"):
        raise ValueError(f"{path} is a {model.kind} baseline; give a model of noise-flow train")
    return model


def load_kind(kind: Kind, path: str | os.PathLike) -> Any:
    """Load a model of one kind; see `load`."""
    path = settled(path)
    run = RunFolder(path, kind)
    if run.settings.is_file():
        return run.load()
    if (path / kind.about).is_file() or (path / "saved_model.pb").is_file():
        return saved_model.load_saved_model(path, kind)
    if kind is NOISE_MODEL and (path / FILE).is_file():
        return load_baseline(path)
    if kind is NOISE_MODEL and Path(f"{path}.index").is_file():
        return load_release(str(path))
    raise ValueError(
        f"{path} holds no {kind.noun}; give a run folder of noise-flow {kind.command}{kind.sources}"
    )
