"""The command `noise-flow`, which runs its subcommands."""

import importlib
import sys

from noise_flow_tf import __version__
from noise_flow_tf.cli.parsing import run
from noise_flow_tf.native import library

COMMANDS = {
    "train": "train a noise model",
    "sample": "add sampled noise to clean images",
    "fit-baseline": "fit noise models of few parameters to compare with",
    "evaluate": "score noise models on test scenes",
    "paper": "the tables and figures of the paper",
    "train-denoiser": "train a denoiser on sampled or real noise",
    "evaluate-denoiser": "score denoisers as in Table 3 of the paper",
    "denoise": "denoise a raw image",
    "camera": "bursts of raw files to a model of their camera's noise",
    "burst": "bursts of raw files to pairs and a calibrated noise level",
    "weights": "fetch the original release's weights, or publish those of a run",
    "sidd": "SIDD: index, check, download, synthesize",
}


def main(arguments: list[str] | None = None) -> None:
    """Run `noise-flow` with `arguments`, by default those of the command line.

    Bad input ends it with one line and exit code 2.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        run(_print_version, "noise-flow")
    elif name in COMMANDS:
        command(name, arguments[1:])
    else:
        print(
            f"noise-flow: unknown command {name!r}; commands: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)


def command(name: str, arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run one command; `program` is its name in messages."""
    module = importlib.import_module(f"noise_flow_tf.cli.{name.replace('-', '_')}")
    program = program or f"noise-flow {name}"
    run(lambda: module.main(arguments, program), program)


def _print_version() -> None:
    print(f"noise-flow {__version__}\n{library.description()}")


def _help() -> str:
    lines = [f"  {name:18} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: noise-flow COMMAND [FLAG ...]",
            "",
            "Noise Flow: a noise model for raw images of smartphone cameras.",
            "",
            *lines,
            "",
            "noise-flow COMMAND --help lists the flags of a command.",
        ]
    )
