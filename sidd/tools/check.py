"""The command check: reads every file of a folder, and prints which are damaged or missing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from sidd.scenes import index
from sidd.tools.checking import check, default_processes


@dataclass(frozen=True)
class CheckConfig:
    root: str | os.PathLike  #: SIDD_Medium_Raw, SIDD_Full or a part of one
    processes: int | None = None  #: files read at once; None: as cores and memory allow


def run(config: CheckConfig) -> int:
    """Prints a line for each damaged or missing file; gives 1 where there are any, else 0.

    Raises SiddError where there is no scene instance. A script that calls this needs
    ``if __name__ == "__main__"``, as :func:`sidd.tools.checking.check` says.
    """
    instances = index(config.root)
    processes = default_processes() if config.processes is None else config.processes
    start = time.monotonic()
    size, damaged = check(instances, processes)
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
