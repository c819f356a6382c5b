"""Scripts in processes of their own, as a user starts them; one alone or several together."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from noise_flow_tf.saving.run_folder import RunFolder, newest_first

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE = 400


def command(name: str, *arguments) -> list[str]:
    """Of a script at the root, such as train.py, or a command of `noise-flow`."""
    how = [str(ROOT / name)] if name.endswith(".py") else ["-m", "noise_flow_tf", name]
    return [sys.executable, *how, *map(str, arguments)]


def start(command: Sequence[str], **environment: str) -> subprocess.Popen:
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, **told
    )


def start_workers(command: Sequence[str], count: int) -> list[subprocess.Popen]:
    """Starts the workers of one training, all on this machine."""
    return [start(command, TF_CONFIG=text) for text in cluster_of(count)]


def cluster_of(count: int) -> list[str]:
    """Returns the TF_CONFIG of each worker, at free ports of this machine."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(count)]
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    return [json.dumps({"cluster": {"worker": workers}, "task": task}) for task in tasks]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        return [server.getsockname()[1] for server in servers]


def finish(*processes: subprocess.Popen) -> str:
    """Waits until all have ended well; returns what the first one told.

    Where one fails, the others would wait for it without end, and are killed.
    """
    with ThreadPoolExecutor() as pool:
        waiting = {pool.submit(one.communicate, timeout=_PATIENCE): one for one in processes}
        for ended in as_completed(waiting):
            if ended.exception() or waiting[ended].returncode:
                for process in processes:
                    process.kill()
    told = [ended.result() for ended in waiting]
    errors = "\n".join(errors for _, errors in told)
    assert not any(process.returncode for process in processes), errors
    return told[0][0]


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    """Waits until a run has saved a checkpoint of a step or a later one."""
    last = RunFolder(folder).last
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        saved = newest_first(last)
        if saved and int(saved[0].name.rpartition("-")[2]) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def interrupt_and_resume(line: Sequence[str], name: str, folder: Path) -> str:
    """Stops a run after its second step, and resumes it; returns what the second start told."""
    errors = stop_after(start([*line, "--checkpoint_every", "2"]), folder, 2)
    assert "stopped by SIGTERM" in errors
    told = finish(start(command(name, "--logdir", folder, "--resume")))
    assert "resuming from checkpoint" in told
    return told


def stop_after(process: subprocess.Popen, folder: Path, step: int) -> str:
    """Tells a run to stop once it has saved a step; returns the errors that it then told."""
    with process:
        wait_for_step(process, folder, step)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM, errors
    return errors
