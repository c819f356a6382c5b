"""Unpacking an archive that nobody vouches for."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from .errors import SiddError
from .files import replacing


def extract(archive: str | os.PathLike, folder: str | os.PathLike, progress: bool = True) -> int:
    """Unpacks a zip file into ``folder``; gives how many files were written.

    Members that are there already with the right size are kept, and each is written beside and
    renamed, so that a run that was cut off is taken up again. Raises SiddError, before anything is
    written, for an archive with a path that leaves the folder, a link or device, or an encrypted
    member, and for one that is larger than the disk has room; later for a damaged member.
    """
    folder = Path(folder)
    try:
        with zipfile.ZipFile(archive) as file:
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
