"""The plan of sample.py: its images, their names and seeds, and the record of finished draws."""

import csv
import hashlib
import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TextIO, get_type_hints

import tensorflow as tf

from noise_flow_tf.saving import run_folder
from noise_flow_tf.saving.file_system import lock, sha256
from noise_flow_tf.saving.files import cannot_write, replacing
from sidd.errors import reading

RECORD = "samples.csv"


@dataclass(frozen=True)
class Item:
    """One clean image: its file, the name of its outputs, and its conditions in a list.

    Attributes:
        address: where the file was copied from, if it was.
    """

    path: Path
    name: str
    iso: int | None = None
    camera: str | None = None
    address: str = ""


@dataclass(frozen=True)
class Draw:
    """One draw of noise for one image: a row of the record.

    Attributes:
        file: the clean image.
        weights: a hash of the model's.
        output: the name that its files begin with.
        inputs: a hash of the files that it is made from, see `hash_of`.
        options: those that change what is drawn.
        version: of this package, TensorFlow and what computes.
        outputs: a hash of the files that were written.
    """

    file: str
    draw: int
    iso: int
    camera: str
    seed: int
    temperature: float
    model: str
    weights: str
    output: str
    inputs: str = ""
    options: str = ""
    version: str = ""
    outputs: str = ""


def items(path: Path, kinds: Collection[str], out: Path) -> list[Item]:
    """Return the clean images of a file, a folder or a list.

    A folder is searched with its subfolders, except `out`; of SIDD's .MAT files only GT_RAW ones
    count. A list is a .txt or .csv file with one line `PATH` or `PATH,ISO,CAMERA` per image; paths
    are relative to it; blank lines and lines that begin with # are skipped.

    Raises:
        ValueError: no image, a line of another form or without a file, two images with one name.
    """
    if path.is_dir():
        paths = [p for p in sorted(path.rglob("*")) if is_clean(p, kinds, out)]
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
    return of_unique_names(images, path)


def of_unique_names(images: list[Item], given: object) -> list[Item]:
    """Return the images of what was `given`.

    Raises:
        ValueError: two of them have one name.
    """
    names: dict[str, Item] = {}
    for item in images:
        if (other := names.setdefault(item.name, item)) is not item:
            raise ValueError(
                f"{given}: {item.address or item.path} and {other.address or other.path} would "
                f"both be written as {item.name}; sample them in two runs with other --out folders"
            )
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


def hash_of(paths: Iterable[Path]) -> str:
    """Return sixteen digits for the content of files; "" if one of them is missing."""
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            return ""
        digest.update(sha256(path).encode())
    return digest.hexdigest()[:16]


def computed_by() -> str:
    """Return what results depend on besides images, weights and options."""
    versions = run_folder.versions()
    core = versions["core"]
    if core.startswith("TensorFlow") and tf.config.list_physical_devices("GPU"):
        core += " on a GPU"
    return f"noise_flow_tf {versions['noise_flow_tf']}, TensorFlow {versions['tensorflow']}, {core}"


class Record:
    """The CSV of the draws in an output folder, each of which is added as soon as it is done.

    Several processes may write to one folder. A last row that a killed one has cut is dropped.
    """

    def __init__(self, folder: Path, name: str = RECORD) -> None:
        """Read the record of an earlier run, if there is one; write nothing.

        Raises:
            ValueError: a file of this name that is no record.
        """
        self.path = folder / name
        self._done = self._read()

    def draws(self) -> dict[str, Draw]:
        """Return the recorded draws by their outputs."""
        return dict(self._done)

    def has(self, draw: Draw) -> bool:
        """Return whether the record has a draw of this output, made from whatever."""
        return draw.output in self._done

    def is_done(self, draw: Draw, files: Iterable[Path]) -> bool:
        """Return whether a draw was made from the same, and its files are as they were written."""
        done = self._done.get(draw.output)
        if done is None or replace(done, outputs="") != draw:
            return False
        return bool(done.outputs) and done.outputs == hash_of(files)

    def add(self, draw: Draw, files: Iterable[Path]) -> None:
        """Add a draw whose files are written."""
        draw = self._done[draw.output] = replace(draw, outputs=hash_of(files))
        with self._locked():
            if self._is_current():
                try:
                    _append(self.path, draw)
                except OSError as error:
                    raise cannot_write(self.path, error) from error
            else:
                self._write({**self._read(), draw.output: draw})

    def finish(self, order: Iterable[Draw]) -> None:
        """Rewrite the record with one row per draw: those of this command first, in order."""
        with self._locked():
            done = self._read()
            ordered = [draw.output for draw in order if draw.output in done]
            self._write({name: done[name] for name in [*ordered, *done]})

    def replace(self, draws: Mapping[str, Draw]) -> None:
        """Write these draws, by their outputs, and no others."""
        with self._locked():
            self._write(draws)
        self._done = dict(draws)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.path.with_name(".lock").open("a") as file:
            lock(file)
            yield

    def _is_current(self) -> bool:
        """Return whether there is a record with all columns of today."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            return file.readline() == _HEADER

    def _read(self) -> dict[str, Draw]:
        content = self.path.read_bytes() if self.path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]  # the rest is of a write that was cut off
        rows = csv.DictReader(io.StringIO(whole.decode("utf-8", "replace")))
        try:
            is_record = tuple(rows.fieldnames or ()) in (_COLUMNS, _EARLIER_COLUMNS)
            if not is_record and not _HEADER.startswith(content):
                raise ValueError(f"{self.path}: is not a record of sample.py; use another --out")
            return {draw.output: draw for draw in map(_parse, rows) if draw}
        except csv.Error as error:
            raise ValueError(f"{self.path}: cannot be read: {error}; use another --out") from error

    def _write(self, draws: Mapping[str, Draw]) -> None:
        with (
            replacing(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = _writer(file)
            writer.writeheader()
            writer.writerows(map(vars, draws.values()))


_COLUMNS = tuple(field.name for field in fields(Draw))
_EARLIER_COLUMNS = _COLUMNS[:9]
_LONGEST_ROW = 2**16
_HEADER = (",".join(_COLUMNS) + "\n").encode()


def _append(path: Path, draw: Draw) -> None:
    """Add a row to a record, in place of one that was cut off."""
    row = io.StringIO(newline="")
    _writer(row).writerow(vars(draw))
    with path.open("r+b") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _LONGEST_ROW)
        file.seek(start)
        end = start + file.read().rfind(b"\n") + 1
        file.truncate(end)
        file.seek(end)
        file.write(row.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


def is_clean(path: Path, kinds: Collection[str], out: Path) -> bool:
    """Return whether a file is a clean image of these kinds that is not below `out`."""
    return has_kind(path, kinds) and path.is_file() and out.resolve() not in path.resolve().parents


def has_kind(path: Path, kinds: Collection[str]) -> bool:
    """Return whether a name is that of a clean image of these kinds."""
    return path.suffix.lower() in kinds and (
        path.suffix.lower() != ".mat" or "_GT_RAW" in path.as_posix()
    )


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
    return csv.DictWriter(file, _COLUMNS, lineterminator="\n")


def _parse(row: dict[str, str]) -> Draw | None:
    """Parse a row; return None for one that cannot be, whose draw is then made again."""
    kinds = get_type_hints(Draw)
    try:
        return Draw(**{name: kinds[name](value) for name, value in row.items()})
    except (KeyError, TypeError, ValueError):
        return None
