"""What a finished run consists of: resuming it does nothing if all is as it was left."""

import json
from pathlib import Path
from typing import Any

from noise_flow_tf.saving import run_folder
from noise_flow_tf.saving.file_system import sha256
from noise_flow_tf.saving.files import write_json
from noise_flow_tf.saving.run_folder import RunFolder, newest_first


def write(run: RunFolder) -> None:
    """Record what a run's outputs were made from, and their content."""
    write_json(
        run.finished,
        _made_from(run) | {"files": {name: sha256(path) for name, path in _outputs(run).items()}},
    )


def is_unchanged(run: RunFolder, steps: int) -> bool:
    """Return whether a run was trained for `steps`, and its outputs are those of its weights."""
    last = newest_first(run.last)
    if not last or int(last[0].name.rpartition("-")[2]) != steps:
        return False
    try:
        finished = json.loads(run.finished.read_text(encoding="utf-8"))
        files = finished.pop("files")
        unchanged = all(sha256(run.path / name) == value for name, value in files.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    return unchanged and finished == _made_from(run)


def _made_from(run: RunFolder) -> dict[str, Any]:
    weights = sorted(
        path for prefix in newest_first(run.best)[:1] for path in prefix.parent.glob("*-*")
    )
    return {
        "weights": {path.name: sha256(path) for path in weights},
        "history": sha256(run.history),
        "versions": run_folder.versions(),
    }


def _outputs(run: RunFolder) -> dict[str, Path]:
    places = [run.saved_model, run.pictures]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    files += [run.numpy_weights, run.report_text, run.report]
    return {path.relative_to(run.path).as_posix(): path for path in files if path.is_file()}
