"""Calls of the compiled core with NumPy arrays.

A flow is an array `ops` of one row per op, its code and the width of its network (0 if it has
none), and `params`, all parameters of all ops in one vector, in the order of `ops.Op`. Images are
`[B, H, W, 4]` float32, of any size; B may be 0.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np

from noise_flow_tf.native import library
from noise_flow_tf.native.ops import OpCode

_ALIGNMENT = 64
_NO_MEMORY = 1


class Values(NamedTuple):
    """What `forward` computes.

    Attributes:
        latent: `[B, H, W, 4]`.
        log_prob: `[B]`, nats.
        moments: of the batch, in training: for each coupling mean1, variance1, mean2, variance2.
        saved: what `gradient` needs of the pass, for it alone.
    """

    latent: np.ndarray
    log_prob: np.ndarray
    moments: np.ndarray
    saved: np.ndarray


def latent_and_log_prob(
    ops: np.ndarray,
    params: np.ndarray,
    noise: np.ndarray,
    clean: np.ndarray,
    with_latent: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the latent of noise, and its log-density in nats; batch norm uses its averages.

    Without `with_latent`, the latent is an empty vector.
    """
    latent, log_prob = empty(noise.shape if with_latent else (0,)), empty(noise.shape[:1])
    place = _address(latent) if with_latent else None
    images = [_image(noise), _image(clean), place, _address(log_prob)]
    _call("nf_latent", ops, params, noise.shape, *images, library.threads())
    return latent, log_prob


def noise_of(
    ops: np.ndarray, params: np.ndarray, latent: np.ndarray, clean: np.ndarray
) -> np.ndarray:
    """Return the noise of a latent; batch norm uses its averages."""
    noise = empty(latent.shape)
    images = [_image(latent), _image(clean), _address(noise)]
    _call("nf_noise", ops, params, latent.shape, *images, library.threads())
    return noise


def forward(
    ops: np.ndarray, params: np.ndarray, noise: np.ndarray, clean: np.ndarray, training: bool
) -> Values:
    """Return the latent, the log-density and what the gradient needs.

    With `training`, batch norm uses the moments of the batch, which are NaN if it is empty.
    """
    batch, height, width, _ = noise.shape
    core = _core()
    size = core.nf_saved_size(ops.ctypes.data, len(ops), batch, height, width)
    if size < 0:
        raise MemoryError("the compiled core has no memory for the gradient")
    widths = ops[ops[:, 0] == OpCode.COUPLING, 1]
    values = Values(
        empty(noise.shape),
        empty(noise.shape[:1]),
        np.full(4 * int(widths.sum()) if training else 0, np.nan, np.float32),
        empty((size,)),
    )
    images = [_image(noise), _image(clean), int(training), _address(values.saved)]
    results = [_address(array) for array in values[:3]]
    _call("nf_forward", ops, params, noise.shape, *images, *results, library.threads())
    return values


def gradient(
    ops: np.ndarray,
    params: np.ndarray,
    clean: np.ndarray,
    training: bool,
    saved: np.ndarray,
    latent: np.ndarray,
    latent_gradient: np.ndarray,
    log_prob_gradient: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradient by the noise, the clean image and the parameters, given that by results.

    Args:
        ops: as for `forward`.
        params: as for `forward`.
        clean: as for `forward`.
        training: as for `forward`.
        saved: from `forward`.
        latent: from `forward`.
        latent_gradient: `[B, H, W, 4]`.
        log_prob_gradient: `[B]`.
    """
    by_noise, by_clean, by_params = empty(clean.shape), empty(clean.shape), empty(params.shape)
    given = [_image(clean), int(training), _address(saved), _image(latent)]
    slopes = [_image(latent_gradient), _image(log_prob_gradient)]
    results = [_address(array) for array in (by_params, by_noise, by_clean)]
    _call("nf_gradient", ops, params, clean.shape, *given, *slopes, *results, library.threads())
    return by_noise, by_clean, by_params


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array that TensorFlow can use without a copy.

    Large ones use memory again: the system takes as long to clear it as the core to fill it.
    """
    size = int(np.prod(shape))
    if size < _LARGE:
        return _aligned(size).reshape(shape)
    try:
        memory = _free[size].pop()
    except (KeyError, IndexError):
        memory = _aligned(size)
    return np.asarray(_Lease(memory)).reshape(shape)


# Memory that nobody holds, by size. Without a lock, which a fork could leave locked: each access is
# one operation of a list or a dict.
_free: dict[int, list[np.ndarray]] = {}
_LARGE = 2**14
_LARGEST = 2**25
_SIZES, _OF_A_SIZE = 8, 4


class _Lease:
    """The owner of an array's memory, as long as the array lives."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        memory = self._memory
        if memory.size > _LARGEST:
            return
        if memory.size not in _free and len(_free) >= _SIZES:
            _free.clear()
        of_size = _free.setdefault(memory.size, [])
        if len(of_size) < _OF_A_SIZE:
            of_size.append(memory)


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(size + _ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % _ALIGNMENT // 4
    return memory[start : start + size]


def _call(name: str, ops: np.ndarray, params: np.ndarray, shape: tuple, *rest: Any) -> None:
    batch, height, width, _ = shape
    head = (ops.ctypes.data, len(ops), _image(params), batch, height, width)
    code = getattr(_core(), name)(*head, *rest)
    if code == _NO_MEMORY:
        raise MemoryError(f"the compiled core has no memory for images of shape {list(shape)}")
    if code:
        raise ValueError(f"the compiled core refuses ops {ops.tolist()} on shape {list(shape)}")


def _core() -> ctypes.CDLL:
    core = library.load()
    if core is None:
        raise RuntimeError(library.description())
    return core


def _image(array: np.ndarray) -> int:
    if array.dtype != np.float32 or not array.flags.c_contiguous:
        raise TypeError("the compiled core takes contiguous arrays of float32")
    return _address(array)


def _address(array: np.ndarray) -> int:
    return array.ctypes.data
