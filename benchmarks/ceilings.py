"""The ceilings of the machine, and the fraction of them that Noise Flow uses."""

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

import noise_flow_tf as nf
from benchmarks.turns import Operation, Timing
from noise_flow_tf import layers

UNITS = {"arithmetic": "GFLOP/s", "memory": "GB/s"}

_SIDE = 2048
_FLOATS = 2**25
_FLOAT = 4


def operations() -> dict[str, Operation]:
    """Make a matrix product, in FLOP, and a pass over memory, in bytes; one of each per core."""
    cores = os.cpu_count() or 1
    matrices = [tf.random.normal([_SIDE, _SIDE]) for _ in range(cores)]
    arrays = [tf.zeros([_FLOATS // cores]) for _ in range(cores)]

    @tf.function(autograph=False)
    def multiply() -> list[tf.Tensor]:
        return [tf.matmul(matrix, matrix) for matrix in matrices]

    @tf.function(autograph=False)
    def add() -> list[tf.Tensor]:
        return [array + 1.0 for array in arrays]

    return {
        "arithmetic": Operation(lambda: _wait(multiply()), cores * 2.0 * _SIDE**3),
        "memory": Operation(lambda: _wait(add()), cores * 2.0 * _FLOAT * (_FLOATS // cores)),
    }


def cost_per_pixel(model: nf.NoiseFlow) -> dict[str, float]:
    """Count the FLOP of the convolutions, and the bytes, of one packed pixel in one pass.

    The bytes are those of the images that each layer reads and writes, without caches.
    """
    image = layers.CHANNELS
    products, floats = 0, 0
    for layer in model.layers:
        if layer.code != "unc":
            floats += (2 if layer.code == "gain4" else 3) * image
            continue
        network = layer.network
        kernels = [(1, 1, image, image)]
        kernels += [kernel.shape for kernel in (network.kernel1, network.kernel2, network.kernel3)]
        for height, width, inputs, outputs in kernels:
            products += height * width * inputs * outputs
            floats += inputs + outputs
        floats += 3 * image  # the coupling: image, and shift and log-scale, to image
    return {"arithmetic": 2.0 * products, "memory": float(_FLOAT * floats)}


def fractions(
    model: nf.NoiseFlow, pixels: float, timings: Mapping[Any, Timing]
) -> dict[str, float]:
    """Return the fraction of each ceiling at a rate of `pixels` packed pixels per second."""
    cost = cost_per_pixel(model)
    return {name: pixels * cost[name] / timings[name].rate for name in UNITS}


def _wait(results: list[tf.Tensor]) -> None:
    for result in results:
        result[..., :1].numpy()
