"""What a SIDD folder holds, at a glance: a table by camera and ISO, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from sidd.errors import SiddError
from sidd.matfiles import raw_shape
from sidd.metadata import read_metadata
from sidd.parallel import in_parallel
from sidd.scenes import Frame, SceneInstance

_HEADINGS = ("camera", "ISO", "instances", "frames", "GB", "missing", "unreadable")


def survey(
    instances: Sequence[SceneInstance], threads: int = 4, progress: bool = True
) -> tuple[str, list[str]]:
    """A table of the instances by camera and ISO, and a line for each missing or unreadable file.

    ``frames`` counts complete ones. Of each file only the header is read (of METADATA all):
    :mod:`sidd.tools.checking` reads pixels too.
    """
    frames = [frame for i in instances for frame in (*i.frames, *i.incomplete)]
    looked_at = in_parallel(_look, frames, threads, "reading headers", "frame", progress)
    counts = {heading: Counter() for heading in _HEADINGS[2:]}
    problems = []
    for instance in instances:
        counts["instances"][instance.camera, instance.iso] += 1
        counts["frames"][instance.camera, instance.iso] += len(instance.frames)
    for frame, (size, missing, unreadable) in zip(frames, looked_at, strict=True):
        key = frame.camera, frame.iso
        counts["GB"][key] += size / 1e9
        counts["missing"][key] += len(missing)
        counts["unreadable"][key] += len(unreadable)
        problems += [f"missing: {path}" for path in missing]
        problems += [f"unreadable: {reason}" for reason in unreadable]
    keys = sorted(counts["instances"])
    rows = [[*key, *(counts[heading][key] for heading in _HEADINGS[2:])] for key in keys]
    rows.append(["all", "", *(sum(counts[heading].values()) for heading in _HEADINGS[2:])])
    return _table([_HEADINGS, *rows]), problems


def _look(frame: Frame) -> tuple[int, list[Path], list[str]]:
    """The size of a frame's files in bytes, those that are missing, and why others are no good."""
    missing = [path for path in frame.files if not path.is_file()]
    size = sum(path.stat().st_size for path in frame.files if path not in missing)
    looks = (raw_shape, raw_shape, read_metadata)
    there = [call for call in zip(looks, frame.files, strict=True) if call[1] not in missing]
    return size, missing, reasons(partial(look, path) for look, path in there)


def reasons(calls: Iterable[Callable[[], object]]) -> list[str]:
    """The messages of those calls that raise SiddError."""
    found = []
    for call in calls:
        try:
            call()
        except SiddError as error:
            found.append(str(error))
    return found


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
