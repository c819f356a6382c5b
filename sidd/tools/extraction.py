"""Unpacking an archive of unknown origin."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sidd.errors import SiddError, reading
from sidd.files import check_space, leftovers, lock, replacing
from sidd.progress import progress_bar


def extract(archive: str | os.PathLike, folder: str | os.PathLike, progress: bool = True) -> int:
    """Unpack a zip file into `folder`, and return how many files were written.

    Members that are there already, with the right size and content, are kept, and each is written
    by renaming, so that the next run resumes one that was stopped, and removes the temporary files
    of a killed one. Nothing else that is there is replaced.

    Raises:
        SiddError: before anything is written, for an archive with a path that leaves the folder, a
            link, a device, an encrypted member or one of unknown compression, for one larger than
            the free space, for one that another run is unpacking, and if another file is where a
            member goes; later for a damaged member.
    """
    folder = Path(folder)
    with open(archive, "rb") as opened:
        with reading(
            archive, "not a zip file, or a damaged one, to be removed and downloaded again"
        ):
            file = zipfile.ZipFile(opened)
        with file:
            is_locked = lock(opened, f"{archive}: another run is unpacking it")
            placed = [(member, _target(archive, member, folder)) for member in file.infolist()]
            placed = [(member, target) for member, target in placed if not member.is_dir()]
            targets = {target for _, target in placed}
            if len(targets) < len(placed):
                raise SiddError(f"{archive}: has two members of the same name")
            waiting = [one for one in placed if not _is_there(archive, *one)]
            if is_locked:
                _remove_leftovers(targets)
            folder.mkdir(parents=True, exist_ok=True)
            check_space(archive, folder, sum(member.file_size for member, _ in waiting))
            for member, target in progress_bar(
                waiting, "extracting", progress, unit="file", delay=1
            ):
                _write(archive, file, member, target)
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
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        reason = f"has compression {member.compress_type}, not deflate"
    elif "\0" in member.filename or any(len(os.fsencode(part)) > 255 for part in name.parts):
        reason = "has a name that no file can have"
    if reason:
        raise SiddError(f"{archive}: member {member.filename!r} {reason}; nothing was extracted")
    return folder / name


def _is_there(archive: str | os.PathLike, member: zipfile.ZipInfo, target: Path) -> bool:
    """Return whether a member has been written; raise SiddError if something else is there."""
    if not os.path.lexists(target):
        return False
    if target.is_file() and target.stat().st_size == member.file_size:
        checksum = 0
        with open(target, "rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
        if checksum == member.CRC:
            return True
    raise SiddError(
        f"{target}: is there already, and is not the file of this name in {archive}; move it away, "
        "or unpack to another folder"
    )


def _blocks(
    archive: str | os.PathLike, file: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Iterator[bytes]:
    """Iterate over what a member holds."""
    refusal = f"member {member.filename} is damaged; remove the archive and download it again"
    with reading(archive, refusal), file.open(member) as source:
        while block := source.read(1 << 20):
            yield block


def _write(
    archive: str | os.PathLike, file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary, open(temporary, "wb") as out:
        size = 0
        blocks = _blocks(archive, file, member)
        while block := next(blocks, b""):
            size += len(block)
            if size > member.file_size:
                raise SiddError(f"{archive}: member {member.filename} is larger than it says")
            out.write(block)
