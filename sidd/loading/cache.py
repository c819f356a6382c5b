"""Frames read once: into memory, or into a folder of tile files that later runs start from.

The folder has two files a frame: ``.npy``, the tiles (:mod:`sidd.loading.tiles`), and ``.json``,
all else that is known of it. Their name holds a key of what NOISY, GT and METADATA contain. So a
file that changed is read again, and other frames, patch sizes and samplings share what is there
already. The JSON is written last, each file beside and renamed: where it stands, its frame is
whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sidd.cameras import CAMERAS
from sidd.errors import SiddError
from sidd.files import locked, replacing
from sidd.loading.tiles import OpenFile, TileFile, TilesInMemory, keeping_open, write_tiles
from sidd.matfiles import Pair, read_pair
from sidd.parallel import in_parallel
from sidd.scenes import Frame

#: The most that frames may take in memory, in bytes; more need a cache folder.
MEMORY_LIMIT = 2 << 30

_FORMAT = 1
_HASHED_WHOLE = 1 << 20
_HASHED_BLOCK = 1 << 16


@dataclass(frozen=True)
class FrameInfo:
    """A frame's packed size and conditions, sums over all values of its noise, and a hash.

    ``sha256`` is of all values of noise and clean image: the same wherever the same data lie.
    """

    height: int
    width: int
    camera: str
    iso: int
    nlf: tuple[float, float]
    noise_sum: float
    noise_squares: float
    sha256: str


class Tiles(Protocol):
    """What patches are read from."""

    def read(self, row: int, column: int, noise: np.ndarray, clean: np.ndarray) -> None: ...

    def expect(self, first: np.ndarray, last: np.ndarray, size: int) -> None: ...


Opened = tuple[FrameInfo, Tiles]


def open_in_memory(
    frames: Sequence[Frame], patch_size: int, threads: int, strict: bool, progress: bool
) -> list[Opened | SiddError]:
    """Reads frames into memory; for a bad one its error, which is raised where ``strict``.

    Raises SiddError where they take more than :data:`MEMORY_LIMIT`.
    """

    def read(frame: Frame) -> Opened | SiddError:
        try:
            pair, info = _read(frame, patch_size)
        except SiddError as error:
            return _bad(error, strict)
        return info, TilesInMemory(pair.noise, pair.clean)

    found, size = [], 0
    for result in in_parallel(read, frames, threads, "reading frames", "frame", progress):
        found.append(result)
        if not isinstance(result, SiddError):
            size += 2 * 4 * 4 * result[0].height * result[0].width
        if size > MEMORY_LIMIT:
            raise SiddError(
                f"{frames[len(found) - 1].noisy}: with it, frames take over "
                f"{MEMORY_LIMIT / 2**30:g} GB of memory; name a folder for a patch cache, or take "
                "fewer frames"
            )
    return found


def open_cached(
    frames: Sequence[Frame],
    patch_size: int,
    cache: Path,
    threads: int,
    strict: bool,
    progress: bool,
) -> list[Opened | SiddError]:
    """Opens frames in a cache folder, written there first where they are not yet.

    Gives for a bad frame its error, which is raised where ``strict``. One process writes at a
    time. Raises SiddError where the folder cannot be written.
    """
    open_file = keeping_open()

    def name_of(frame: Frame) -> tuple[str, bool] | SiddError:
        try:
            name = f"{frame.instance:04d}_{frame.number:03d}-{_key(frame)}"
        except SiddError as error:
            return _bad(error, strict)
        return name, _find(cache, name, open_file) is not None

    named = list(in_parallel(name_of, frames, threads, "finding frames", "frame", progress))
    missing = {
        found[0]: frame
        for found, frame in zip(named, frames, strict=True)
        if not isinstance(found, SiddError) and not found[1]
    }
    errors = _write(missing, patch_size, cache, threads, strict, progress) if missing else {}

    def opened(frame: Frame, found: tuple[str, bool] | SiddError) -> Opened | SiddError:
        if isinstance(found, SiddError):
            return found
        if found[0] in errors:
            return errors[found[0]]
        result = _find(cache, found[0], open_file)
        if result is None:
            raise SiddError(f"{cache / found[0]}.npy: is gone or damaged just after it was written")
        try:
            _check(frame, result[0], patch_size)
        except SiddError as error:
            return _bad(error, strict)
        return result

    return [opened(frame, found) for frame, found in zip(frames, named, strict=True)]


def _write(
    frames: Mapping[str, Frame],
    patch_size: int,
    cache: Path,
    threads: int,
    strict: bool,
    progress: bool,
) -> dict[str, SiddError]:
    """Writes frames under the given names; gives the errors of bad ones."""

    def write(name: str) -> SiddError | None:
        try:
            pair, info = _read(frames[name], patch_size)
        except SiddError as error:
            return _bad(error, strict)
        with replacing(cache / f"{name}.npy") as path, open(path, "wb", buffering=0) as file:
            write_tiles(file, pair.noise, pair.clean)
        with replacing(cache / f"{name}.json") as path:
            path.write_text(json.dumps(asdict(info), indent=1) + "\n")
        return None

    try:
        with locked(cache) as alone:
            if alone:
                for path in cache.glob(".*.tmp"):
                    path.unlink(missing_ok=True)
            names = [name for name in frames if _find(cache, name) is None]
            results = in_parallel(write, names, threads, "caching frames", "frame", progress)
            return {
                name: error for name, error in zip(names, results, strict=True) if error is not None
            }
    except OSError as error:
        cure = "name another folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            cure = "make room there (32 bytes a packed pixel) or name another folder"
        raise SiddError(
            f"{cache}: the patch cache cannot be written: {error.strerror or error}; {cure}"
        ) from error


def check_conditions(frame: Frame, camera: str, iso: int) -> None:
    """Raises SiddError where METADATA's camera and ISO are not those of the frame's folder."""
    if (camera, iso) != (frame.camera, frame.iso):
        raise SiddError(
            f"{frame.metadata}: is of {camera} at ISO {iso}, but its folder's name "
            f"says {frame.camera} at ISO {frame.iso}"
        )


def _check(frame: Frame, info: FrameInfo, patch_size: int) -> None:
    check_conditions(frame, info.camera, info.iso)
    if min(info.height, info.width) < patch_size:
        raise SiddError(
            f"{frame.noisy}: packed image of {info.height} x {info.width} is smaller than a patch "
            f"of {patch_size} x {patch_size}"
        )


def _read(frame: Frame, patch_size: int) -> tuple[Pair, FrameInfo]:
    other = None if frame.camera in CAMERAS else frame.camera
    pair = read_pair(frame.noisy, frame.clean, frame.metadata, other)
    height, width, _ = pair.noise.shape
    values = hashlib.sha256()
    for image in (pair.noise, pair.clean):
        values.update(np.ascontiguousarray(image, "<f4"))
    info = FrameInfo(
        height, width, pair.camera, pair.iso, pair.nlf,
        noise_sum=float(pair.noise.sum(dtype=np.float64)),
        noise_squares=float(np.square(pair.noise).sum(dtype=np.float64)),
        sha256=values.hexdigest(),
    )  # fmt: skip
    _check(frame, info, patch_size)
    return pair, info


def _bad(error: SiddError, strict: bool) -> SiddError:
    if strict:
        raise error
    return error


def _find(cache: Path, name: str, open_file: Callable = OpenFile) -> Opened | None:
    """A frame in the cache; None where it is missing or not what it should be."""
    try:
        info = FrameInfo(**json.loads((cache / f"{name}.json").read_bytes()))
        return info, TileFile(cache / f"{name}.npy", info.height, info.width, open_file)
    except (OSError, ValueError, TypeError):
        return None


def _key(frame: Frame) -> str:
    """A hash of what the cache's content depends on."""
    key = hashlib.sha256(f"sidd tiles {_FORMAT}".encode())
    for path in (frame.noisy, frame.clean, frame.metadata):
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                key.update(f"|{status.st_size}|{status.st_mtime_ns}|".encode())
                for start, length in _hashed_parts(status.st_size):
                    file.seek(start)
                    key.update(file.read(length))
        except FileNotFoundError:
            raise SiddError(f"{path}: no such file") from None
        except OSError as error:
            raise SiddError(f"{path}: cannot be read: {error.strerror}") from error
    return key.hexdigest()[:32]


def _hashed_parts(size: int) -> list[tuple[int, int]]:
    """A small file as a whole; of a large one, blocks at the ends and between."""
    if size <= _HASHED_WHOLE:
        return [(0, size)]
    return [((size - _HASHED_BLOCK) * part // 4, _HASHED_BLOCK) for part in range(5)]
