"""What all command lines share: the parser, and how bad input ends a command."""

import argparse
import json
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from inspect import get_annotations
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from noise_flow_tf.programs.configs import Run
from noise_flow_tf.programs.options import fraction, positive_float
from noise_flow_tf.programs.sidd_tools import printable
from noise_flow_tf.training.names import MIRRORING

_WRAPPED = re.compile(r"SiddError: (.*)")


class Parser(argparse.ArgumentParser):
    """A parser that takes `--an_option` and `--an-option` alike, and whose errors are one line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)

    def option(
        self, name: str, group: argparse._ArgumentGroup | None = None, **kwargs: Any
    ) -> None:
        """Add `--name`, with the dashed spelling of an underscored name, or the `names` given."""
        names = kwargs.pop("names", dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]))
        if "type" in kwargs:
            is_float = kwargs["type"] in (float, positive_float, fraction)
            kwargs.setdefault("metavar", "VALUE" if is_float else "N")
        (group or self).add_argument(*names, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}\n")


Config = TypeVar("Config")
RunConfig = TypeVar("RunConfig", bound=Run)


class ConfigParser(Parser, Generic[Config]):
    """The parser of a program's config, a frozen dataclass whose fields declare the options."""

    def __init__(self, config: type[Config], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._config = config
        self._add_options()
        defaults = {
            one.name: one.default if one.default_factory is MISSING else one.default_factory()
            for one in fields(cast(Any, config))
        }
        self.set_defaults(**{k: v for k, v in defaults.items() if v is not MISSING})

    def _add_options(self) -> None:
        """Add the options in one group per class, the config's own first."""
        places: dict[str, type] = {}
        settings: dict[str, dict[str, Any]] = {}
        for place in reversed(self._config.__mro__[:-1]):
            for name in get_annotations(place):
                if stated := cast(Any, place).__dataclass_fields__[name].metadata:
                    places.setdefault(name, place)
                    settings[name] = {**settings.get(name, {}), **stated}
        for place in self._config.__mro__[:-1]:
            title = re.sub(r"\B([A-Z])", r" \1", place.__name__).lower()
            group = None if place is self._config else self.add_argument_group(title)
            for name in settings:
                if places[name] is place:
                    self.option(name, group, **settings[name])

    def check_settings(self, settings: Mapping[str, Any], path: Path) -> None:
        """Raise ValueError for a setting, read from `path`, that its option could not have."""
        for action in self._actions:
            value = settings.get(action.dest)
            if value is None:
                continue
            values = (
                value if action.nargs in ("+", "*") or isinstance(action.nargs, int) else [value]
            )
            if action.nargs == 0:
                good = isinstance(value, bool)
            else:
                good = isinstance(values, list) and all(_could_be(action, one) for one in values)
            if not good:
                raise ValueError(f"{path}: {action.dest} cannot be {json.dumps(value)}")

    def config(self, arguments: list[str] | None = None, **changes: Any) -> Config:
        """Return the config of the arguments, those of the command line by default."""
        return self._config(**(vars(self.parse_args(arguments)) | changes))


def _could_be(action: argparse.Action, value: Any) -> bool:
    """Return whether an option, given as text, could have become this value."""
    if action.choices is not None and value not in action.choices:
        return False
    if action.type is None:
        return isinstance(value, str)
    try:
        return cast(Callable, action.type)(str(value)) == value
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        return False


def resumed(
    parser: ConfigParser[RunConfig], arguments: list[str] | None, folder: str | Path
) -> RunConfig:
    """Return the config of a run that is resumed: its own settings, but for what is given now.

    The run's own --replicas are dropped if a --strategy is given that takes none. The program says
    whether what is given goes with the run.
    """
    given = parser.config(arguments)
    path = Path(folder) / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    known = (vars(given).keys() & settings.keys()) - {"resume", "overwrite"}
    parser.check_settings({name: settings[name] for name in known}, path)
    parser.set_defaults(**{name: settings[name] for name in known})
    changes = {} if parser.config(arguments).strategy in MIRRORING else {"replicas": given.replicas}
    return parser.config(arguments, **changes)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, "") or action.required:
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = argparse.Action(action.option_strings[:1] or [], action.dest, action.nargs)
        shown.metavar, shown.choices = action.metavar, action.choices
        return super()._format_action_invocation(shown)


def run(main: Callable[[], None], program: str | None = None) -> None:
    """Run a command; bad input ends it with one line, which names the `program`, and exit code 2.

    Bad input is a ValueError or an OSError, and a SiddError also if tf.data has wrapped it. Some
    errors name an `exit_code`.
    """
    program = program or Path(sys.argv[0]).name
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except OSError as error:
        named = error.filename is not None and error.strerror
        message = f"{error.filename}: {error.strerror}" if named else str(error)
        sys.exit(_fail(program, message, getattr(error, "exit_code", 2)))
    except ValueError as error:
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
    print(f"{program}: {printable(message)}", file=sys.stderr)
    return code
