"""The command check: read every file of a folder, and print which are damaged or missing."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidd.cameras import named_by
from sidd.errors import SiddError
from sidd.loading.cache import check_conditions
from sidd.matfiles import check_shapes, read_packed, read_pair
from sidd.metadata import read_metadata
from sidd.parallel import in_parallel
from sidd.scenes import Frame, SceneInstance, index

_FRAME_BYTES = 300_000_000


@dataclass(frozen=True)
class CheckConfig:
    """Settings of `check`; `processes` None is as many as cores and memory allow."""

    root: str | os.PathLike
    processes: int | None = None


def run(config: CheckConfig) -> int:
    """Print a line for each damaged or missing file; return 1 if there are any, else 0.

    A script that calls this needs `if __name__ == "__main__"`, as `check` says.
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


def default_processes() -> int:
    """Return one per core, but no more than have memory for a frame of SIDD's full size each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        with open("/proc/meminfo") as file:
            sizes = dict(line.split(":") for line in file)
        available = int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores or 1, available // _FRAME_BYTES))


def check_frame(frame: Frame) -> tuple[int, list[str]]:
    """Read a frame's files, as far as they exist.

    Returns:
        Their size in bytes, and a message for each that is damaged or does not fit the others:
        those for which `sidd.Patches` skips the frame.
    """
    size = sum(path.stat().st_size for path in frame.files if path.is_file())
    results, messages = read_files(frame, _shape)
    if len(results) == 3:
        noisy_shape, clean_shape, metadata = results
        try:
            check_shapes(frame.noisy, noisy_shape, frame.clean, clean_shape)
            check_conditions(frame, named_by(metadata.make, metadata.model), metadata.iso)
            if metadata.unclipped:
                read_pair(*frame.files, frame.camera)
        except SiddError as error:
            messages.append(str(error))
    return size, messages


def read_files(frame: Frame, read_image: Callable[[Path], Any]) -> tuple[list[Any], list[str]]:
    """Return what a frame's existing files have, in their order, and the errors' messages."""
    results, messages = [], []
    for path in filter(Path.is_file, frame.files):
        try:
            if path == frame.metadata:
                results.append(read_metadata(path, frame.camera))
            else:
                results.append(read_image(path))
        except SiddError as error:
            messages.append(str(error))
    return results, messages


def _shape(path: Path) -> tuple[int, int]:
    """Return an image's shape, once all its values are read and checked."""
    height, width, _ = read_packed(path).shape
    return 2 * height, 2 * width


def check(
    instances: Sequence[SceneInstance], processes: int, progress: bool = True
) -> tuple[int, list[str]]:
    """Run `check_frame` on all frames, and return the sum of bytes and all messages.

    This takes processes, since h5py reads one file at a time per process. They import the caller's
    main module: a script that calls this needs `if __name__ == "__main__"`.

    Raises:
        SiddError: if a process was killed.
    """
    frames = [frame for i in instances for frame in (*i.frames, *i.incomplete)]
    executor = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    results: list[tuple[int, list[str]]] = []
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
