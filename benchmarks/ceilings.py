"""What the machine could do at most, and how much of it Noise Flow asks for."""

import os

import tensorflow as tf

import noise_flow_tf as nf
from benchmarks.turns import Operation, Timing
from noise_flow_tf import layers

UNITS = {"arithmetic": "GFLOP/s", "memory": "GB/s"}

_SIDE = 2048
_FLOATS = 2**25
_FLOAT = 4


def operations() -> dict[str, Operation]:
    """A matrix product, in FLOP, and reading and writing memory, in bytes; on each core one."""
    cores = os.cpu_count() or 1
    matrices = [tf.random.normal([_SIDE, _SIDE]) for _ in range(cores)]
    arrays = [tf.zeros([_FLOATS // cores]) for _ in range(cores)]

    @tf.function(autograph=False)
    def multiply():
        return [tf.matmul(matrix, matrix) for matrix in matrices]

    @tf.function(autograph=False)
    def add():
        return [array + 1.0 for array in arrays]

    return {
        "arithmetic": Operation(lambda: _wait(multiply()), cores * 2.0 * _SIDE**3),
        "memory": Operation(lambda: _wait(add()), cores * 2.0 * _FLOAT * (_FLOATS // cores)),
    }


def asked_for(model: nf.NoiseFlow) -> dict[str, float]:
    """What one packed pixel takes on its way through a flow: FLOP of its convolutions, and bytes.

    The bytes are those of the images that each layer reads and writes, once: what memory would have
    to carry if no cache helped.
    """
    image = layers.CHANNELS
    multiplied, floats = 0, 0
    for layer in model.layers:
        if layer.code != "unc":
            floats += (2 if layer.code == "gain4" else 3) * image
            continue
        network = layer.network
        kernels = [(1, 1, image, image)]
        kernels += [kernel.shape for kernel in (network.kernel1, network.kernel2, network.kernel3)]
        for height, width, inputs, outputs in kernels:
            multiplied += height * width * inputs * outputs
            floats += inputs + outputs
        floats += 3 * image  # the coupling: image, and shift and log-scale, to image
    return {"arithmetic": 2.0 * multiplied, "memory": float(_FLOAT * floats)}


def fractions(model: nf.NoiseFlow, pixels: float, timings: dict[str, Timing]) -> dict[str, float]:
    """How much of each ceiling so many packed pixels a second are."""
    each = asked_for(model)
    return {name: pixels * each[name] / timings[name].rate for name in UNITS}


def _wait(results):
    for result in results:
        result[..., :1].numpy()
