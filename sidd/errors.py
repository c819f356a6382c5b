"""The error whose message is meant for the user, and the door through which parsers fail."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 2000


class SiddError(ValueError):
    """A file or folder is not what SIDD's formats allow; the message names it and says why."""

    def __init__(self, message: str) -> None:
        """Take a message, which may quote what a file holds; see `printable`."""
        super().__init__(printable(message))


def printable(text: object) -> str:
    r"""Return text of limited length in one line, in which control characters are escaped.

    What a file holds could otherwise move a terminal's cursor or fake its output.

    >>> printable("Make \x1b[31mred\nof a file")
    'Make \\x1b[31mred of a file'
    """
    text = " ".join(str(text)[: 2 * _LONGEST].split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def reason(error: BaseException) -> str:
    """Return what an error says, in one line of limited length; its kind if it says nothing."""
    text = printable(error) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"has no {text}"
    return text


@contextlib.contextmanager
def reading(path: str | os.PathLike, refusal: str) -> Iterator[None]:
    """Turn whatever a parser raises for a damaged file into a SiddError that names the file.

    Args:
        path: of the file; if there is none, the error says so.
        refusal: what the message says of the file, before the parser's reason.

    Raises:
        SiddError: for any error, as it is if it is one already.
    """
    try:
        if not Path(path).is_file():
            raise SiddError(f"{path}: {'is a folder' if Path(path).is_dir() else 'no such file'}")
        yield
    except SiddError:
        raise
    except Exception as error:  # parsers raise many kinds for a broken file
        raise SiddError(f"{path}: {refusal}: {reason(error)}") from error
