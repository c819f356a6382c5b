"""The tools of the package `sidd`; their configs and `run` are in `sidd.tools`."""

from sidd.errors import printable
from sidd.tools.parser import main

__all__ = ["main", "printable"]
