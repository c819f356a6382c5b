"""Pairs of plain files, `train --pairs LIST`: written once in SIDD's layout, then read like it."""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

import sidd
from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.programs import raw_images
from noise_flow_tf.saving.files import replacing
from sidd.errors import reading
from sidd.progress import progress_bar

_FORM = "CLEAN,NOISY,ISO,CAMERA"
_BINS = 64
_FEWEST = 200
_UNKNOWN = "{instance:04d}_{instance:03d}_{camera}_{iso:05d}_00000_0000_N"
_COLOURS = sidd.CAMERAS[0]


@dataclass(frozen=True)
class Line:
    """One pair of a list; `place` is what messages call its line."""

    place: str
    clean: Path
    noisy: Path
    iso: int
    camera: str


def read_list(path: Path) -> list[Line]:
    """Read a list: a line `CLEAN,NOISY,ISO,CAMERA` per pair.

    Paths are relative to the list; blank lines and lines that begin with # are skipped.

    Raises:
        ValueError: no list, no pair, or a line that cannot be used; the message has its number.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such list of pairs; expected lines {_FORM}")
    with reading(path, f"not a list of pairs; expected lines {_FORM}"):
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    pairs = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if any(cells) and not cells[0].startswith("#"):
            pairs.append(_line(f"{path}, line {number}", path.parent, cells))
    if not pairs:
        raise ValueError(f"{path}: has no pair; expected lines {_FORM}")
    return pairs


def in_sidds_layout(path: Path, orientation: str, cache: Path) -> Path:
    """Write a list's pairs in SIDD's layout below `cache`, and return the folder.

    It is written once, for files that do not change. Pair number n is scene n. NOISY is as it was
    measured, with NaN where a raw file's pixels are clipped. The NLF in METADATA is fitted to the
    training pairs of a camera at an ISO level.

    Args:
        path: of the list.
        orientation: how `.npy` files lie, "upright" or "file".
        cache: the folder of patches.

    Raises:
        ValueError: a line or a file that cannot be used.
    """
    pairs = read_list(path)
    root = cache / f"pairs-{_digest(pairs, orientation)}"
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with replacing(root) as partial:
        written: dict[int, _Written] = {}
        for instance, line in enumerate(progress_bar(pairs, "reading pairs", unit="pair"), 1):
            name = _UNKNOWN.format(instance=instance, camera=line.camera, iso=line.iso)
            folder = partial / "Data" / name
            folder.mkdir(parents=True)
            written[instance] = _write(line, orientation, folder, instance)
        _write_nlfs(pairs, partial, written)
    return root


def _line(place: str, folder: Path, cells: list[str]) -> Line:
    if len(cells) != 4 or not all(cells):
        raise ValueError(f"{place}: expected {_FORM}; got {','.join(cells)!r}")
    clean, noisy, iso, camera = cells
    if not iso.isdecimal() or not 0 < int(iso) < 1_000_000:
        raise ValueError(f"{place}: ISO must be a positive whole number; got {iso!r}")
    try:
        ConditionSpace(cameras=(camera,))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    files = folder / clean, folder / noisy
    for file in files:
        if not os.path.isfile(file):
            raise ValueError(f"{place}: {file}: no such file")
    return Line(place, *files, int(iso), camera)


@dataclass(frozen=True)
class _Written:
    """A pair's METADATA, the file that it is in, and what the noise of the pair says of its NLF."""

    metadata: sidd.Metadata
    file: Path
    fit: "_Fit"


def _write(line: Line, orientation: str, folder: Path, instance: int) -> _Written:
    """Write a pair, its METADATA with an NLF that is not fitted yet."""
    try:
        clean = raw_images.read_image(line.clean, orientation, tqdm.write)
        noisy = raw_images.read_image(line.noisy, orientation, tqdm.write, measured=True)
        if clean.packed.shape != noisy.packed.shape:
            raise ValueError(
                f"{line.noisy}: has packed shape {list(noisy.packed.shape)}, but {line.clean} has "
                f"{list(clean.packed.shape)}"
            )
    except ValueError as error:
        raise ValueError(f"{line.place}: {error}") from error
    for kind, image in (("GT", clean), ("NOISY", noisy)):
        path = folder / f"{instance:04d}_{kind}_RAW_000.MAT"
        sidd.write_raw(path, sidd.unpack(image.packed))
    colours = line.camera if line.camera in sidd.CAMERAS else _COLOURS
    file = noisy.file or clean.file
    metadata = (
        file.metadata(line.camera, line.iso) if file else sidd.typical_metadata(colours, line.iso)
    )
    path = folder / f"{instance:04d}_METADATA_RAW_000.MAT"
    sidd.write_metadata(path, metadata)
    return _Written(metadata, path, _Fit(clean.packed, noisy.packed - clean.packed))


def _write_nlfs(pairs: list[Line], root: Path, written: Mapping[int, _Written]) -> None:
    """Fit the NLF of each camera at each ISO level to its training pairs, for all its pairs."""
    cameras = sorted({line.camera for line in pairs})
    fits: dict[tuple[str, int], _Fit] = {}
    for frame in sidd.select_frames(sidd.index(root), "train", cameras=cameras, own=True):
        fit = written[frame.instance].fit
        group = frame.camera, frame.iso
        fits[group] = fits[group] + fit if group in fits else fit
    for line, one in zip(pairs, written.values(), strict=True):
        nlf = fits[line.camera, line.iso].nlf()
        sidd.write_metadata(one.file, replace(one.metadata, nlf=nlf, unclipped=True))


class _Fit:
    """The NLF of one camera at one ISO level, by least squares on variances of equal intensity."""

    def __init__(self, clean: np.ndarray, noise: np.ndarray) -> None:
        good = np.isfinite(noise)
        y, squares = clean[good], np.square(noise[good], dtype=float)
        bins = np.minimum((np.sqrt(y) * _BINS).astype(int), _BINS - 1)
        weights = None, y, squares
        self._sums = np.array([np.bincount(bins, w, minlength=_BINS) for w in weights], float)

    def __add__(self, other: "_Fit") -> "_Fit":
        both = copy(self)
        both._sums = self._sums + other._sums
        return both

    def nlf(self) -> tuple[float, float]:
        count, y, squares = self._sums[:, self._sums[0] >= min(_FEWEST, self._sums[0].max())]
        y, variance = y / count, np.maximum(squares / count, 1e-12)
        if len(y) < 2:
            return 0.0, float(variance[0])
        slope, offset = np.polyfit(y, variance, 1, w=np.sqrt(count) / variance)
        return max(float(slope), 0.0), max(float(offset), 0.0)


def _digest(pairs: list[Line], orientation: str) -> str:
    def parts() -> Iterator[str]:
        yield f"{orientation}, NLF of the training pairs"
        for line in pairs:
            yield f"{line.iso} {line.camera}"
            for file in (line.clean, line.noisy):
                status = file.stat()
                yield f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"

    return hashlib.sha256("\n".join(parts()).encode()).hexdigest()[:16]
