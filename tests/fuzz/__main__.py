"""`python -m tests.fuzz`: damage the inputs of all readers, and count what came of it."""

import argparse
import contextlib
import io
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

from sidd.errors import printable
from tests.fuzz import readers
from tests.fuzz.mutations import mutate

SECONDS = 20
GOOD = ("same", "refused")
BAD = ("traceback", "unnamed", "different", "hang", "crash")
_MEMORY = 8 << 30


class Hang(BaseException):
    """A reader took too long."""


def outcome(name: str, folder: Path, content: bytes, good: object) -> tuple[str, str]:
    """Return what comes of a reader's input, a word of GOOD or BAD, and the error's text."""
    reader = readers.READERS[name]
    (folder / reader.file).write_bytes(content)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = reader.read(folder)
    except (ValueError, OSError) as error:
        text = printable(error)
        return ("refused" if any(n in text for n in readers.names(reader)) else "unnamed"), text
    except Hang:
        return "hang", ""
    except (Exception, SystemExit):
        return "traceback", traceback.format_exc()
    return ("same" if reader.same(result, good) else "different"), ""


def work(name: str, folder: Path, first: int, end: int) -> None:
    """Run the damages `first` to `end` of a reader, and print a line for each."""
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _hang)
    reader = readers.READERS[name]
    content = (folder / reader.file).read_bytes()
    good = reader.read(folder)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    for number in range(first, end):
        print(f"{number} begins", flush=True)
        signal.alarm(SECONDS)
        word, text = outcome(name, folder, mutate(content, number, reader.head), good)
        signal.alarm(0)
        print(f"{number} {word} {text!r}", flush=True)


def _hang(*_: object) -> None:
    raise Hang


def run(name: str, seeds: Path, first: int, count: int) -> tuple[Counter, list[str]]:
    """Run damages of a reader in other processes, and return counts of words and all failures."""
    counts: Counter = Counter()
    failures: list[str] = []
    end, number = first + count, first
    while number < end:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(shutil.copytree(seeds, Path(place) / "seeds"))
            command = [sys.executable, "-m", "tests.fuzz", "--work", name, str(folder)]
            process = subprocess.Popen(
                [*command, str(number), str(end)], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            begun = None
            for line in process.stdout or ():
                text, word, *rest = line.split(maxsplit=2)
                if not text.isdecimal():
                    continue
                number = int(text)
                if word == "begins":
                    begun = number
                    continue
                begun = None
                counts[word] += 1
                if word in BAD:
                    failures.append(f"{name} {number}: {word} {''.join(rest).strip()}")
            process.wait()
        if begun is not None:
            counts["crash"] += 1
            failures.append(f"{name} {begun}: crash, exit status {process.returncode}")
        elif process.returncode:
            raise SystemExit(f"{name}: the worker could not start")
        number += 1
    return counts, failures


def main() -> int:
    """Return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="of all readers together")
    parser.add_argument("--first", type=int, default=0, help="number of the first damage")
    parser.add_argument("--reader", choices=readers.READERS, nargs="+", default=[*readers.READERS])
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        name, folder, first, end = args.work
        work(name, Path(folder), int(first), int(end))
        return 0
    each = -(-args.count // len(args.reader))
    total: Counter = Counter()
    words = [*GOOD, *BAD]
    print(f"{'reader':20}" + "".join(f"{word:>11}" for word in words), flush=True)
    with tempfile.TemporaryDirectory() as place:
        readers.prepare(Path(place))
        for name in args.reader:
            counts, failures = run(name, Path(place), args.first, each)
            total += counts
            print(f"{name:20}" + "".join(f"{counts[word]:11}" for word in words), flush=True)
            for failure in failures[:20]:
                print("   ", failure[:1500])
    print(f"{'all':20}" + "".join(f"{total[word]:11}" for word in words))
    return int(any(total[word] for word in BAD))


if __name__ == "__main__":
    sys.exit(main())
