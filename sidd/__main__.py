"""SIDD from the command line: what a folder holds, which files are damaged, and download."""

import argparse
import logging
import sys
import time
from pathlib import Path

from sidd.scenes import index
from sidd.tools.checking import check, default_processes
from sidd.tools.extraction import extract
from sidd.tools.survey import survey
from sidd.tools.transfer import download, name_of

#: Scene instances that are public, by the name for --dataset.
DATASETS = {"medium-raw": 160, "full-raw": 160}


def main(arguments: list[str] | None = None) -> int:
    parser = _Parser(prog="python -m sidd", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    table = commands.add_parser("index", help="a table by camera and ISO, and what is missing")
    table.set_defaults(run=_index)
    whole = commands.add_parser(
        "check", help="read every file; 1 where one is damaged or missing",
        description="Reads every file and lists those that are damaged or missing: exits with 1 "
        "where there are any, with 0 where all are there and whole.",
    )  # fmt: skip
    whole.set_defaults(run=_check)
    whole.add_argument(
        "--processes", type=_positive, default=default_processes(), metavar="N",
        help="files read at once, by default one a core, fewer where memory is short",
    )  # fmt: skip
    for command in (table, whole):
        command.add_argument("root", metavar="ROOT", help="SIDD_Medium_Raw, SIDD_Full or a part")

    fetch = commands.add_parser(
        "download", help="download and unpack, again where it was cut off",
        description="Downloads and unpacks; goes on where it was cut off. Exits with 1 where no "
        "scene instance is found afterwards.",
    )  # fmt: skip
    fetch.set_defaults(run=_download)
    add = fetch.add_argument
    add("--dataset", choices=DATASETS, default="medium-raw", help="what it is a mirror of")
    add("--url", nargs="+", required=True, help="of the dataset's zip file, or of all its parts")
    add("--sha256", nargs="+", default=[], metavar="HASH", help="of each file, in the same order")
    add("--out", required=True, metavar="DIR", help="folder for the zip files and the dataset")

    args = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _index(args: argparse.Namespace) -> int:
    table, problems = survey(index(args.root))
    print(table)
    print(*problems, sep="\n", end="\n" if problems else "")
    return 0


def _check(args: argparse.Namespace) -> int:
    instances = index(args.root)
    start = time.monotonic()
    size, damaged = check(instances, args.processes)
    seconds = time.monotonic() - start
    for message in damaged:
        print(f"damaged: {message}")
    missing = [path for instance in instances for path in instance.missing]
    for path in missing:
        print(f"missing: {path}")
    print(
        f"{len(damaged)} damaged, {len(missing)} missing; "
        f"read {size / 1e9:.2f} GB in {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s"
    )
    return 1 if damaged or missing else 0


def _download(args: argparse.Namespace) -> int:
    if args.sha256 and len(args.sha256) != len(args.url):
        raise ValueError(f"{len(args.sha256)} hashes for {len(args.url)} URLs; give one for each")
    names = [name_of(url) for url in args.url]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)}: two URLs end with this name; give each file once")
    out = Path(args.out)
    hashes = args.sha256 or [None] * len(args.url)
    for url, sha256 in zip(args.url, hashes, strict=True):
        archive = download(url, out, sha256)
        print(f"{archive}: {extract(archive, out)} files extracted")
    instances = [i for root in (out, *filter(Path.is_dir, out.iterdir())) for i in _found(root)]
    expected = DATASETS[args.dataset]
    print(f"{out}: {len(instances)} of {expected} scene instances of {args.dataset}")
    if not instances:
        return _fail(f"{out}: no scene instance was found in what was downloaded", 1)
    return 0


def _found(root: Path) -> list:
    try:
        return index(root)
    except ValueError:
        return []


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_positive.__name__ = "positive whole number"


def _fail(message: str, code: int = 2) -> int:
    print(f"python -m sidd: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
