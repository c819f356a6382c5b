"""The tools of the package `sidd`, whose configs and `run` are in `sidd.tools`, and its messages."""

from sidd.errors import printable
from sidd.tools.parser import main

__all__ = ["main", "printable"]
