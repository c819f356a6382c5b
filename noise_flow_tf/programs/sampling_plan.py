"""What sample.py is to draw: which images, under which names and seeds, and what is done."""

import csv
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from noise_flow_tf.saving.files import replacing

RECORD = "samples.csv"


@dataclass(frozen=True)
class Item:
    """One clean image: its file, the name of its outputs, and what a list says of it."""

    path: Path
    name: str
    iso: int | None = None
    camera: str | None = None


@dataclass(frozen=True)
class Draw:
    """A row of the record: one draw of noise for one image."""

    file: str
    draw: int
    iso: int
    camera: str
    seed: int
    temperature: float
    model: str
    weights: str
    output: str


def items(given: Path, kinds: Collection[str], out: Path) -> list[Item]:
    """The clean images of a file, a folder or a list.

    A folder is searched with its subfolders; of SIDD's .MAT files only GT_RAW ones are taken, and
    nothing below `out`. A list is a .txt or .csv file with a line `PATH` or `PATH,ISO,CAMERA` for
    each image; paths are relative to it; blank lines and those that begin with # say nothing.

    Raises:
        ValueError: nothing found, a line of another form or of no file, two images with one name.
    """
    if given.is_dir():
        paths = [path for path in sorted(given.rglob("*")) if _is_clean(path, kinds, out)]
        found = [Item(p, p.relative_to(given).with_suffix("").as_posix()) for p in paths]
        if not found:
            raise ValueError(
                f"{given}: no clean image found; looked for {', '.join(kinds)} (of .mat only "
                "*_GT_RAW*, and nothing below --out)"
            )
    elif given.suffix.lower() in (".txt", ".csv"):
        found = _read_list(given)
    else:
        found = [Item(given, given.stem)]
    names: dict[str, Path] = {}
    for item in found:
        if item.name in names:
            raise ValueError(
                f"{item.path} and {names[item.name]} would both be written as {item.name}; sample "
                "them in two runs with other --out folders"
            )
        names[item.name] = item.path
    return found


def seed_of(seed: int, name: str, draw: int) -> int:
    """The seed of one draw, from the command's seed, the image's name and the draw's number.

    It does not depend on the order or the number of images, so that a run that is resumed, or goes
    over more images, draws the same.

    >>> seed_of(0, "0057_GT_RAW_010", 0), seed_of(0, "0057_GT_RAW_010", 1)
    (1277842715, 1839987188)
    """
    digest = hashlib.sha256(f"{seed}/{name}/{draw}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def fingerprint(model: Any) -> str:
    """Twelve digits that tell the weights of a model from others'."""
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()[:12]


class Record:
    """The CSV of the draws in a folder of results: one is written as soon as it is done."""

    def __init__(self, folder: Path):
        """Reads the record of an earlier run, where there is one; makes nothing."""
        self.path = folder / RECORD
        self._done: dict[str, Draw] = {}
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                if rows.fieldnames != [field.name for field in fields(Draw)]:
                    raise ValueError(
                        f"{self.path}: is not a record of sample.py; give another --out"
                    )
                self._done = {draw.output: draw for draw in map(_parse, rows) if draw}

    def has(self, draw: Draw) -> bool:
        """Whether this very draw is in the record: same image, conditions, seed and weights."""
        return self._done.get(draw.output) == draw

    def add(self, draw: Draw) -> None:
        """Puts a draw into the record."""
        self._done[draw.output] = draw
        new = not self.path.is_file()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = _writer(file)
            if new:
                writer.writeheader()
            writer.writerow(vars(draw))

    def finish(self, order: Iterable[Draw]) -> None:
        """Writes the record once more, one row a draw: those of this command first, in order."""
        ordered = {draw.output: draw for draw in order}
        with (
            replacing(self.path) as beside,
            beside.open("w", newline="", encoding="utf-8") as f,
        ):
            writer = _writer(f)
            writer.writeheader()
            writer.writerows(map(vars, {**ordered, **self._done}.values()))


def _is_clean(path: Path, kinds: Collection[str], out: Path) -> bool:
    if path.suffix.lower() not in kinds or not path.is_file():
        return False
    if path.suffix.lower() == ".mat" and "_GT_RAW" not in path.as_posix():
        return False
    return out.resolve() not in path.resolve().parents


def _read_list(path: Path) -> list[Item]:
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a list of images: {error}") from error
    for number, row in enumerate(csv.reader(lines), 1):
        values = [value.strip() for value in row]
        if not any(values) or values[0].startswith("#"):
            continue
        if len(values) not in (1, 3) or (len(values) == 3 and not values[1].isdecimal()):
            raise ValueError(
                f"{path}: line {number} must be PATH or PATH,ISO,CAMERA; got {','.join(row)!r}"
            )
        file = path.parent / values[0]
        if not file.is_file():
            raise ValueError(f"{path}: line {number}: {file}: no such file")
        conditions = (int(values[1]), values[2]) if len(values) == 3 else (None, None)
        found.append(Item(file, file.stem, *conditions))
    if not found:
        raise ValueError(f"{path}: the list names no image")
    return found


def _writer(file) -> csv.DictWriter:
    return csv.DictWriter(file, [field.name for field in fields(Draw)], lineterminator="\n")


def _parse(row: dict[str, str]) -> Draw | None:
    """A row; None for the half of one that an interrupted run left."""
    try:
        return Draw(**{field.name: field.type(row[field.name]) for field in fields(Draw)})
    except (TypeError, ValueError):
        return None
