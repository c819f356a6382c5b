"""The command index: prints what a folder holds, by camera and ISO, and what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sidd import scenes
from sidd.tools.survey import survey


@dataclass(frozen=True)
class IndexConfig:
    root: str | os.PathLike  #: SIDD_Medium_Raw, SIDD_Full or a part of one


def run(config: IndexConfig) -> int:
    """Prints a table, and a line for each missing or unreadable file; gives 0.

    Raises SiddError where there is no scene instance.
    """
    table, problems = survey(scenes.index(config.root))
    print(table)
    print(*problems, sep="\n", end="\n" if problems else "")
    return 0
