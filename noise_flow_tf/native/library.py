"""Loads the compiled core, and says which core runs: it, or TensorFlow.

No TensorFlow is imported here. Calls through ctypes release Python's lock.
"""

import ctypes
import os
import sys
import threading
from functools import cache
from typing import NamedTuple

VARIABLE = "NOISE_FLOW_CORE"
"""The environment variable; its values are `auto` (the default), `native` and `tensorflow`."""

_CHOICES = ("auto", "native", "tensorflow")

ABI = 1
_REBUILD = "python -m noise_flow_tf.native.build"

_INT, _LONG, _ARRAY = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
_FLOW = [_ARRAY, _INT, _ARRAY, _LONG, _LONG, _LONG]  # ops, n_ops, params, B, H, W
# The arguments as in `source/core.h`; an array is its address, or None.
_SIGNATURES = {
    "nf_target": ([], ctypes.c_char_p),
    "nf_choose": ([ctypes.c_char_p], _INT),
    "nf_latent": ([*_FLOW, *[_ARRAY] * 4, _INT], _INT),
    "nf_noise": ([*_FLOW, *[_ARRAY] * 3, _INT], _INT),
    "nf_saved_size": ([_ARRAY, _INT, _LONG, _LONG, _LONG], _LONG),
    "nf_forward": ([*_FLOW, *[_ARRAY] * 2, _INT, *[_ARRAY] * 4, _INT], _INT),
    "nf_gradient": ([*_FLOW, _ARRAY, _INT, *[_ARRAY] * 7, _INT], _INT),
}

_lock = threading.Lock()
_said = False


class _Loaded(NamedTuple):
    library: ctypes.CDLL | None
    missing: str = ""  # why, and what to do


def load() -> ctypes.CDLL | None:
    """Return the compiled library, or None if there is none that can be used."""
    return _load().library


def choice() -> str:
    """Return the value of NOISE_FLOW_CORE: "auto", "native" or "tensorflow".

    Raises:
        ValueError: it is another one, or "native" and there is no compiled core.
    """
    value = os.environ.get(VARIABLE) or "auto"
    if value not in _CHOICES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(_CHOICES)}; got {value!r}")
    if value == "native" and load() is None:
        raise ValueError(
            f"{VARIABLE}=native, but {_load().missing}; or unset {VARIABLE} to compute with "
            "TensorFlow"
        )
    return value


def turned_off() -> bool:
    """Whether the environment variable NOISE_FLOW_CORE turns the compiled core off."""
    return choice() == "tensorflow"


def available() -> bool:
    """Whether the compiled core can be used: it is there, and not turned off."""
    return not turned_off() and load() is not None


def target() -> str | None:
    """Return the instruction set that the compiled core uses, or None if it is not available."""
    library = None if turned_off() else load()
    return None if library is None else library.nf_target().decode()


def threads() -> int:
    """Return how many threads the core may use.

    That is the least of the processors that this process may run on, OMP_NUM_THREADS,
    NOISE_FLOW_THREADS and, if TensorFlow is loaded, its intra-op parallelism.

    Raises:
        ValueError: One of the two variables is not a whole number of at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        limits = [len(os.sched_getaffinity(0))]
    else:
        limits = [os.cpu_count() or 1]
    for name in ("OMP_NUM_THREADS", "NOISE_FLOW_THREADS"):
        if value := os.environ.get(name, "").strip():
            if not (value.isascii() and value.isdecimal() and int(value)):
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
            limits.append(int(value))
    config = getattr(sys.modules.get("tensorflow"), "config", None)
    if config is not None:
        limits.append(config.threading.get_intra_op_parallelism_threads() or limits[0])
    return min(limits)


def description() -> str:
    """Return which core runs, and if it is TensorFlow, why."""
    if turned_off():
        return "core: TensorFlow (NOISE_FLOW_CORE=tensorflow)"
    if load() is None:
        return f"core: TensorFlow ({_load().missing})"
    return f"core: compiled ({target()})"


def say_missing_once() -> None:
    """Say on standard error, once per process, that the compiled core is missing and why.

    For where it would have been used; if it is turned off or available, nothing is said.
    """
    global _said
    if _said or turned_off() or load() is not None:
        return
    with _lock:
        first, _said = not _said, True
    if first:
        print(
            f"noise_flow_tf: TensorFlow does the compiled core's work, more slowly "
            f"({_load().missing}; NOISE_FLOW_CORE=tensorflow silences this)",
            file=sys.stderr,
        )


@cache
def _load() -> _Loaded:
    """Load the library; if two threads come first, they load the same one."""
    # Imported here, so that `python -m noise_flow_tf.native.build` is the first to import it.
    from noise_flow_tf.native import build

    path = build.FOLDER / build.NAME
    if not path.is_file():
        return _Loaded(None, f"no compiled library; {_REBUILD} makes it")
    rebuild = f"rebuild with {_REBUILD}"
    if not build.is_current(path):
        return _Loaded(None, f"the compiled library is not of these sources; {rebuild}")
    try:
        library = ctypes.CDLL(str(path))
        if (abi := library.nf_abi()) != ABI:
            return _Loaded(None, f"the compiled library has interface {abi}, not {ABI}; {rebuild}")
        for name, (arguments, result) in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError) as error:
        return _Loaded(None, f"the compiled library does not load: {error}; {rebuild}")
    return _Loaded(library)
