"""Sampling many crops: one process beside Ray's workers, and the memory of all of them."""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LABELS = {"one thread": ["--engine", "process"], "Ray": ["--engine", "ray"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where crops and results go")
    parser.add_argument("--count", type=int, default=20000, help="crops (default %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="of a crop (default %(default)s)")
    parser.add_argument("--turns", type=int, default=1, help="(default %(default)s)")
    parser.add_argument("--plot", type=Path, help="PNG of the memory over time")
    args = parser.parse_args()
    clean = args.folder / f"clean-{args.count}"
    write_crops(clean, args.count, args.side)
    rates: dict[str, list[float]] = {label: [] for label in _LABELS}
    memory: dict[str, list[tuple[float, float]]] = {}
    for turn in range(args.turns):
        for label, flags in _LABELS.items():
            out = args.folder / f"{label.replace(' ', '-')}-{turn}"
            seconds, memory[label] = timed(clean, out, flags)
            rates[label].append(args.count / seconds)
            print(f"{label}: {args.count} crops in {seconds:.0f} s", flush=True)
    cores = len(os.sched_getaffinity(0))
    alone, ray = (np.median(rates[label]) for label in _LABELS)
    print(f"{alone:.1f} crops/s in one process of one thread, {ray:.1f} by Ray on {cores} cores: ")
    print(f"{ray / cores / alone:.0%} of the rate of one process, per core")
    if args.plot:
        draw(memory, args.plot, f"{args.count} crops of {args.side} x {args.side}")


def write_crops(folder: Path, count: int, side: int) -> None:
    """Write grey 16-bit PNGs with smooth content; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.05, 0.6, side)
    for number in range(count):
        path = folder / f"{number:06d}.png"
        image = np.outer(ramp * rng.uniform(0.5, 1.5), np.roll(ramp, number) ** 0.5)
        if not path.exists():
            Image.fromarray((image * 65535).astype(np.uint16)).save(path, compress_level=1)


def timed(clean: Path, out: Path, flags: list[str]) -> tuple[float, list[tuple[float, float]]]:
    """Run the command; return its seconds, start included, and (seconds, GiB) of its processes."""
    line = [sys.executable, "sample.py", "--model", "demo", "--clean", str(clean), "--iso", "800"]
    line += ["--camera", "S6", "--pictures", "none", "--formats", "png", "--out", str(out), *flags]
    begin = time.monotonic()
    process = subprocess.Popen(
        line, env={**os.environ, "NOISE_FLOW_THREADS": "1"}, stdout=subprocess.DEVNULL
    )
    measured: list[tuple[float, float]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            measured.append((time.monotonic() - begin, _memory() / 2**30))

    watching = threading.Thread(target=watch)
    watching.start()
    code = process.wait()
    seconds = time.monotonic() - begin
    over.set()
    watching.join()
    if code:
        raise SystemExit(f"sample.py ended with {code}")
    return seconds, measured


def _memory() -> int:
    """Return the bytes in memory of all processes that were started from here, shared ones once."""
    parents, sizes = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
                resident, shared = (entry / "statm").read_text().split()[1:3]
            except (OSError, ValueError, IndexError):
                continue
            sizes[int(entry.name)] = (int(resident) - int(shared)) * _PAGE
    ours, grown = {os.getpid()}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in ours} - ours
        ours, grown = ours | more, bool(more)
    return sum(sizes.get(one, 0) for one in ours - {os.getpid()})


def draw(memory: dict[str, list[tuple[float, float]]], path: Path, title: str) -> None:
    """Plot the memory of each way over time."""
    figure = Figure(figsize=(7, 3.5), dpi=150, layout="constrained")
    axis = figure.subplots()
    for label, points in memory.items():
        axis.plot(*zip(*points, strict=True), label=label)
    axis.set(xlabel="seconds", ylabel="GiB of all processes", title=title, ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
