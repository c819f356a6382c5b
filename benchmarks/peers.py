"""The implementations that `--compare` times next to Noise Flow, as far as they are installed."""

import ctypes
import importlib.util
import os
import platform
from collections.abc import Collection

import tensorflow as tf

import noise_flow_tf as nf
from benchmarks.operations import STEPS_PER_TURN, make_operations
from benchmarks.straight_port import StraightPort
from benchmarks.turns import Operation

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

PEERS = {
    "straight": "the straight port",
    "torch": "PyTorch",
    "torch.compile": "torch.compile",
}
"""The titles of the peers, by name."""


def make_peers(
    names: Collection[str], batch: dict[str, tf.Tensor], threads: int
) -> dict[str, dict[str, Operation]]:
    """Make the operations of the peers there are, by peer and name; say which are left out.

    Args:
        names: of the operations.
        batch: from `operations.make_batch`.
        threads: the threads of TensorFlow, which PyTorch gets, too; 0 for all cores.
    """
    model = nf.NoiseFlow(seed=0)
    peers = {"straight": make_operations(names, batch, StraightPort(model))}
    if importlib.util.find_spec("torch") is None:
        print("left out: the PyTorch peers; pip install -e .[bench] brings them")
        return peers
    if tf.config.list_physical_devices("GPU"):
        print("left out: the PyTorch peers, which are for CPUs; TensorFlow uses a GPU here")
        return peers
    import torch

    from benchmarks import torch_port

    _keep_memory()
    torch.set_num_threads(threads or _cores())
    peers["torch"] = torch_port.make_operations(names, batch, model, STEPS_PER_TURN)
    reason = torch_port.why_not_compiled()
    if reason:
        print(f"left out: torch.compile, which fails here: {reason}")
        return peers
    peers["torch.compile"] = torch_port.make_operations(
        names, batch, model, STEPS_PER_TURN, compiled=True
    )
    return peers


def _keep_memory() -> None:
    """Let glibc keep freed memory, as allocators that PyTorch recommends do.

    PyTorch frees its temporary images in every step. By default glibc may return them to the
    system, depending on what lies above them, and then page faults more than double PyTorch's time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**25)  # the most that it accepts


def _cores() -> int:
    """Return the number of cores that this process may use, TensorFlow's default."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
