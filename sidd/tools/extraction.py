"""Unpacking an archive of unknown origin."""

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from sidd.errors import SiddError
from sidd.files import check_space, leftovers, lock, replacing
from sidd.progress import progress_bar


def extract(archive: str | os.PathLike, folder: str | os.PathLike, progress: bool = True) -> int:
    """Unpack a zip file into `folder`, and return how many files were written.

    Members that are there already with the right size are kept, and each is written by renaming, so
    that the next run resumes one that was stopped, and removes the temporary files of a killed one.

    Raises:
        SiddError: before anything is written, for an archive with a path that leaves the folder, a
            link, a device or an encrypted member, for one larger than the free space, and for one
            that another run is unpacking; later for a damaged member.
    """
    folder = Path(folder)
    try:
        with open(archive, "rb") as opened, zipfile.ZipFile(opened) as file:
            is_locked = lock(opened, f"{archive}: another run is unpacking it")
            placed = [(member, _target(archive, member, folder)) for member in file.infolist()]
            placed = [(member, target) for member, target in placed if not member.is_dir()]
            targets = {target for _, target in placed}
            if len(targets) < len(placed):
                raise SiddError(f"{archive}: has two members of the same name")
            waiting = [
                (member, target)
                for member, target in placed
                if not (target.is_file() and target.stat().st_size == member.file_size)
            ]
            if is_locked:
                _remove_leftovers(targets)
            folder.mkdir(parents=True, exist_ok=True)
            check_space(archive, folder, sum(member.file_size for member, _ in waiting))
            for member, target in progress_bar(
                waiting, "extracting", progress, unit="file", delay=1
            ):
                _write(archive, file, member, target)
    except zipfile.BadZipFile as error:
        raise SiddError(
            f"{archive}: not a zip file, or a damaged one: {error}; remove it and download it again"
        ) from None
    return len(waiting)


def _remove_leftovers(targets: set[Path]) -> None:
    """Remove the temporary files of these targets from runs that were killed."""
    for folder in {target.parent for target in targets}:
        for temporary, target in leftovers(folder):
            if target in targets:
                temporary.unlink(missing_ok=True)


def _target(archive: str | os.PathLike, member: zipfile.ZipInfo, folder: Path) -> Path:
    """Return where a member goes; raise SiddError if it must not go there."""
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
