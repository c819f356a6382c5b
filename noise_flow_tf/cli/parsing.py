"""What all command lines share: parser, types, and how bad input ends a command."""

import argparse
import re
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

_WRAPPED = re.compile(r"SiddError: (.*)")


class Parser(argparse.ArgumentParser):
    """A parser that takes `--an_option` and `--an-option` alike, and whose errors are one line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)

    def option(self, name: str, **kwargs: Any) -> None:
        """Add `--name`, with the dashed spelling of an underscored name."""
        names = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        if "type" in kwargs:
            kwargs.setdefault("metavar", "N")
        self.add_argument(*names, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


Config = TypeVar("Config")


class ConfigParser(Parser, Generic[Config]):
    """The parser of a program's config: a frozen dataclass, which has the defaults."""

    def __init__(self, config: type[Config], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._config = config
        self._defaults = {
            one.name: one.default if one.default_factory is MISSING else one.default_factory()
            for one in fields(cast(Any, config))
        }

    def option(self, name: str, **kwargs: Any) -> None:
        """Add `--name`, with the config's default."""
        if self._defaults.get(name, MISSING) is not MISSING:
            kwargs.setdefault("default", self._defaults[name])
        super().option(name, **kwargs)

    def config(self, arguments: list[str] | None = None, **changes: Any) -> Config:
        """Return the config of the arguments, those of the command line by default."""
        return self._config(**(vars(self.parse_args(arguments)) | changes))


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.required:
            return action.help
        return super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = argparse.Action(action.option_strings[:1] or [], action.dest, action.nargs)
        shown.metavar, shown.choices = action.metavar, action.choices
        return super()._format_action_invocation(shown)


def positive(kind: type) -> Callable[[str], float]:
    """Return an argparse type: a number of `kind` above zero."""

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"positive {'whole number' if kind is int else 'number'}"
    return parse


def not_negative(text: str) -> int:
    """Parse a whole number of at least 0, as an argparse type."""
    value = int(text)
    if value < 0:
        raise ValueError
    return value


not_negative.__name__ = "whole number of at least 0"


def run(main: Callable[[], None], program: str | None = None) -> None:
    """Run a command; bad input ends it with one line, which names the `program`, and exit code 2.

    Bad input is a ValueError or an OSError, and a SiddError also if tf.data has wrapped it.
    """
    program = program or Path(sys.argv[0]).name
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(_fail(program, str(error)))
    except KeyboardInterrupt as error:
        sys.exit(_fail(program, str(error) or "interrupted", getattr(error, "exit_code", 130)))
    except Exception as error:
        chain = _WRAPPED.findall(str(error))
        if not chain:
            raise
        sys.exit(_fail(program, chain[-1]))


class _Terminated(KeyboardInterrupt):
    exit_code = 128 + signal.SIGTERM


def _terminate(*_: object) -> NoReturn:
    raise _Terminated("terminated")


def _fail(program: str, message: str, code: int = 2) -> int:
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return code
