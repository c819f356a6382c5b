"""Files that a crash leaves old or new, never half-written; locks; free space."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sidd.errors import SiddError

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and move it to `path` if all went well.

    What is written is on the disk before it gets its name.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as temporary:
    ...     _ = temporary.write_text("done")
    >>> [file.name for file in target.parent.iterdir()]
    ['note.txt']

    Raises:
        OSError: the file cannot be written; the message names it, and says what is there now.
    """
    path = Path(path)
    temporary = temporary_of(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise
        kept = "the earlier one is kept" if path.exists() else "nothing is there"
        named = OSError(f"{path}: cannot be written: {error.strerror or error}; {kept}")
        named.errno = error.errno
        raise named from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """Return where this process writes what becomes the file or folder `path`."""
    return path.with_name(f".{path.name}.{_place()}-{os.getpid()}.tmp")


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk, if its file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def clear_dead(path: Path) -> None:
    """Remove the temporary files and folders of `path` whose processes have been killed.

    Of those on another machine or in another container nobody here knows: theirs are left.
    """
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.{_place()}-*.tmp"):
        process = temporary.name.removesuffix(".tmp").rpartition("-")[2]
        if process.isdecimal() and not _lives(int(process)):
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


def _place() -> str:
    """Return eight digits for this machine and container, in which a process has its number."""
    container = ""
    with contextlib.suppress(OSError):
        container = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
