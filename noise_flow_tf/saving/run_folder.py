"""The folder of a run: where everything is, and the trained model back from it."""

import csv
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from noise_flow_tf import __version__
from noise_flow_tf.native import library
from noise_flow_tf.saving.file_system import lock, remove
from noise_flow_tf.saving.files import (
    check_name,
    clear_partial,
    name_of_partial,
    reading,
    write_json,
)
from noise_flow_tf.saving.kinds import DENOISER, NOISE_MODEL, Kind

FORMAT = 1
"""The version of what run folders and SavedModels hold; those from before it have none."""

_LOCK = ".lock"
_NAMES = {
    "settings.json",
    "history.csv",
    "tensorboard",
    "checkpoints",
    "saved_model",
    "noise_flow.npz",
    "report.md",
    "report.json",
    "pictures",
    "burst",
    "samples",
    "finished.json",
    _LOCK,
}


class RunFolder:
    """The places of a run's outputs."""

    kind = NOISE_MODEL

    def __init__(self, path: str | os.PathLike, kind: Kind | None = None) -> None:
        """Name the places below `path`, make nothing; `kind` is that of the model."""
        self.kind = kind or type(self).kind
        self.path = Path(path)
        self.settings = self.path / "settings.json"
        self.history = self.path / "history.csv"
        self.tensorboard = self.path / "tensorboard"
        self.last = self.path / "checkpoints" / "last"
        self.best = self.path / "checkpoints" / "best"
        self.saved_model = self.path / "saved_model"
        self.numpy_weights = self.path / "noise_flow.npz"
        self.report_text = self.path / "report.md"
        self.report = self.path / "report.json"
        self.pictures = self.path / "pictures"
        self.burst = self.path / "burst"
        self.finished = self.path / "finished.json"

    def check(self, overwrite: bool = False) -> None:
        """Check that a run may be written here.

        Args:
            overwrite: whether an earlier run there may be removed.

        Raises:
            ValueError: the folder holds something, and is not an earlier run to be overwritten, or
                its name is none for TensorFlow.
        """
        check_name(self.path)
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; give the name of a folder for the run")
        names = {name_of_partial(entry.name) for entry in self.path.iterdir()}
        foreign = sorted(names - _NAMES)
        if foreign or not (self.settings.is_file() or self._is_empty()):
            raise ValueError(
                f"{self.path} holds other files than a run: "
                f"{', '.join(foreign or sorted(names))}; choose another folder"
            )
        if self.settings.is_file():
            if not overwrite:
                raise ValueError(
                    f"{self.path} holds a run already; choose another folder, or add --resume to "
                    "continue it or --overwrite to remove it"
                )
            self.read_settings()

    def create(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        """Make the folder with its settings, and remove an earlier run if `check` allows it.

        Args:
            settings: what JSON can hold; those that the kind needs load the model again.
            overwrite: whether an earlier run there may be removed.

        Raises:
            ValueError: as `check`, or another process is writing the earlier run.
        """
        self.check(overwrite)
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry == self.settings):
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != _LOCK:
                    entry.unlink()
            for folder in (self.last, self.best, self.pictures, self.tensorboard):
                folder.mkdir(parents=True)
            self.write_settings({**settings, "versions": versions()})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the run meanwhile.

        What earlier ones that were killed have left half-written is removed. If the file system
        has no locks, a message says so.

        Raises:
            ValueError: another process is writing to it.
        """
        with (self.path / _LOCK).open("a") as file:
            is_locked = lock(
                file,
                f"another process is writing to {self.path}; wait for its end, or choose another "
                "folder",
            )
            clear_partial(self.path, self.pictures, alone=is_locked)
            for folder in (self.last, self.best):
                for path in [*folder.glob("*_temp"), *folder.glob("*.tempstate*")]:
                    remove(path)  # TensorFlow's
            yield

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replace all settings."""
        write_json(self.settings, {"format": FORMAT, "kind": self.kind.name, **settings})

    def _is_empty(self) -> bool:
        """Return whether there are only empty folders, as when `create` was cut off."""
        files = (entry for entry in self.path.rglob("*") if not entry.is_dir())
        known = (_LOCK, self.settings.name)
        return all(name_of_partial(entry.name) in known for entry in files)

    def load(self) -> Any:
        """Return the model with the best weights of the run.

        Raises:
            ValueError: no run there, or one that has not saved a model yet.
        """
        from noise_flow_tf.saving import saved_model

        settings = self.read_settings()
        recipe = {name: settings[name] for name in self.kind.recipe if name in settings}
        added = settings.get("new_camera")
        if added and added not in settings.get("cameras", ()):
            raise ValueError(
                f"{self.path} was trained with --new_camera by an earlier version; load "
                f"{self.saved_model} instead"
            )
        weights = newest_first(self.best)
        if not weights:
            raise ValueError(
                f"{self.path} has no trained {self.kind.noun} yet: {self.best} holds no weights"
            )
        return saved_model.restore(weights[0], self.kind, **recipe)

    def read_settings(self) -> dict[str, Any]:
        """Return the settings that the run was made with.

        Raises:
            ValueError: no run there.
        """
        with reading(f"{self.settings} cannot be read"):
            settings = json.loads(self.settings.read_text(encoding="utf-8"))
        names = settings.keys() if isinstance(settings, dict) else set()
        if not self.kind.needed <= names or settings.get("kind", self.kind.name) != self.kind.name:
            raise ValueError(
                f"{self.settings} is not the settings of a run of noise-flow {self.kind.command}"
            )
        check_format(settings, self.settings)
        return settings

    def read_history(self, epochs: int) -> list[dict[str, float]]:
        """Return the history of the first epochs, one row per epoch, without what was not measured.

        Raises:
            ValueError: it has fewer rows, or cannot be read.
        """
        if not epochs:
            return []
        with (
            reading(f"{self.history} cannot be read"),
            self.history.open(newline="", encoding="utf-8") as file,
        ):
            rows = [
                {name: _number(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
        if len(rows) < epochs:
            raise ValueError(f"{self.history} has {len(rows)} of the {epochs} epochs trained")
        return rows[:epochs]


def _number(text: str) -> float:
    """Return the number that was written as this text, which it is again if it is written."""
    return int(text) if text.isdecimal() else float(text)


class DenoiserRun(RunFolder):
    """The folder of a run of a denoiser."""

    kind = DENOISER


def check_format(about: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError if `path` was written by a later version of this package."""
    if about.get("format", FORMAT) not in range(FORMAT + 1):
        raise ValueError(
            f"{path} has format {about['format']}, and this version of noise_flow_tf reads up to "
            f"{FORMAT}: install a newer one"
        )


def versions() -> dict[str, str]:
    """Return what numbers depend on: versions of Python and packages, and which core computes."""
    packages = ("tensorflow", "tf_keras", "tensorflow-probability", "numpy")
    ours = {"python": platform.python_version(), "noise_flow_tf": __version__}
    of_packages = {package: version(package) for package in packages}
    return ours | of_packages | {"core": library.description().removeprefix("core: ")}


def newest_first(folder: Path) -> list[Path]:
    """Return the prefixes of the numbered checkpoints in a folder, later numbers first."""
    found = [path.with_suffix("") for path in folder.glob("*-*.index")]
    numbered = {path: path.name.rpartition("-")[2] for path in found}
    prefixes = [path for path, number in numbered.items() if number.isdecimal()]
    return sorted(prefixes, key=lambda path: int(numbered[path]), reverse=True)
