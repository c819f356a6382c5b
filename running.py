"""What the training scripts do around a run: begin it, write to it, go on with it."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
from noise_flow_tf.training import run_folder, strategies
from noise_flow_tf.training.run_folder import RunFolder, newest_first


def start() -> dict[str, object]:
    """With what training starts: command, versions, and the commit of this code if git knows it."""
    here = str(Path(__file__).parent)
    git = ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {"command": sys.argv, "git_commit": commit, "versions": run_folder.versions()}


def add_strategy_flags(parser: cli.Parser) -> None:
    """Adds the flags that say on which devices training runs, for `strategies.choose`."""
    add = parser.option
    add(
        "strategy",
        choices=strategies.NAMES,
        default="auto",
        help="mirrored: over all GPUs of this machine; multiworker: over the machines of "
        "TF_CONFIG; auto: mirrored where there is a GPU, or with --replicas",
    )
    add(
        "replicas",
        type=cli.positive(int),
        help="mirrored over so many: the first GPUs, or parts of the CPU where there is no GPU, to "
        "try it",
    )


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


def flags_going_on(
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    settings: Mapping[str, Any],
    complete: Callable[[argparse.Namespace], argparse.Namespace],
    needed: Collection[str],
    free: Collection[str],
) -> argparse.Namespace:
    """The flags of an earlier run; those given now must not change what it computes.

    The run's own --replicas are dropped where a --strategy is given that takes none.

    Args:
        parser: of the script's flags.
        arguments: of the command line now.
        settings: of the run.
        complete: fills in what depends on other flags.
        needed: settings that a run of an earlier version may lack.
        free: flags that may differ now.
    """
    asked = parser.parse_args(arguments)
    known = vars(asked).keys() & settings.keys()
    parser.set_defaults(**{name: settings[name] for name in known - {"resume", "overwrite"}})
    missing = sorted({*needed} - settings.keys())
    args = complete(parser.parse_args(arguments))
    if missing:
        parser.error(
            f"the run in {args.logdir} was made by an earlier version: its settings lack "
            f"{', '.join(missing)}; start another run"
        )
    for name in sorted(known - {*free}):
        if getattr(args, name) != settings[name]:
            parser.error(
                f"--{name} {getattr(args, name)} does not go with --resume: the run in "
                f"{args.logdir} has {settings[name]}; leave it out, or start another run"
            )
    if args.strategy not in strategies.MIRRORING:
        args.replicas = asked.replicas
    return args


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
