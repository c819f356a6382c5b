"""Writing so that a crash leaves the old file or folder or the new one, never half of one."""

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noise_flow_tf.saving.file_system import exchange, lives, place, remove, sync, sync_one

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ASIDE = ".before"
_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<place>[0-9a-f]{8})-(?P<process>\d+)\.tmp")
_PATTERN = set("*?[]\\")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a place next to a file or a folder to write to, and move it there if all went well.

    What is written is on the disk before it gets its name, and a folder changes its place with the
    one before it. `clear_partial` removes what a killed process leaves.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as partial:
    ...     _ = partial.write_text("done")
    >>> [file.name for file in target.parent.iterdir()]
    ['note.txt']

    Raises:
        OSError: the file cannot be written; the message names it, and says what is there now.
    """
    path = Path(path)
    partial = partial_of(path)
    remove(partial)
    try:
        yield partial
        sync(partial)
        _put(partial, path)
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(partial)):
            raise cannot_write(path, error) from error
        raise
    finally:
        with suppress(OSError):
            remove(partial)


def partial_of(path: Path) -> Path:
    """Return where this process writes what becomes the file or folder `path`."""
    return path.with_name(f".{path.name}.{place()}-{os.getpid()}.tmp")


def cannot_write(path: Path, error: OSError) -> OSError:
    """Return an error that names the file that cannot be written, and says what is there now."""
    kept = "the earlier one is kept" if path.exists() else "nothing is there"
    reason = os.strerror(error.errno) if error.errno else error
    named = OSError(f"{path}: cannot be written: {reason}; {kept}")
    named.errno = error.errno
    return named


def name_of_partial(name: str) -> str:
    """Return the name of what a temporary file or folder becomes; other names as they are."""
    found = _PARTIAL.fullmatch(name)
    if found:
        return found["name"]
    if name.startswith(".") and name.endswith(_ASIDE):
        return name[1:].removesuffix(_ASIDE)
    return name.removesuffix(".partial")  # of earlier versions


def clear_partial(*folders: Path, alone: bool = False) -> None:
    """Remove what killed processes have left in folders, of this package's files and of SIDD's.

    Of those on another machine or in another container nobody here knows whether they live. Theirs
    is removed if no other process may write there, which is what `alone` says.
    """
    for path in [path for folder in folders for path in folder.glob(".*.tmp")]:
        if found := _PARTIAL.fullmatch(path.name):
            is_here = found["place"] == place()
            if not lives(int(found["process"])) if is_here else alone:
                with suppress(OSError):
                    remove(path)


def make_folders(*folders: Path) -> None:
    """Make folders for results, and remove from them what killed processes have left."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    clear_partial(*folders)


def settled(path: str | os.PathLike) -> Path:
    """Return the path of a folder, or where it lies if a killed process was replacing it."""
    path = Path(path)
    aside = _aside(path)
    return aside if aside.is_dir() and not path.exists() else path


@contextmanager
def reading(refusal: str) -> Iterator[None]:
    """Turn whatever a parser raises for a damaged file into a ValueError.

    Args:
        refusal: what the message says before the parser's reason, with the file's name.

    Raises:
        ValueError: for any error.
    """
    try:
        yield
    except Exception as error:  # parsers raise many kinds for a damaged file
        raise ValueError(f"{refusal}: {str(error) or type(error).__name__}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file by `replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON by `replacing`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows by `replacing`, with the columns of all of them."""
    rows = list(rows)
    text = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_markdown(path: Path, paragraphs: Iterable[str]) -> None:
    """Write those paragraphs that are not empty, by `replacing`."""
    write_text(path, "\n\n".join(filter(None, paragraphs)) + "\n")


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def check_name(path: str | os.PathLike) -> None:
    """Raise a ValueError for a path in which TensorFlow would not find again what it writes."""
    if found := sorted(_PATTERN & set(str(path))):
        raise ValueError(
            f"{path}: TensorFlow takes {' '.join(found)} in a path for a pattern, and would not "
            "find again what is written there; choose another name"
        )


@contextmanager
def readable(prefix: str | os.PathLike) -> Iterator[str]:
    """Give a checkpoint's prefix as TensorFlow can read it, whatever its path contains."""
    prefix = Path(prefix)
    if not _PATTERN & set(str(prefix)):
        yield str(prefix)
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in prefix.absolute().parent.iterdir():
            if file.name.startswith(f"{prefix.name}."):
                (Path(folder) / f"checkpoint{file.name[len(prefix.name) :]}").symlink_to(file)
        yield str(Path(folder) / "checkpoint")


def _put(partial: Path, path: Path) -> None:
    """Move what is complete to its place."""
    aside = _aside(path)
    if partial.is_dir() and path.is_dir():
        if not exchange(partial, path):
            remove(aside)
            os.rename(path, aside)
            os.rename(partial, path)
    else:
        os.replace(partial, path)
    if path.is_dir():
        remove(aside)  # also one that a killed process has left
    sync_one(path.parent)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")
