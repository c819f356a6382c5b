"""Frames read once: into memory, or into a folder of tile files for this run and later ones.

The folder has two files per frame: `.npy`, the tiles (`sidd.loading.tiles`), and `.json`, the
`FrameInfo`, the tiles' checksums and a hash of these. Their name has a key of the contents of
NOISY, GT and METADATA. So a file that changed is read again, and all selections of frames, patch
sizes and samplings share the folder. The JSON is written last, and both files by renaming: if there
is a JSON, its frame is complete. A frame with a damaged JSON is read again; a damaged tile is
refused.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sidd.cameras import BY_CODE, named_by
from sidd.errors import SiddError
from sidd.files import leftovers, locked, replacing
from sidd.loading.tiles import OpenFile, TileFile, TilesInMemory, keeping_open, write_tiles
from sidd.matfiles import Pair, read_pair
from sidd.parallel import in_parallel
from sidd.scenes import Frame

MEMORY_LIMIT = 2 << 30
"""The most that frames may take in memory, in bytes; more need a cache folder."""

_FORMAT = 2
_HASHED_WHOLE = 1 << 20
_HASHED_BLOCK = 1 << 16


@dataclass(frozen=True)
class FrameInfo:
    """A frame's packed size and conditions, sums over its noise, and a hash of all its values.

    Attributes:
        camera: the code of the camera that METADATA names, "" if it names none for certain; once
            the frame is opened, that of the frame.
        noise_sum, noise_squares: over the pixels without NaN.
        masked: those with NaN in the noise, as runs (start, length) of packed pixels, row by row.
    """

    height: int
    width: int
    camera: str
    iso: int
    nlf: tuple[float, float]
    noise_sum: float
    noise_squares: float
    sha256: str
    masked: tuple[tuple[int, int], ...] = ()

    @property
    def num_masked(self) -> int:
        """The number of packed pixels with NaN."""
        return sum(length for _, length in self.masked)

    def mask(self) -> np.ndarray:
        """Return which packed pixels have NaN, bool [h, w]."""
        mask = np.zeros(self.height * self.width, bool)
        for start, length in self.masked:
            mask[start : start + length] = True
        return mask.reshape(self.height, self.width)


Opened = tuple[FrameInfo, TileFile | TilesInMemory]


def open_in_memory(
    frames: Sequence[Frame], patch_size: int, threads: int, strict: bool, progress: bool
) -> list[Opened | SiddError]:
    """Read frames into memory; return the error of a bad one, or raise it if `strict`.

    Raises:
        SiddError: if the frames take more than `MEMORY_LIMIT`.
    """

    def read(frame: Frame) -> Opened | SiddError:
        try:
            pair, info = _read(frame, patch_size)
        except SiddError as error:
            return _bad(error, strict)
        info = replace(info, camera=frame.camera)
        return info, TilesInMemory(pair.noise, pair.clean)

    results, size = [], 0
    for result in in_parallel(read, frames, threads, "reading frames", "frame", progress):
        results.append(result)
        if not isinstance(result, SiddError):
            size += 2 * 4 * 4 * result[0].height * result[0].width
        if size > MEMORY_LIMIT:
            raise SiddError(
                f"{frames[len(results) - 1].noisy}: with it, frames take over "
                f"{MEMORY_LIMIT / 2**30:g} GB of memory; name a folder for a patch cache, or take "
                "fewer frames"
            )
    return results


def open_cached(
    frames: Sequence[Frame],
    patch_size: int,
    cache: Path,
    threads: int,
    strict: bool,
    progress: bool,
) -> list[Opened | SiddError]:
    """Open frames in a cache folder, after writing those that it lacks, one process at a time.

    Return the error of a bad frame, or raise it if `strict`.

    Raises:
        SiddError: if the folder cannot be written.
    """
    open_file = keeping_open()

    def name_of(frame: Frame) -> tuple[str, bool] | SiddError:
        try:
            name = f"{frame.instance:04d}_{frame.number:03d}-{_key(frame)}"
        except SiddError as error:
            return _bad(error, strict)
        return name, _find(cache, name, open_file) is not None

    named = list(in_parallel(name_of, frames, threads, "looking up frames", "frame", progress))
    missing = {
        name[0]: frame
        for name, frame in zip(named, frames, strict=True)
        if not isinstance(name, SiddError) and not name[1]
    }
    errors = _write(missing, patch_size, cache, threads, strict, progress) if missing else {}

    def opened(frame: Frame, named: tuple[str, bool] | SiddError) -> Opened | SiddError:
        if isinstance(named, SiddError):
            return named
        name, _ = named
        if name in errors:
            return errors[name]
        result = _find(cache, name, open_file)
        if result is None:
            raise SiddError(f"{cache / name}.npy: is gone or damaged just after it was written")
        info, tiles = result
        try:
            _check(frame, info, patch_size)
        except SiddError as error:
            return _bad(error, strict)
        return replace(info, camera=frame.camera), tiles

    return [opened(frame, name) for frame, name in zip(frames, named, strict=True)]


def _write(
    frames: Mapping[str, Frame],
    patch_size: int,
    cache: Path,
    threads: int,
    strict: bool,
    progress: bool,
) -> dict[str, SiddError]:
    """Write frames under these names, and return the errors of bad ones."""

    def write(name: str) -> SiddError | None:
        try:
            pair, info = _read(frames[name], patch_size)
        except SiddError as error:
            return _bad(error, strict)
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(cache / f"{name}.npy") as path, open(path, "wb") as file:
            checksums = write_tiles(file, pair.noise, pair.clean)
        with replacing(cache / f"{name}.json") as path:
            path.write_text(_to_json(info, checksums))
        return None

    try:
        with locked(cache) as alone:
            if alone:
                for path, _ in leftovers(cache):
                    path.unlink(missing_ok=True)
            names = [name for name in frames if _find(cache, name) is None]
            results = in_parallel(write, names, threads, "caching frames", "frame", progress)
            return {
                name: error for name, error in zip(names, results, strict=True) if error is not None
            }
    except OSError as error:
        advice = "name another folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "make room there (32 bytes per packed pixel) or name another folder"
        raise SiddError(
            f"{cache}: the patch cache cannot be written: {error.strerror or error}; {advice}"
        ) from error


def check_conditions(frame: Frame, named: str, iso: int) -> None:
    """Raise SiddError if METADATA contradicts the name of the frame's folder.

    The folder's name gives the camera. METADATA contradicts it if the camera is one of
    `sidd.cameras` and make and model are another's, whose code is `named`.
    """
    camera = frame.camera if frame.camera not in BY_CODE else named or frame.camera
    if (camera, iso) != (frame.camera, frame.iso):
        raise SiddError(
            f"{frame.metadata}: is of {camera} at ISO {iso}, but its folder's name "
            f"says {frame.camera} at ISO {frame.iso}"
        )


def check_noise(frame: Frame, has_noise: bool) -> None:
    """Raise SiddError if a frame has no noise."""
    if not has_noise:
        raise SiddError(f"{frame.noisy}: is equal to its GT, {frame.clean.name}: it has no noise")


def _check(frame: Frame, info: FrameInfo, patch_size: int) -> None:
    check_conditions(frame, info.camera, info.iso)
    check_noise(frame, info.noise_squares > 0 or info.num_masked > 0)
    if min(info.height, info.width) < patch_size:
        raise SiddError(
            f"{frame.noisy}: packed image of {info.height} x {info.width} is smaller than a patch "
            f"of {patch_size} x {patch_size}"
        )


def _read(frame: Frame, patch_size: int) -> tuple[Pair, FrameInfo]:
    pair = read_pair(frame.noisy, frame.clean, frame.metadata, frame.camera)
    height, width, _ = pair.noise.shape
    masked = np.isnan(pair.noise).any(axis=-1)
    finite = pair.noise[~masked] if masked.any() else pair.noise
    values = hashlib.sha256()
    for image in (pair.noise, pair.clean):
        values.update(np.ascontiguousarray(image, "<f4").data)
    info = FrameInfo(
        height, width, named_by(pair.metadata.make, pair.metadata.model), pair.iso, pair.nlf,
        noise_sum=float(finite.sum(dtype=np.float64)),
        noise_squares=float(np.square(finite).sum(dtype=np.float64)),
        sha256=values.hexdigest(),
        masked=_runs(masked),
    )  # fmt: skip
    _check(frame, info, patch_size)
    return pair, info


def _runs(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(), [False]])))
    return tuple((start, end - start) for start, end in edges.reshape(-1, 2).tolist())


def _bad(error: SiddError, strict: bool) -> SiddError:
    if strict:
        raise error
    return error


def _find(cache: Path, name: str, open_file: Callable = OpenFile) -> Opened | None:
    """Return a frame of the cache; None if it is missing or damaged."""
    try:
        info, checksums = _from_json((cache / f"{name}.json").read_bytes())
        path = cache / f"{name}.npy"
        return info, TileFile(path, info.height, info.width, checksums, open_file)
    except Exception:  # of many kinds for a damaged file, which is written again
        return None


def _to_json(info: FrameInfo, checksums: np.ndarray) -> str:
    content = asdict(info) | {"checksums": checksums.astype("<u4").tobytes().hex()}
    return json.dumps(content | {"of_all": _hash(content)}, indent=1) + "\n"


def _from_json(text: bytes) -> tuple[FrameInfo, np.ndarray]:
    """Return what `_to_json` wrote; raise an error of any kind for anything else."""
    content = json.loads(text)
    if content.pop("of_all") != _hash(content):
        raise ValueError("its hash is not that of its content")
    checksums = np.frombuffer(bytes.fromhex(content.pop("checksums")), "<u4")
    for name in ("nlf", "masked"):
        content[name] = _tuples(content[name])
    return FrameInfo(**content), checksums


def _hash(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _key(frame: Frame) -> str:
    """Return a hash of the frame's files: sizes, times of change and contents, in part."""
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
    """Return (start, length) of a small file's whole, or of five blocks of a large one."""
    if size <= _HASHED_WHOLE:
        return [(0, size)]
    return [((size - _HASHED_BLOCK) * part // 4, _HASHED_BLOCK) for part in range(5)]
