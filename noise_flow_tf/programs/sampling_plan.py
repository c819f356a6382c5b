"""The plan of sample.py: its images, their names and seeds, and the record of finished draws."""

import csv
import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TextIO, get_type_hints

import tensorflow as tf

from noise_flow_tf.saving.files import replacing
from sidd.errors import reading

RECORD = "samples.csv"


@dataclass(frozen=True)
class Item:
    """One clean image: its file, the name of its outputs, and its conditions in a list."""

    path: Path
    name: str
    iso: int | None = None
    camera: str | None = None


@dataclass(frozen=True)
class Draw:
    """One draw of noise for one image: a row of the record."""

    file: str
    draw: int
    iso: int
    camera: str
    seed: int
    temperature: float
    model: str
    weights: str
    output: str


def items(path: Path, kinds: Collection[str], out: Path) -> list[Item]:
    """Return the clean images of a file, a folder or a list.

    A folder is searched with its subfolders, except `out`; of SIDD's .MAT files only GT_RAW ones
    count. A list is a .txt or .csv file with one line `PATH` or `PATH,ISO,CAMERA` per image; paths
    are relative to it; blank lines and lines that begin with # are skipped.

    Raises:
        ValueError: no image, a line of another form or without a file, two images with one name.
    """
    if path.is_dir():
        paths = [p for p in sorted(path.rglob("*")) if _is_clean(p, kinds, out)]
        images = [Item(p, p.relative_to(path).with_suffix("").as_posix()) for p in paths]
        if not images:
            raise ValueError(
                f"{path}: no clean image found; searched for {', '.join(kinds)} (of .mat only "
                "*_GT_RAW*, and nothing below --out)"
            )
    elif path.suffix.lower() in (".txt", ".csv"):
        images = _read_list(path)
    else:
        images = [Item(path, path.stem)]
    names: dict[str, Path] = {}
    for item in images:
        if item.name in names:
            raise ValueError(
                f"{path}: {item.path} and {names[item.name]} would both be written as {item.name}; "
                "sample them in two runs with other --out folders"
            )
        names[item.name] = item.path
    return images


def draw_seed(seed: int, name: str, draw: int) -> int:
    """Derive the seed of one draw from the command's seed, the image's name and the draw's number.

    It does not depend on the order or the number of images, so that a resumed run, or one of more
    images, draws the same noise.

    >>> draw_seed(0, "0057_GT_RAW_010", 0), draw_seed(0, "0057_GT_RAW_010", 1)
    (1277842715, 1839987188)
    """
    digest = hashlib.sha256(f"{seed}/{name}/{draw}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def fingerprint(model: tf.Module) -> str:
    """Return twelve hexadecimal digits that identify the weights of a model."""
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()[:12]


class Record:
    """The CSV of the draws in an output folder, each of which is added as soon as it is done."""

    def __init__(self, folder: Path) -> None:
        """Read the record of an earlier run, if there is one; write nothing."""
        self.path = folder / RECORD
        self._done: dict[str, Draw] = {}
        if self.path.is_file():
            with (
                reading(self.path, "cannot be read"),
                self.path.open(newline="", encoding="utf-8") as file,
            ):
                rows = csv.DictReader(file)
                if rows.fieldnames != [field.name for field in fields(Draw)]:
                    raise ValueError(
                        f"{self.path}: is not a record of sample.py; use another --out"
                    )
                self._done = {draw.output: draw for draw in map(_parse, rows) if draw}

    def has(self, draw: Draw) -> bool:
        """Return whether the draw is in the record: same image, conditions, seed and weights."""
        return self._done.get(draw.output) == draw

    def add(self, draw: Draw) -> None:
        """Add a draw to the record."""
        self._done[draw.output] = draw
        new = not self.path.is_file()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = _writer(file)
            if new:
                writer.writeheader()
            writer.writerow(vars(draw))

    def finish(self, order: Iterable[Draw]) -> None:
        """Rewrite the record with one row per draw: those of this command first, in order."""
        ordered = {draw.output: draw for draw in order}
        with (
            replacing(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = _writer(file)
            writer.writeheader()
            writer.writerows(map(vars, {**ordered, **self._done}.values()))


def _is_clean(path: Path, kinds: Collection[str], out: Path) -> bool:
    if path.suffix.lower() not in kinds or not path.is_file():
        return False
    if path.suffix.lower() == ".mat" and "_GT_RAW" not in path.as_posix():
        return False
    return out.resolve() not in path.resolve().parents


def _read_list(path: Path) -> list[Item]:
    images = []
    with reading(path, "cannot be read as a list of images"):
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    for number, row in enumerate(rows, 1):
        values = [value.strip() for value in row]
        if not any(values) or values[0].startswith("#"):
            continue
        if len(values) not in (1, 3) or (len(values) == 3 and not values[1].isdecimal()):
            raise ValueError(
                f"{path}: line {number} must be PATH or PATH,ISO,CAMERA; got {','.join(row)!r}"
            )
        file = path.parent / values[0]
        if not os.path.isfile(file):
            raise ValueError(f"{path}: line {number}: {file}: no such file")
        conditions = (int(values[1]), values[2]) if len(values) == 3 else (None, None)
        images.append(Item(file, file.stem, *conditions))
    if not images:
        raise ValueError(f"{path}: the list names no image")
    return images


def _writer(file: TextIO) -> csv.DictWriter:
    return csv.DictWriter(file, [field.name for field in fields(Draw)], lineterminator="\n")


def _parse(row: dict[str, str]) -> Draw | None:
    """Parse a row; return None for an incomplete one of an interrupted run."""
    try:
        return Draw(**{name: kind(row[name]) for name, kind in get_type_hints(Draw).items()})
    except (TypeError, ValueError):
        return None
