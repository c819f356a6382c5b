"""The command line of SIDD's tools, for this package and for any other parser.

A command's modules are imported when it runs: help texts load neither HDF5 nor scikit-image.
"""

import argparse
import logging
import sys
from typing import Any, NoReturn

from sidd.errors import printable, reason
from sidd.scenes import DATASETS

_DESCRIPTION = """\
SIDD, the Smartphone Image Denoising Dataset: download a copy and check it.
`COMMAND --help` says more."""

_INDEX = """\
Prints a table of the scene instances by camera and ISO, with their frames and
their size, and a line for each file that is missing or cannot be opened. Of
images only the headers are read: `check` reads all. Exits with 0 even if files
are missing, with 2 if there is no scene instance."""

_CHECK = """\
Reads every file, prints a line for each that is damaged, missing or does not
fit the others of its frame, and the speed. Training leaves such frames out.
Exits with 1 if there are any, else with 0."""

_DOWNLOAD = """\
Downloads the zip files of a mirror and unpacks them; called again, it resumes
where it stopped and keeps what is there. Exits with 1 if no scene instance is
found afterwards.

Mirrors are listed on https://abdokamel.github.io/sidd/, whose terms apply to
the data."""

_DOWNLOAD_EXAMPLE = """\
example:
  %(prog)s --url https://HOST/NAME.zip --out /data/sidd"""

_SYNTHESIZE = """\
Writes the offline dataset, a small stand-in for SIDD in its own layout and
file formats, to try all programs without a download: pictures of scikit-image,
unprocessed to raw, with the noise of made-up sensors. It has 66 scene
instances with two frames each, 61 MB in all; equal seeds give equal datasets.
A dataset of that seed that is there already is kept; a folder with anything
else in it is left alone, and the exit code is 2."""


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands index, check, download and synthesize to a parser's `add_subparsers`.

    Each sets `run`, a function of the parsed arguments that does the work and returns the exit
    code. For bad input it raises a ValueError (SiddError is one) or an OSError, whose message is
    meant for one line; the exit code then is the error's `exit_code` if it has one, else 2.
    """
    index = subparsers.add_parser(
        "index", help="a table by camera and ISO, and what is missing", description=_INDEX
    )
    index.set_defaults(run=_index)

    check = subparsers.add_parser(
        "check", help="read every file; 1 if one is damaged or missing", description=_CHECK
    )
    check.set_defaults(run=_check)
    check.add_argument(
        "--processes", type=_positive, metavar="N",
        help="files read at once, by default one per core, fewer if memory is short: each may "
        "take 0.3 GB",
    )  # fmt: skip
    for command in (index, check):
        command.add_argument(
            "root", metavar="ROOT",
            help="SIDD_Medium_Raw, SIDD_Full or a part: the folder, or its folder Data",
        )  # fmt: skip

    download = subparsers.add_parser(
        "download", help="download and unpack, or resume it",
        description=_DOWNLOAD, epilog=_DOWNLOAD_EXAMPLE,
    )  # fmt: skip
    download.set_defaults(run=_download)
    add = download.add_argument
    add(
        "--dataset", choices=DATASETS, default="medium-raw",
        help="what it is a mirror of, by default %(default)s",
    )  # fmt: skip
    add("--url", nargs="+", required=True, help="of the dataset's zip file, or of all its parts")
    add("--sha256", nargs="+", default=[], metavar="HASH", help="of each file, in the same order")
    add("--out", required=True, metavar="DIR", help="folder for the zip files and the dataset")

    synthesize = subparsers.add_parser(
        "synthesize", help="write a stand-in for SIDD, without a download", description=_SYNTHESIZE
    )
    synthesize.set_defaults(run=_synthesize)
    add = synthesize.add_argument
    add("--out", required=True, metavar="DIR", help="new folder for the dataset")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of all random numbers, by default %(default)s",
    )


def main(arguments: list[str] | None = None, prog: str = "python -m sidd") -> int:
    """Run one command; bad input is one line on standard error, after the program's name."""
    parser = _Parser(prog=prog, description=_DESCRIPTION, allow_abbrev=False)
    add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    args = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        message, code = reason(error), getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    print(f"{prog}: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_positive.__name__ = "positive whole number"


def _index(args: argparse.Namespace) -> int:
    from sidd.tools.index import IndexConfig, run

    return run(IndexConfig(args.root))


def _check(args: argparse.Namespace) -> int:
    from sidd.tools.check import CheckConfig, run

    return run(CheckConfig(args.root, args.processes))


def _download(args: argparse.Namespace) -> int:
    from sidd.tools.download import DownloadConfig, run

    return run(DownloadConfig(args.url, args.out, args.sha256, args.dataset))


def _synthesize(args: argparse.Namespace) -> int:
    from sidd.tools.synthesize import SynthesizeConfig, run

    return run(SynthesizeConfig(args.out, args.seed))
