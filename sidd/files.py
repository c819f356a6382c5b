"""Writing files so that a crash leaves either the old file or the new one, never half of one."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path


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
