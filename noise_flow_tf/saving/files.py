"""Writing so that a crash leaves the old file or folder or the new one, never half of one."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""The ending of what is not complete yet."""


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a place next to a file or a folder to write to, and move it there if all went well.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as partial:
    ...     _ = partial.write_text("done")
    >>> [file.name for file in target.parent.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    partial = path.with_name(path.name + PARTIAL)
    _remove(partial)
    try:
        yield partial
        if partial.is_dir():
            _remove(path)
        os.replace(partial, path)
    finally:
        _remove(partial)


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


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
