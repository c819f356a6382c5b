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
from tests.processes import ROOT, cluster_of

_KILLS_BEFORE_THE_END = 4
_PATIENCE = 900
_SHOWN = 200
_UNTIL_NOTICED = 60
_ALONE, _TERMINATED = 75, 128 + signal.SIGTERM


class NotEqualError(AssertionError):
    """What came of a command that was killed is not what comes of it otherwise."""


@dataclass
class Outcome:
    """What a number of kills of one command showed."""

    kills: int = 0
    ends: int = 0


class Killer:
    """One command, alone or as several workers, and its result if nobody disturbs it."""

    def __init__(self, case: Case, inputs: Inputs, folder: Path) -> None:
        """Run the command once, undisturbed."""
        self._case, self._inputs, self._folder = case, inputs, folder
        self._errors = folder / "errors.txt"
        out = self._fresh("undisturbed")
        begin = time.monotonic()
        processes = self._start(out)
        first = begin
        while processes[0].poll() is None:
            if first == begin and any(out.iterdir()):
                first = time.monotonic()
            time.sleep(0.02)
        self._check_end(processes)
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
            check_equal(
                self._case.result(out),
                self._expected,
                f"seed {seed}, killed after {_shown(killed)}",
            )
            outcome.ends += 1
        return outcome

    def _kill_once(self, out: Path, killed: list[float]) -> None:
        processes = self._start(out)
        victim = processes[len(killed) % len(processes)]
        try:
            victim.wait(killed[-1])
        except subprocess.TimeoutExpired:
            victim.kill()
        victim.wait()
        allowed = {victim: (0, -signal.SIGKILL)}
        for other in processes:
            if other is not victim:
                self._stop(other)
                allowed[other] = (0, _ALONE, _TERMINATED)
        codes = [process.returncode for process in processes]
        if any(process.returncode not in allowed[process] for process in processes):
            raise NotEqualError(f"ended with {codes} after {_shown(killed)}: {self._told()}")
        if "Traceback" in self._told():
            raise NotEqualError(f"a traceback after {_shown(killed)}: {self._told()}")
        try:
            self._case.whole(out)
        except Exception as error:
            raise NotEqualError(f"not whole after {_shown(killed)}: {error}") from error

    def _stop(self, process: subprocess.Popen) -> None:
        """Let a process end whose worker is gone; one that still waits for it takes a signal."""
        try:
            process.wait(_UNTIL_NOTICED)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(_UNTIL_NOTICED)

    def _start(self, out: Path) -> list[subprocess.Popen]:
        quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environments: list[dict[str, str]] = [{}]
        if self._case.workers > 1:
            environments = [{"TF_CONFIG": text} for text in cluster_of(self._case.workers)]
        with self._errors.open("ab") as errors:
            errors.truncate(0)
            return [
                subprocess.Popen(
                    self._case.line(self._inputs, out),
                    env={**os.environ, "PYTHONPATH": str(ROOT), **quiet, **of_worker},
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
                for of_worker in environments
            ]

    def _check_end(self, processes: list[subprocess.Popen]) -> None:
        codes = [process.wait(timeout=_PATIENCE) for process in processes]
        if any(codes):
            raise NotEqualError(f"ended with {codes}: {self._told()}")

    def _told(self) -> str:
        return self._errors.read_text(errors="replace").strip()[-500:]

    def _fresh(self, name: str) -> Path:
        out = self._folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        return out


def check_equal(result: Result, expected: Result, about: str = "") -> None:
    """Raise a NotEqualError if two results are not the same."""
    for name, value in expected.items():
        if (got := result.get(name)) != value:
            shown = f"{str(got)[:_SHOWN]}, not {str(value)[:_SHOWN]}"
            raise NotEqualError(f"{about}: {name} is {shown}")
    if more := result.keys() - expected.keys():
        raise NotEqualError(f"{about}: {', '.join(more)} should not be there")


def shares(kills: int, names: list[str]) -> Iterator[tuple[str, int]]:
    """Divide kills among cases."""
    for number, name in enumerate(names):
        count = kills // len(names) + (number < kills % len(names))
        if count:
            yield name, count


def _shown(killed: list[float]) -> str:
    return ", ".join(f"{moment:.2f} s" for moment in killed)
