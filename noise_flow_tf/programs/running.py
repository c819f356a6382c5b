"""The one way of a training run, from its config to its report."""

import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tensorflow as tf
import tf_keras

import sidd
from noise_flow_tf.programs import dataset, finished, run_report
from noise_flow_tf.programs.configs import Run
from noise_flow_tf.saving import run_folder, saved_model
from noise_flow_tf.saving.files import check_name, reading
from noise_flow_tf.saving.run_folder import RunFolder, newest_first
from noise_flow_tf.training import strategies
from noise_flow_tf.training.fitting import Length, Task, fit
from sidd.wording import counted

Config = TypeVar("Config", bound=Run)
Frames = list[sidd.Frame]


class Training(Task, Protocol[Config]):
    """What training a kind of model adds to a `training.fitting.Task`.

    `open` opens the patches `train` and `test` of frames, and returns how many steps an epoch has;
    `own_settings` are those of a fresh run besides the config, and `resume` takes those of an
    earlier one; `section` is this kind's part of the report.
    """

    folder: type[RunFolder]
    needed: Collection[str] = ("steps_per_epoch", "data", "starts")
    """Settings that a run of an earlier version may lack, and cannot be resumed without."""
    free_on_resume: frozenset[str] = frozenset({
        "logdir", "overwrite", "resume", "strategy", "replicas", "sidd_path", "cache",
        "n_train_threads", "checkpoint_every",
    })  # fmt: skip
    """Settings that may be others when a run is resumed."""

    config: Config
    train: sidd.Patches
    test: sidd.Patches

    def __init__(self, config: Config) -> None:
        self.config = config

    def open(self, train: Frames, test: Frames, strategy: tf.distribute.Strategy) -> int: ...

    def default_epochs(self, steps_per_epoch: int) -> int: ...

    def own_settings(self) -> dict[str, Any]: ...

    def resume(self, settings: Mapping[str, Any]) -> None: ...

    def export(self, best: Any, folder: RunFolder) -> None:
        """Write the trained model in the forms that need less than this package."""
        saved_model.save(best, folder.saved_model, folder.kind)

    def section(self, best: Any, rows: list[dict[str, float]]) -> run_report.Section: ...


def run(kind: type[Training[Config]], config: Config) -> None:
    """Train, or resume, the run in `config.logdir`, and write its report.

    Raises:
        ValueError: settings, a dataset or a run folder that do not fit; training that diverged.
        OSError: a file that cannot be written.
    """
    if config.logdir is None:
        raise ValueError("logdir is needed: the folder that the run is written to")
    folder = kind.folder(config.logdir)
    settings = folder.read_settings() if config.resume and folder.settings.is_file() else None
    strategies.prepare(config.strategy, config.replicas)  # before TensorFlow computes anything
    training = kind(_filled(config, settings or {}))
    if settings is None:
        folder.check(config.overwrite)
    else:
        check_name(folder.path)
        check_settings(training, settings)
    train, test = (dataset.frames(training.config, split) for split in ("train", "test"))
    strategy = strategies.choose(config.strategy, config.replicas)
    tf_keras.utils.set_random_seed(config.seed)
    steps = training.open(train, test, strategy)
    if settings is not None:
        steps = settings["steps_per_epoch"]
    epochs = training.config.epochs or training.default_epochs(steps)
    config = training.config = replace(training.config, epochs=epochs)
    root = dataset.root(config)
    num_train, num_test = training.train.num_patches, training.test.num_patches
    print(
        f"{num_train} training and {counted(num_test, 'test patch')} from {root}; "
        f"{counted(epochs, 'epoch')} of {counted(steps, 'step')}"
    )
    now = {
        "steps_per_epoch": steps,
        "data": {"train": training.train.digest, "test": training.test.digest},
        "epochs": epochs,
    }
    if settings is None:
        current = {**asdict(config), **training.own_settings(), **now, "starts": []}
    else:
        check_data(folder, settings, now, root)
        with reading(f"{folder.settings} cannot be used"):
            training.resume(settings)
        if is_unchanged(folder, epochs * steps, strategies.is_chief(strategy)):
            print(f"{folder.path}: trained, exported and reported already; nothing has changed")
            return
        current = {**settings, "epochs": epochs}
    current["starts"] = [*current["starts"], start()]
    length = Length(
        current["steps_per_epoch"],
        epochs,
        config.epochs_full_valid,
        config.average_batches,
        config.checkpoint_every,
    )
    chief = strategies.is_chief(strategy)
    if chief and settings is None:
        folder.create(current, config.overwrite)
    with to_write(folder, current, chief) as writing:
        rows = fit(training, length, strategy, folder, writing)
        if chief:
            best = folder.load()
            training.export(best, folder)
            skipped = [*training.train.skipped.values(), *training.test.skipped.values()]
            skipped += dataset.left_out(config)
            run_report.write(folder, config, training.section(best, rows), rows, skipped)
            finished.write(folder)


def _filled(config: Config, settings: Mapping[str, Any]) -> Config:
    """Return a config in which what it leaves open is as in the settings of the run."""
    missing = {name for name, value in asdict(config).items() if value is None} - {"replicas"}
    return replace(config, **{name: settings[name] for name in missing & settings.keys()})


def start() -> dict[str, object]:
    """Return how training starts: command, versions, and the commit if git knows it."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    commit = "unknown"
    if (root / ".git").exists():  # else it is installed, and a repository around it is another's
        with suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return {"command": sys.argv, "git_commit": commit, "versions": run_folder.versions()}


@contextmanager
def to_write(run: RunFolder, settings: Mapping[str, Any], chief: bool) -> Iterator[RunFolder]:
    """Give the run's folder, locked; to a worker that is not the chief, a temporary one."""
    if chief:
        with run.locked():
            run.write_settings({"versions": run_folder.versions(), **settings})
            yield run
    else:
        with tempfile.TemporaryDirectory() as folder:
            own = type(run)(Path(folder) / "worker")
            own.create(settings)
            yield own


def is_unchanged(run: RunFolder, steps: int, chief: bool) -> bool:
    """Return whether there is nothing to do for a run; the chief makes sure that it is alone."""
    with run.locked() if chief else nullcontext():
        return finished.is_unchanged(run, steps)


def check_settings(training: Training[Config], settings: Mapping[str, Any]) -> None:
    """Raise a ValueError if a run with these settings cannot be resumed as `training`."""
    config, free = training.config, training.free_on_resume
    missing = sorted({*training.needed} - settings.keys())
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


def check_data(
    run: RunFolder, settings: Mapping[str, Any], now: Mapping[str, Any], root: str
) -> None:
    """Raise a ValueError if a run cannot be resumed on the data in `root`, to the epochs of `now`.

    `now` has `data`, `epochs` and `steps_per_epoch` as `settings` has them.
    """
    if settings["data"] != now["data"]:
        raise ValueError(
            f"the frames of {root} are not those that the run in {run.path} began with; resume it "
            "on these"
        )
    done = max((int(p.name.rpartition("-")[2]) for p in newest_first(run.last)), default=0)
    epochs_done = done / now["steps_per_epoch"]
    if epochs_done > now["epochs"]:
        raise ValueError(
            f"{run.path} has been trained for {epochs_done:.4g} epochs, more than {now['epochs']}"
        )
