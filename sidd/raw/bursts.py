"""Bursts: the frames of one static scene at one setting, read from a folder and checked."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sidd.bayer import CFA_PATTERNS
from sidd.errors import SiddError
from sidd.npy import read_npy
from sidd.progress import progress_bar
from sidd.raw import SUFFIXES
from sidd.raw.files import RawFile
from sidd.raw.reading import read_dng

BAND = 128
"""Rows that are worked on at once; a multiple of the blocks of `sidd.raw.statistics`."""

_PICTURES = {".jpg", ".jpeg", ".heic", ".heif", ".png", ".tif", ".tiff", ".xmp", ".thm", ".txt"}
_PILE = 50


@dataclass(frozen=True, eq=False, kw_only=True)
class Burst:
    """Frames of one static scene at one setting.

    Attributes:
        name: for messages.
        levels: [N, H, W], uint16 as the camera wrote them, or float32, H and W even.
        black: [2, 2], black level of each place of the 2x2 cell.
        white: saturation level, black included.
        cfa: [2, 2] with 0 R, 1 G, 2 B.
        clip: (lowest, highest) level: what is at or beyond them was clipped.
        iso, exposure: in seconds; None if they are not known.
        files: names of the frames.
        raw: the first frame's file, without its levels; None for a burst of arrays.
        notes: sentences on what was left out or looked wrong.
    """

    name: str
    levels: np.ndarray
    black: np.ndarray
    white: float
    cfa: np.ndarray
    clip: tuple[float, float]
    iso: int | None = None
    exposure: float | None = None
    files: tuple[str, ...] = ()
    raw: RawFile | None = None
    notes: tuple[str, ...] = ()
    scale: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", self.white - self.black)

    @staticmethod
    def of_arrays(
        frames: ArrayLike,
        black: ArrayLike = 0,
        white: float = 1.0,
        *,
        cfa: ArrayLike = CFA_PATTERNS["RGGB"],
        name: str = "burst",
        limits: tuple[float, float] = (0, np.inf),
        **other: Any,
    ) -> "Burst":
        """Return the burst of arrays.

        Args:
            frames: [N, H, W], levels, or intensities with `black` 0 and `white` 1.
            black: black level, one or [2, 2].
            white: saturation level.
            cfa: colour filter pattern.
            name: for messages.
            limits: the smallest and the largest level that a frame can have.
            other: other attributes.

        Raises:
            SiddError: if they are no burst.
        """
        levels = np.asarray(frames)
        if levels.ndim != 3 or levels.shape[1] % 2 or levels.shape[2] % 2 or not levels.size:
            raise SiddError(f"{name}: a burst is [N, H, W], H and W even; got {levels.shape}")
        if levels.dtype.kind not in "uif":
            raise SiddError(f"{name}: frames of numbers are needed; got {levels.dtype}")
        if levels.dtype.kind == "f":
            levels = levels.astype(np.float32)
            if not np.isfinite(levels).all():
                raise SiddError(f"{name}: frames have values that are not finite")
        else:
            if levels.min() < 0 or levels.max() > 65535:
                raise SiddError(
                    f"{name}: levels are 0 to 65535; got {levels.min()}..{levels.max()}"
                )
            levels = levels.astype(np.uint16)
        files = other.pop("files", tuple(f"frame {n}" for n in range(len(levels))))
        black = np.broadcast_to(np.asarray(black, float), (2, 2))
        if not (black < white).all():
            raise SiddError(f"{name}: white {white:g} is not above black {black.max():g}")
        burst = Burst(
            name=name, levels=levels, black=black, white=float(white), cfa=np.asarray(cfa),
            clip=_clip_levels(levels, float(white), limits), files=files, **other,
        )  # fmt: skip
        _check_duplicates(burst)
        return burst

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.levels.shape[1], self.levels.shape[2]

    @property
    def lowest(self) -> np.ndarray:
        """[2, 2], the intensity at which the camera clips below."""
        return (self.clip[0] - self.black) / self.scale

    @property
    def highest(self) -> np.ndarray:
        """[2, 2], the intensity at which the camera clips above."""
        return (self.clip[1] - self.black) / self.scale

    def bands(self, description: str | None = None) -> Iterator[slice]:
        """Iterate over bands of rows; show progress if there is a description."""
        tops = range(0, self.shape[0], BAND)
        for top in progress_bar(
            tops, description or "", description is not None, leave=False, delay=1
        ):
            yield slice(top, min(top + BAND, self.shape[0]))

    def tiled(self, cell: np.ndarray, rows: slice) -> np.ndarray:
        """Return values [2, 2] of the cell at each pixel of a band, float32 [h, W]."""
        height = rows.stop - rows.start
        return np.tile(np.asarray(cell, np.float32), (height // 2, self.shape[1] // 2))

    def intensities(self, rows: slice, gains: np.ndarray | None = None) -> np.ndarray:
        """Return the intensities of a band, float32 [N, h, W], divided by `gains` [N, 2, 2]."""
        result = np.empty((len(self.levels), rows.stop - rows.start, self.shape[1]), np.float32)
        black = self.tiled(self.black, rows)
        for number, frame in enumerate(self.levels):
            factor = 1 / self.scale if gains is None else 1 / (self.scale * gains[number])
            np.subtract(frame[rows], black, out=result[number])
            result[number] *= self.tiled(factor, rows)
        return result

    def clipped(self, rows: slice) -> np.ndarray:
        """Return which samples of a band were clipped, bool [N, h, W]."""
        levels = self.levels[:, rows]
        return (levels <= self.clip[0]) | (levels >= self.clip[1])

    def frame(self, number: int, gain: np.ndarray) -> np.ndarray:
        """Return the intensities of one frame, float32 [H, W], divided by its gains [N, 2, 2]."""
        rows = slice(0, self.shape[0])
        return self.only(number).intensities(rows, gain[number : number + 1])[0]

    def only(self, number: int) -> "Burst":
        """Return a burst of one frame."""
        return replace(self, levels=self.levels[number : number + 1])

    def emptied(self) -> "Burst":
        """Return the burst without its levels, which take memory."""
        return replace(self, levels=self.levels[:, :0, :0].copy())

    def without(self, frames: Iterable[int], note: str) -> "Burst":
        """Return the burst without some frames, and why."""
        left_out = set(frames)
        kept = [n for n in range(len(self.levels)) if n not in left_out]
        return replace(
            self,
            levels=self.levels[kept],
            files=tuple(self.files[n] for n in kept),
            notes=(*self.notes, note),
        )


def find_bursts(folders: Iterable[str | os.PathLike]) -> list[tuple[Path, list[Path], str]]:
    """Return the bursts in folders: folder, frames in the order of their names, and a note.

    A folder is a burst if raw files or .npy files lie in it, else each of its folders is. Hidden
    files, and the pictures that cameras write beside raw files, are not frames; the note says so.

    Raises:
        SiddError: for a missing folder, one without frames, or one with both frames and bursts.
    """
    found = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise SiddError(f"{folder}: no such folder; expected raw files of a burst in it")
        inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        own = _frames(folder)
        nested = [(path, *_frames(path)) for path in inner]
        nested = [one for one in nested if one[1]]
        if own[0] and nested:
            raise SiddError(
                f"{folder}: has frames and folders with frames ({nested[0][0].name}); a burst is a "
                "folder of its own"
            )
        if not own[0] and not nested:
            known = ", ".join((*SUFFIXES, ".npy"))
            raise SiddError(f"{folder}: no frames; expected files that end in {known}")
        found += nested or [(folder, *own)]
    repeated = [
        path for path, *_ in found if [one[0].resolve() for one in found].count(path.resolve()) > 1
    ]
    if repeated:
        raise SiddError(f"{repeated[0]}: given twice; name each burst once")
    return found


def _frames(folder: Path) -> tuple[list[Path], str]:
    frames: list[Path] = []
    pictures: list[str] = []
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.name.startswith("."):
            continue
        suffix = path.suffix.lower()
        if suffix in (*SUFFIXES, ".npy"):
            frames.append(path)
        else:
            (pictures if suffix in _PICTURES else others).append(path.name)
    ignored = pictures + others
    if not ignored:
        return frames, ""
    more = f" and {len(ignored) - 1} more" if len(ignored) > 1 else ""
    return frames, f"not raw files, left out: {ignored[0]}{more}"


def read_burst(
    paths: Sequence[str | os.PathLike],
    name: str | None = None,
    iso: int | None = None,
    progress: bool = False,
) -> Burst:
    """Read the frames of a burst: raw files, or .npy with intensities [H, W], not clipped.

    Args:
        paths: the files.
        name: for messages; by default the folder of the first file.
        iso: of files that do not state it.
        progress: show a progress bar.

    Raises:
        SiddError: for a file that cannot be read, frames of different settings, or equal frames;
            the message names the file.
    """
    found = [Path(path) for path in paths]
    if not found:
        raise SiddError(f"{name or 'burst'}: no frames")
    name = name or str(found[0].parent)
    files = tuple(path.name for path in found)
    bar = progress_bar(found, f"reading {Path(name).name}", progress, unit="frame", leave=False)
    kinds = {path.suffix.lower() == ".npy" for path in found}
    if len(kinds) > 1:
        raise SiddError(f"{name}: has raw files and .npy files; a burst has one kind")
    if kinds.pop():
        arrays = [_read_npy(path) for path in bar]
        for path, array in zip(found, arrays, strict=True):
            _check_same(path, found[0], "size", array.shape, arrays[0].shape)
        return Burst.of_arrays(np.stack(arrays), name=name, files=files, iso=iso)
    levels = np.empty((0, 0, 0), np.uint16)
    first: RawFile | None = None
    for number, path in enumerate(bar):
        raw = read_dng(path)
        if first is None:
            first = raw
            levels = np.empty((len(found), *raw.levels.shape), np.uint16)
        for what in ("make", "model", "iso", "exposure", "white"):
            _check_same(path, found[0], what, getattr(raw, what), getattr(first, what))
        _check_same(path, found[0], "size", raw.levels.shape, first.levels.shape)
        _check_same(path, found[0], "CFA pattern", raw.cfa.tolist(), first.cfa.tolist())
        _check_same(path, found[0], "black level", raw.black.tolist(), first.black.tolist())
        levels[number] = raw.levels
    assert first is not None
    if first.iso is not None and iso is not None and first.iso != iso:
        raise SiddError(f"{found[0]}: states ISO {first.iso}, not {iso}; leave --iso out")
    return Burst.of_arrays(
        levels, first.black, first.white, cfa=first.cfa, name=name, files=files,
        iso=first.iso or iso, exposure=first.exposure, notes=first.warnings, limits=first.limits,
        raw=replace(first, levels=np.empty((0, 0), np.uint16)),
    )  # fmt: skip


def _read_npy(path: Path) -> np.ndarray:
    array = read_npy(path)
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[0] % 2 or array.shape[1] % 2:
        raise SiddError(
            f"{path}: a frame is float [H, W], H and W even, (level - black) / (white - black); "
            f"got {array.dtype} {array.shape}"
        )
    if not np.isfinite(array).all():
        raise SiddError(f"{path}: has values that are not finite")
    if not -0.5 < np.percentile(array, 1) <= np.percentile(array, 99) < 1.5:
        raise SiddError(
            f"{path}: intensities are about 0 to 1; got {array.min():g} to {array.max():g}; store "
            "(level - black) / (white - black)"
        )
    return array.astype(np.float32)


def _check_same(path: Path, first: Path, what: str, value: Any, wanted: Any) -> None:
    if value != wanted:
        raise SiddError(
            f"{path}: its {what} is {value}, that of {first.name} is {wanted}; the frames of a "
            "burst have one setting"
        )


def _check_duplicates(burst: Burst) -> None:
    lowest, highest = burst.levels.min(), burst.levels.max()
    if highest <= burst.clip[0] or lowest >= burst.clip[1]:
        end = "black" if highest <= burst.clip[0] else "white"
        raise SiddError(f"{burst.name}: every pixel is clipped at {end}; expose it differently")
    seen: dict[bytes, str] = {}
    for name, frame in zip(burst.files, burst.levels, strict=True):
        digest = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=16).digest()
        if digest in seen:
            raise SiddError(
                f"{burst.name}: {name} and {seen[digest]} have equal pixels; a frame counts once"
            )
        seen[digest] = name


def _clip_levels(
    levels: np.ndarray, white: float, limits: tuple[float, float]
) -> tuple[float, float]:
    """Return the levels at which frames are clipped: white, or where highlights pile up below it.

    Levels of integers are clipped at the smallest; intensities only if they pile up at 0.
    """
    white = min(white, limits[1])
    if levels.dtype != np.uint16:
        piled = levels.min() == 0 and np.count_nonzero(levels == 0) > _PILE
        return (0.0 if piled else -np.inf), white
    counts = np.bincount(levels[0].ravel(), minlength=65536)
    (top,) = np.nonzero(counts)[0][-1:]
    below = counts[max(0, top - 20) : top]
    if top < white and counts[top] > _PILE and counts[top] > 20 * max(1.0, below.mean()):
        return float(limits[0]), float(top)
    return float(limits[0]), white
