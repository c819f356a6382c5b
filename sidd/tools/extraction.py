"""Unpacking an archive that nobody vouches for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from sidd.errors import SiddError
from sidd.files import replacing


def extract(archive: str | os.PathLike, folder: str | os.PathLike, progress: bool = True) -> int:
    """Unpacks a zip file into ``folder``; gives how many files were written.

    Members that are there already with the right size are kept, and each is written beside and
    renamed, so that a run that was cut off is taken up again; what one that was killed left
    behind is removed. Raises SiddError, before anything is written, for an archive with a path
    that leaves the folder, a link or device, or an encrypted member, for one that is larger than
    the disk has room, and for one that another run is unpacking; later for a damaged member.
    """
    folder = Path(folder)
    try:
        with _held(archive) as alone, zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            targets = [_target(archive, member, folder) for member in file.infolist()]
            targets = [t for t, m in zip(targets, file.infolist(), strict=True) if not m.is_dir()]
            if len(set(targets)) < len(targets):
                raise SiddError(f"{archive}: has two members of the same name")
            waiting = [
                (member, target)
                for member, target in zip(members, targets, strict=True)
                if not (target.is_file() and target.stat().st_size == member.file_size)
            ]
            if alone:
                _remove_leftovers(targets)
            _check_space(archive, folder, sum(member.file_size for member, _ in waiting))
            for member, target in tqdm(
                waiting, "extracting", unit="file", disable=not progress, delay=1
            ):
                _write(archive, file, member, target)
    except zipfile.BadZipFile as error:
        raise SiddError(
            f"{archive}: not a zip file, or a damaged one: {error}; remove it and download it again"
        ) from None
    return len(waiting)


@contextlib.contextmanager
def _held(archive: str | os.PathLike) -> Iterator[bool]:
    """Holds an archive for this process; False where its file system knows no locks."""
    with open(archive, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            raise SiddError(f"{archive}: another run is unpacking it") from None
        except OSError:
            alone = False
        yield alone


def _remove_leftovers(targets: Sequence[Path]) -> None:
    """Removes what :func:`sidd.replacing` left of these files in runs that were killed."""
    wanted = set(targets)
    for folder in {target.parent for target in targets}:
        for path in folder.glob(".*.tmp"):
            match = re.fullmatch(r"\.(.+)\.\d+\.tmp", path.name)
            if match and folder / match[1] in wanted:
                path.unlink(missing_ok=True)


def _target(archive: str | os.PathLike, member: zipfile.ZipInfo, folder: Path) -> Path:
    """Where a member goes; SiddError where that is no place for it."""
    name = PurePosixPath(member.filename)
    reason = ""
    if name.is_absolute() or ".." in name.parts or set(":\\") & set(member.filename):
        reason = "leaves the folder"
    elif not name.parts:
        reason = "has no name"
    elif (folder / name).resolve() != folder.resolve() / name:
        reason = "goes through a link"
    elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a device"
    elif member.flag_bits & 1:
        reason = "is encrypted"
    if reason:
        raise SiddError(f"{archive}: member {member.filename!r} {reason}; nothing was extracted")
    return folder / name


def _check_space(archive: str | os.PathLike, folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SiddError(
            f"{archive}: needs {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free"
        )


def _write(
    archive: str | os.PathLike, file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path
) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(target) as temporary,
            file.open(member) as source,
            open(temporary, "wb") as out,
        ):
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise SiddError(
            f"{archive}: member {member.filename} is damaged: {error}; remove the archive and "
            "download it again"
        ) from None
