"""Reads every file of a SIDD folder to find the damaged ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from sidd.errors import SiddError
from sidd.loading.cache import check_conditions
from sidd.matfiles import check_shapes, read_raw
from sidd.metadata import read_metadata
from sidd.parallel import in_parallel
from sidd.scenes import Frame, SceneInstance

_FRAME_BYTES = 300_000_000


def default_processes() -> int:
    """One a core, but no more than have a frame of SIDD's full size fit in available memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        with open("/proc/meminfo") as file:
            sizes = dict(line.split(":") for line in file)
        available = int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores or 1, available // _FRAME_BYTES))


def check_frame(frame: Frame) -> tuple[int, list[str]]:
    """Reads a frame's files, of an incomplete one those that are there.

    Gives how many bytes they have, and a message for each that is damaged or does not fit the
    others: those that :class:`sidd.Patches` would skip the frame for.
    """
    size, messages, read = 0, [], []
    for reader, path in zip((read_raw, read_raw, read_metadata), frame.files, strict=True):
        if path.is_file():
            size += path.stat().st_size
            try:
                read.append(reader(path))
            except SiddError as error:
                messages.append(str(error))
    if len(read) == 3:
        noisy, clean, metadata = read
        try:
            check_shapes(frame.noisy, noisy.shape, frame.clean, clean.shape)
            check_conditions(frame, metadata.camera, metadata.iso)
        except SiddError as error:
            messages.append(str(error))
    return size, messages


def check(
    instances: Sequence[SceneInstance], processes: int, progress: bool = True
) -> tuple[int, list[str]]:
    """:func:`check_frame` of all frames: the bytes that were read, and all messages.

    In processes, since h5py lets a process read one file at a time only. They import the caller's
    main module: a script that calls this needs ``if __name__ == "__main__"``.
    """
    frames = [frame for i in instances for frame in (*i.frames, *i.incomplete)]
    executor = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    results = []
    try:
        results.extend(in_parallel(check_frame, frames, executor, "checking", "frame", progress))
    except BrokenProcessPool:
        first = frames[len(results)]
        raise SiddError(
            f"{first.noisy}: a process was killed while this frame or one of the {processes} after "
            f"it was read; {len(frames) - len(results)} of {len(frames)} are unfinished: give "
            "fewer processes, since memory may be short"
        ) from None
    return sum(size for size, _ in results), [m for _, messages in results for m in messages]
