"""Timing of operations that take turns, so that what else the machine does hits them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

_LEAST_TURNS = 3


@dataclass(frozen=True)
class Operation:
    """What is timed: a function of nothing, and how much it does, in patches, pixels or bytes."""

    run: Callable[[], object]
    amount: float


@dataclass(frozen=True)
class Timing:
    """How long an operation took.

    Attributes:
        first: seconds of the first call, with all that it traces and compiles.
        turns: seconds of each turn.
        amount: what a turn does.
    """

    first: float
    turns: list[float]
    amount: float

    @property
    def rate(self) -> float:
        """The median of the amount a second."""
        return self.amount / float(np.median(self.turns))

    def told(self) -> dict[str, float]:
        """Plain numbers; `low` and `high` hold the middle 80% of the rates."""
        low, high = np.quantile(self.amount / np.array(self.turns), [0.1, 0.9])
        return {
            "median": self.rate,
            "low": low,
            "high": high,
            "turns": len(self.turns),
            "first_call_seconds": self.first,
        }


def take_turns(operations: Mapping[str, Operation], seconds: float) -> dict[str, Timing]:
    """Calls each operation twice to warm up, then all of them in turn.

    That goes on until they have had `seconds` each on average, and three turns.
    """
    timings = {}
    for name, operation in operations.items():
        timings[name] = Timing(_seconds(operation), [], operation.amount)
        operation.run()
    rounds, end = 0, time.perf_counter() + seconds * len(operations)
    while rounds < _LEAST_TURNS or time.perf_counter() < end:
        for name, operation in operations.items():
            timings[name].turns.append(_seconds(operation))
        rounds += 1
    return timings


def _seconds(operation: Operation) -> float:
    start = time.perf_counter()
    operation.run()
    return time.perf_counter() - start
