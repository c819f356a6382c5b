"""Files that a crash leaves old or new, never half-written; locks; free space."""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sidd.errors import SiddError


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and move it to `path` if all went well.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as temporary:
    ...     _ = temporary.write_text("done")
    >>> [file.name for file in target.parent.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[bool]:
    """Make a folder, lock it for this process, and yield whether that was possible.

    It is not if the folder cannot be written, or if its file system has no locks. This waits for
    another process that has the lock; one that dies releases it.
    """
    with contextlib.ExitStack() as stack:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(Path(folder) / ".lock", "a"))  # closing it unlocks
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.getLogger(__name__).warning("%s: waiting for another run to end", folder)
                fcntl.flock(file, fcntl.LOCK_EX)
            is_locked = True
        except OSError:
            is_locked = False
        yield is_locked


def leftovers(folder: str | os.PathLike) -> Iterator[tuple[Path, Path]]:
    """Iterate over the temporary files of `replacing` in a folder, each with its `path`."""
    for temporary in Path(folder).glob(".*.tmp"):
        yield temporary, temporary.with_name(temporary.name[1:].rsplit(".", 2)[0])


def lock(file: IO, refusal: str) -> bool:
    """Lock an open file for this process; return False if its file system has no locks.

    Raises:
        SiddError: with the message `refusal`, if another process has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SiddError(refusal) from None
    except OSError:
        return False
    return True


def check_space(what: str | os.PathLike, folder: Path, needed: int) -> None:
    """Raise SiddError if a folder has less free space than `needed` bytes, for what it names."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SiddError(
            f"{what}: needs {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free"
        )
