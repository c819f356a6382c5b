"""What the training scripts do around a run: begin it, write to it, go on with it."""

import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise_flow_tf.programs.configs import Run
from noise_flow_tf.saving import run_folder
from noise_flow_tf.saving.run_folder import RunFolder, newest_first


def start() -> dict[str, object]:
    """With what training starts: command, versions, and the commit of this code if git knows it."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        if not (root / ".git").exists():
            raise OSError("installed: a repository around it is somebody else's")
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {"command": sys.argv, "git_commit": commit, "versions": run_folder.versions()}


@contextmanager
def to_write(
    run: RunFolder, settings: Mapping[str, Any], overwrite: bool, resuming: bool, chief: bool
) -> Iterator[RunFolder]:
    """The run's folder, which no other process may write to; for a worker beside the chief one
    that goes away.
    """
    if chief:
        if not resuming:
            run.create(settings, overwrite)
        with run.locked():
            run.write_settings({"versions": run_folder.versions(), **settings})
            yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        own = type(run)(Path(folder) / "worker")
        own.create(settings)
        yield own


def check_settings(
    config: Run, settings: Mapping[str, Any], needed: Collection[str], free: Collection[str]
) -> None:
    """Raises ValueError where a run cannot go on with a config that would change what it computes.

    Args:
        config: what is asked now.
        settings: of the run.
        needed: settings that a run of an earlier version may lack.
        free: those that may differ now.
    """
    missing = sorted({*needed} - settings.keys())
    if missing:
        raise ValueError(
            f"the run in {config.logdir} was made by an earlier version: its settings lack "
            f"{', '.join(missing)}; start another run"
        )
    for name, value in asdict(config).items():
        if name in settings and name not in free and value != settings[name]:
            raise ValueError(
                f"--{name} {value} does not go with --resume: the run in {config.logdir} has "
                f"{settings[name]}; leave it out, or start another run"
            )


def check_going_on(
    run: RunFolder,
    settings: Mapping[str, Any],
    data: Mapping[str, str],
    root: str,
    epochs: int,
    steps_per_epoch: int,
) -> None:
    """Raises ValueError where a run cannot go on with the frames of `root` to so many epochs."""
    if settings["data"] != data:
        raise ValueError(
            f"the frames of {root} are not those that the run in {run.path} began with; resume it "
            "on these"
        )
    done = max((int(p.name.rpartition("-")[2]) for p in newest_first(run.last)), default=0)
    if done > epochs * steps_per_epoch:
        raise ValueError(
            f"{run.path} has been trained for {done / steps_per_epoch:.4g} epochs, more than "
            f"{epochs}"
        )
