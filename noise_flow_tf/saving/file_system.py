"""What a file system can do: locks, exchange at once, and data that outlives a power cut."""

import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
_NO_EXCHANGE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def lock(file: IO, refusal: str | None = None) -> bool:
    """Lock an open file for this process; return False if its file system has no locks.

    A message names the folder then, once.

    Args:
        file: closing it unlocks it.
        refusal: the message if another process has the lock; None waits for it.

    Raises:
        ValueError: another process has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
    except BlockingIOError:
        raise ValueError(refusal) from None
    except OSError as error:
        _say_no_locks(Path(file.name).parent, error.strerror)
        return False
    return True


def place() -> str:
    """Return eight digits for this machine and container, in which a process has its number."""
    container = ""
    with suppress(OSError):
        container = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def lives(process: int) -> bool:
    """Return whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sync(path: Path) -> None:
    """Wait until a file, or a folder with all in it, is on the disk, if its file system can."""
    if path.is_dir():
        for entry in path.iterdir():
            sync(entry)
    sync_one(path)


def sync_one(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk, if its file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two folders at once; return False if the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(first), os.fsencode(second)
    if not rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code not in _NO_EXCHANGE:
        raise OSError(code, os.strerror(code), str(second))
    return False


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _say_no_locks(folder: Path, reason: str) -> None:
    print(
        f"{folder}: its file system has no locks ({reason}); do not let two processes write there",
        file=sys.stderr,
    )
