"""Kill commands at random moments, and print a table of what came of it."""

import argparse
import tempfile
import time
from pathlib import Path

from tests.kills.cases import CASES, prepare
from tests.kills.harness import Killer, shares


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    failures = 0
    print("| command | kills | compared | minutes | result |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        inputs = prepare(Path(folder))
        for name, count in shares(args.kills, args.cases):
            begin = time.monotonic()
            try:
                outcome = Killer(CASES[name], inputs, Path(folder) / name).kill(count, args.seed)
                row = f"{outcome.kills} | {outcome.ends}"
                result = "equal bit for bit"
            except AssertionError as error:
                failures += 1
                row, result = f"{count} | ", f"FAILED: {error}"
            minutes = (time.monotonic() - begin) / 60
            print(f"| {name} | {row} | {minutes:.1f} | {result} |", flush=True)
    return min(failures, 1)


raise SystemExit(main())
