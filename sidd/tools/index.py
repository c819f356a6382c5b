"""The command index: print a folder's contents by camera and ISO, and what is missing."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sidd.errors import printable
from sidd.matfiles import raw_shape
from sidd.parallel import in_parallel
from sidd.scenes import Frame, SceneInstance, index
from sidd.tools.check import read_files

_HEADINGS = ("camera", "ISO", "instances", "frames", "GB", "missing", "unreadable")


@dataclass(frozen=True)
class IndexConfig:
    """Settings of `index`: `root` is SIDD_Medium_Raw, SIDD_Full or a part of one."""

    root: str | os.PathLike


def run(config: IndexConfig) -> int:
    """Print a table, and a line for each missing or unreadable file; return 0."""
    table, problems = survey(index(config.root))
    print(table)
    print(*problems, sep="\n", end="\n" if problems else "")
    return 0


def survey(
    instances: Sequence[SceneInstance], threads: int = 4, progress: bool = True
) -> tuple[str, list[str]]:
    """Return a table by camera and ISO, and a line for each missing or unreadable file.

    `frames` counts complete ones. Of images only the header is read: the command check reads
    pixels too.
    """
    frames = [frame for i in instances for frame in (*i.frames, *i.incomplete)]
    results = in_parallel(_read_headers, frames, threads, "reading headers", "frame", progress)
    counts: dict[str, dict[tuple[str, int], float]] = {
        heading: defaultdict(int) for heading in _HEADINGS[2:]
    }
    problems: list[str] = []
    for instance in instances:
        counts["instances"][instance.camera, instance.iso] += 1
        counts["frames"][instance.camera, instance.iso] += len(instance.frames)
    for frame, (size, missing, unreadable) in zip(frames, results, strict=True):
        key = frame.camera, frame.iso
        counts["GB"][key] += size / 1e9
        counts["missing"][key] += len(missing)
        counts["unreadable"][key] += len(unreadable)
        problems += [f"missing: {printable(path)}" for path in missing]
        problems += [f"unreadable: {reason}" for reason in unreadable]
    keys = sorted(counts["instances"])
    rows = [[*key, *(counts[heading][key] for heading in _HEADINGS[2:])] for key in keys]
    rows.append(["all", "", *(sum(counts[heading].values()) for heading in _HEADINGS[2:])])
    return _table([_HEADINGS, *rows]), problems


def _read_headers(frame: Frame) -> tuple[int, list[Path], list[str]]:
    """Return the size of a frame's files in bytes, missing files, and why others are unreadable."""
    missing = [path for path in frame.files if not path.is_file()]
    size = sum(path.stat().st_size for path in frame.files if path not in missing)
    return size, missing, read_files(frame, raw_shape)[1]


def _table(rows: Sequence[Sequence[object]]) -> str:
    texts = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in r] for r in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )
