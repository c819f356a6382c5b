"""Kill a command at random moments, give it again, and compare what comes of it."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kills.cases import Case, Inputs, Result
from tests.processes import ROOT

_KILLS_BEFORE_THE_END = 4
_PATIENCE = 900


class NotEqualError(AssertionError):
    """What came of a command that was killed is not what comes of it otherwise."""


@dataclass
class Outcome:
    """What a number of kills of one command showed."""

    kills: int = 0
    ends: int = 0


class Killer:
    """One command, its result if nobody disturbs it, and when that was written."""

    def __init__(self, case: Case, inputs: Inputs, folder: Path) -> None:
        """Run the command once, undisturbed."""
        self._case, self._inputs, self._folder = case, inputs, folder
        self._errors = folder / "errors.txt"
        out = self._fresh("undisturbed")
        begin = time.monotonic()
        process = self._start(out)
        first = begin
        while process.poll() is None:
            if first == begin and any(out.iterdir()):
                first = time.monotonic()
            time.sleep(0.02)
        self._check_end(process)
        self._duration = time.monotonic() - begin
        self._first = first - begin
        self._expected = case.result(out)

    def kill(self, count: int, seed: int) -> Outcome:
        """Kill the command `count` times in all, and compare each time that it then ends.

        Half of the moments are from its start on, half from its first file on. After at most four
        kills it is let go on to its end.

        Raises:
            AssertionError: something is lost, half-written or different; the message has the seed.
        """
        moments = random.Random(seed)
        outcome = Outcome()
        while outcome.kills < count:
            out = self._fresh("killed")
            killed: list[float] = []
            for _ in range(min(_KILLS_BEFORE_THE_END, count - outcome.kills)):
                begin = self._first if len(killed) % 2 == 0 else 0.0
                killed.append(moments.uniform(begin, self._duration))
                self._kill_once(out, killed)
            outcome.kills += len(killed)
            self._check_end(self._start(out))
            self._compare(self._case.result(out), f"seed {seed}, killed after {_shown(killed)}")
            outcome.ends += 1
        return outcome

    def _kill_once(self, out: Path, killed: list[float]) -> None:
        process = self._start(out)
        try:
            process.wait(killed[-1])
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        if process.returncode not in (0, -signal.SIGKILL):
            raise NotEqualError(f"ended with {process.returncode} after {_shown(killed)}")
        try:
            self._case.whole(out)
        except Exception as error:
            raise NotEqualError(f"not whole after {_shown(killed)}: {error}") from error

    def _compare(self, result: Result, about: str) -> None:
        different = [
            name
            for name in {**result, **self._expected}
            if result.get(name) != self._expected.get(name)
        ]
        if different:
            raise NotEqualError(f"{about}: {', '.join(different[:5])} differ")

    def _start(self, out: Path) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                self._case.line(self._inputs, out),
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def _check_end(self, process: subprocess.Popen) -> None:
        if process.wait(timeout=_PATIENCE):
            told = self._errors.read_text(errors="replace").strip()[-500:]
            raise NotEqualError(f"ended with {process.returncode}: {told}")

    def _fresh(self, name: str) -> Path:
        out = self._folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        return out


def shares(kills: int, names: list[str]) -> Iterator[tuple[str, int]]:
    """Divide kills among cases."""
    for number, name in enumerate(names):
        count = kills // len(names) + (number < kills % len(names))
        if count:
            yield name, count


def _shown(killed: list[float]) -> str:
    return ", ".join(f"{moment:.2f} s" for moment in killed)
