"""Fitted baselines on disk: a folder with one file of JSON, which holds all their numbers."""

import json
import os
from pathlib import Path
from typing import Any

from noise_flow_tf.baselines import Fitted
from noise_flow_tf.saving.files import make_folders, reading, write_json
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.run_folder import FORMAT, check_format

FILE = "baseline.json"


def save_baseline(model: Fitted, folder: str | os.PathLike) -> None:
    """Write a fitted baseline to a folder, which is made, as `baseline.json`; `nf.load` reads it.

    Raises:
        ValueError: a model of another kind, or a folder that holds other files.
        OSError: it cannot be written; an existing one is kept.
    """
    folder = Path(folder)
    if getattr(model, "kind", None) not in BASELINES:
        raise ValueError(
            f"a {type(model).__name__} is no fitted baseline: {', '.join(BASELINES)}; noise flows "
            "are saved by saving.saved_model.save"
        )
    check_folder(folder)
    make_folders(folder)
    write_json(
        folder / FILE,
        {"format": FORMAT, "kind": "baseline", "baseline": model.kind, **model.arguments()},
    )


def load_baseline(folder: str | os.PathLike) -> Any:
    """Load the baseline that `save_baseline` wrote.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    path = Path(folder) / FILE
    with reading(f"{path} is not a fitted baseline"):
        about = json.loads(path.read_text(encoding="utf-8"))
        check_format(about, path)
        kind = BASELINES[about["baseline"]]
        arguments = {
            name: about[name] for name in ("parameters", "cameras", "iso_levels", "camera_levels")
        }
        return kind.model_class(**arguments)


def check_folder(folder: Path) -> None:
    """Raise a ValueError if a baseline cannot be written to a folder, as it holds other files."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a folder")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if names and FILE not in names:
        raise ValueError(f"{folder} holds other files than a baseline; choose another folder")
