"""Models back from what training saved, whatever form that has."""

import os
from pathlib import Path

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.release import load_release
from noise_flow_tf.saving.run_folder import RunFolder


def load(path: str | os.PathLike) -> NoiseFlow:
    """The model that training saved.

    Args:
        path: a run folder (its best weights), a SavedModel, or the prefix of a checkpoint of the
            original release.

    Raises:
        ValueError: nothing of the kind, or something damaged.
    """
    path = Path(path)
    if RunFolder(path).settings.is_file():
        return RunFolder(path).load()
    if (path / "saved_model.pb").is_file():
        return saved_model.load_saved_model(path)
    if Path(f"{path}.index").is_file():
        return load_release(str(path))
    raise ValueError(
        f"{path} holds no model; give a run folder of train.py, a SavedModel, or the prefix of a "
        "released checkpoint (the path of its .index file without the ending)"
    )
