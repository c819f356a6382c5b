"""Compiles the core into the package when it is installed or a wheel is made.

All else is in pyproject.toml. Without a C++ compiler, an isolated build requires `ziglang`. If
nothing compiles, the package is installed without the core.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

_NATIVE = Path("noise_flow_tf", "native")


def _load_build() -> Any:
    """Load `noise_flow_tf.native.build` without its packages."""
    spec = importlib.util.spec_from_file_location("build", _NATIVE / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_build = _load_build()


def _say(line: object) -> None:
    print(f"noise_flow_tf: {line}", file=sys.stderr)


class BuildWithCore(build_py):
    """Compiles the core to where the package is built, or into the source tree if that is used."""

    def run(self) -> None:
        super().run()
        folder = _NATIVE if self.editable_mode else Path(self.build_lib) / _NATIVE
        try:
            _build.build(folder, say=_say)
        except (_build.BuildError, OSError) as error:
            _say(error)
            # One of an earlier build; it would not be used.
            (folder / _build.NAME).unlink(missing_ok=True)


class WheelWithCore(bdist_wheel):
    """Tags a wheel that has the core: it depends on the platform, and not on Python."""

    def get_tag(self) -> tuple[str, str, str]:
        library = Path(self.get_finalized_command("build").build_lib) / _NATIVE / _build.NAME
        if not library.is_file():
            return super().get_tag()
        self.root_is_pure = False
        platform = super().get_tag()[2]
        # A universal Python of macOS, but a library of this architecture.
        return "py3", "none", platform.replace("universal2", _build.platform.machine())


setup(
    cmdclass={"build_py": BuildWithCore, "bdist_wheel": WheelWithCore},
    setup_requires=[] if _build.find_compiler() else ["ziglang>=0.13"],
)
