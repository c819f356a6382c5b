"""The tools of the dataset's own package, which has their configs and `run` in `sidd.tools`."""

from sidd.tools.parser import main

__all__ = ["main"]
