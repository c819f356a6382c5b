"""Timing of operations that take turns, so that other load on the machine affects all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Name = TypeVar("Name")
_MIN_TURNS = 3


@dataclass(frozen=True)
class Operation:
    """A function to time, and the amount of its work in patches, pixels, FLOP or bytes."""

    run: Callable[[], object]
    amount: float


@dataclass(frozen=True)
class Timing:
    """The times of an operation.

    Attributes:
        first: seconds of the first call, with tracing and compilation.
        turns: seconds of each turn.
        amount: the amount of work of a turn.
    """

    first: float
    turns: list[float]
    amount: float

    @property
    def rate(self) -> float:
        """Return the median of the amount per second."""
        return self.amount / float(np.median(self.turns))

    def summary(self) -> dict[str, Any]:
        """Return JSON values; the middle 80% of the rates are from `low` to `high`."""
        low, high = np.quantile(self.amount / np.array(self.turns), [0.1, 0.9])
        return {
            "median": self.rate,
            "low": low,
            "high": high,
            "turns": len(self.turns),
            "first_call_seconds": self.first,
        }


def take_turns(operations: Mapping[Name, Operation], seconds: float) -> dict[Name, Timing]:
    """Call each operation twice to warm up, then all of them in turn.

    Each has `seconds` on average, and at least three turns.
    """
    timings = {}
    for name, operation in operations.items():
        timings[name] = Timing(_seconds(operation), [], operation.amount)
        operation.run()
    rounds, end = 0, time.perf_counter() + seconds * len(operations)
    while rounds < _MIN_TURNS or time.perf_counter() < end:
        for name, operation in operations.items():
            timings[name].turns.append(_seconds(operation))
        rounds += 1
    return timings


def _seconds(operation: Operation) -> float:
    start = time.perf_counter()
    operation.run()
    return time.perf_counter() - start
