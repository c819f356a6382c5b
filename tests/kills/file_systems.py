"""Run commands on file systems that are slow, have no locks, are full or cannot be written.

`python -m tests.kills.file_systems` prints a table. Slow ones and those without locks are made by
strace, which delays or fails system calls; the others by mounting, for which one must be root.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kills.cases import CASES, Case, Inputs, prepare
from tests.kills.harness import check_equal
from tests.processes import ROOT

_PATIENCE = 900
_TRACED = ["strace", "--seccomp-bpf", "-f", "-qq", "-o", os.devnull]
_WRITING = "fsync,fdatasync,rename,renameat2,unlink,mkdir,openat,pwrite64"
TRACED = {
    "no locks": [*_TRACED, "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"],
    "slow": [*_TRACED, "-e", f"trace={_WRITING}", "-e", f"inject={_WRITING}:delay_enter=4000"],
}
SPACES = (16, 200, 1000, 4000)
"""How many KiB a file system has that is soon full."""
NAMES = [name for name, case in CASES.items() if case.workers == 1]


class Runner:
    """A command, and its result on an ordinary file system."""

    def __init__(self, case: Case, inputs: Inputs, folder: Path) -> None:
        """Run the command once."""
        self._case, self._inputs, self._folder = case, inputs, folder
        out = self._fresh("ordinary")
        code, told = self._run(out)
        assert not code, told
        self._expected = case.result(out)

    def equal_under(self, prefix: list[str]) -> str:
        """Run the command under strace; check that its result is the same, and say so."""
        out = self._fresh("traced")
        code, told = self._run(out, prefix)
        assert not code, told
        check_equal(self._case.result(out), self._expected)
        return "equal bit for bit"

    def told_when_full(self, kilobytes: int) -> str:
        """Run the command where space ends; check what it says, and that it can go on after it."""
        with _mounted(self._fresh("small"), f"size={kilobytes}k") as out:
            told = self._refusal(*self._run(out))
            self._case.whole(out)
            _mount(out, "remount,size=2g")
            code, then = self._run(out)
            assert not code, then
            check_equal(self._case.result(out), self._expected)
        return told

    def told_when_read_only(self) -> str:
        """Run the command where nothing can be written; check what it says."""
        with _mounted(self._fresh("read-only"), "size=1m,ro") as out:
            told = self._refusal(*self._run(out))
            assert not [*out.iterdir()]
        return told

    def _refusal(self, code: int, told: str) -> str:
        """Return the one line by which a command ended, or an exception, that could not write."""
        if not code:
            return "enough"
        *before, last = told.strip().splitlines()
        assert str(self._folder) in last, told
        assert "cannot be written" in last or "Read-only" in last, told
        if not self._case.is_python:
            assert code == 2, told
            assert not [line for line in before if line in last or "Traceback" in line], told
        return last.replace(str(self._folder), "..")

    def _run(self, out: Path, prefix: list[str] | None = None) -> tuple[int, str]:
        environment = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [*(prefix or []), *self._case.line(self._inputs, out)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        return done.returncode, done.stderr

    def _fresh(self, name: str) -> Path:
        out = self._folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        return out


def can_trace() -> bool:
    """Return whether strace is there and may trace."""
    if shutil.which("strace") is None:
        return False
    return not subprocess.run([*_TRACED, "true"], capture_output=True, check=False).returncode


def can_mount() -> bool:
    """Return whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _mounted(Path(folder), "size=16k"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    _mount(folder, options)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    failed = False
    print("| command | file system | result |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        inputs = prepare(folder)
        for case in args.cases:
            runner = Runner(CASES[case], inputs, folder / case)
            trials = {name: (runner.equal_under, prefix) for name, prefix in TRACED.items()}
            trials |= {f"full at {space} KiB": (runner.told_when_full, space) for space in SPACES}
            trials["read-only"] = (runner.told_when_read_only,)
            for trial, (run, *given) in trials.items():
                try:
                    result = run(*given)
                except AssertionError as error:
                    failed, result = True, f"FAILED: {error}"
                print(f"| {case} | {trial} | {result} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
