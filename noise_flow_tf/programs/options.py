"""How a config declares its command-line options: in the metadata of its dataclass fields."""

from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar, cast

Value = TypeVar("Value")


def option(default: Value, help: str | None = None, **settings: Any) -> Value:
    """Return a dataclass field that is also an option of the command line.

    A subclass that declares the field again states only what differs.

    Args:
        default: the default; a list is copied for each config.
        help: the text of `--help`.
        settings: for `add_argument`, and `names`: all spellings, if they are not the usual ones.
    """
    if help is not None:
        settings["help"] = help
    if default is False:
        settings["action"] = "store_true"
    if isinstance(default, list):
        return cast(Any, field(default_factory=default.copy, metadata=settings))
    return field(default=default, metadata=settings)


def required(help: str, **settings: Any) -> dict[str, Any]:
    """Return the metadata of a field without a default, an argument that has to be given."""
    return {"help": help, **settings, **({} if "names" in settings else {"required": True})}


def number(kind: type, name: str, valid: Callable[[Any], bool]) -> Callable[[str], Any]:
    """Return an argparse type: a valid number of `kind`, which error messages call `name`."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not valid(value):
            raise ValueError
        return value

    parse.__name__ = name
    return parse


positive_int = number(int, "positive whole number", lambda value: value > 0)
positive_float = number(float, "positive number", lambda value: 0 < value < float("inf"))
not_negative = number(int, "whole number of at least 0", lambda value: value >= 0)
fraction = number(float, "number from 0 to 1", lambda value: 0 <= value <= 1)
