"""The network inside a coupling: two convolutions with batch norm, and a scaled last one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.bijectors import ShiftAndLogScale
from noise_flow_tf.bijectors.shapes import as_batch, sizes

BATCH_NORM_EPSILON = 1e-4
BATCH_NORM_UPDATE = 0.1
_LOGS_FACTOR = 3.0
_INITIAL_RESCALING = 1e-4


@dataclass(frozen=True)
class CouplingNetwork:
    """Maps the first half of the channels to the shift and log-scale of the other half.

    As in the original release, with w the width: 3x3 convolution to w channels, batch norm, ReLU;
    1x1 convolution, batch norm, ReLU; 3x3 convolution to the channels of the image, times
    exp(3 * logs). The last convolution has a further input channel that is 1 on a border of one
    pixel around the image and 0 inside. The first half of its output is the shift, and the
    log-scale is rescaling * tanh(second half).

    Input and output have the channels of the whole image, and kernels are padded with zeros: the
    first one for the channels that it must not see, the last one for those that do not change.

    Batch norm has neither scale nor offset. In training it uses the mean and the biased variance of
    the batch, of all replicas together under a `tf.distribute` strategy, and requests updates of
    the averages by 0.1 of the difference; otherwise it uses the averages.

    A pure function: its parameters are tensors, or variables that are read at each use.

    Attributes:
        kernel1: `[3, 3, C / 2, w]`.
        bias1: `[w]`.
        mean1: `[w]`, batch norm's average of the first layer.
        variance1: `[w]`, likewise.
        kernel2: `[1, 1, w, w]`.
        bias2: `[w]`.
        mean2: `[w]`, batch norm's average of the second layer.
        variance2: `[w]`, likewise.
        kernel3: `[3, 3, w + 1, C]`.
        bias3: `[C]`.
        logs: `[C]`.
        rescaling: a scalar.
    """

    kernel1: Any
    bias1: Any
    mean1: Any
    variance1: Any
    kernel2: Any
    bias2: Any
    mean2: Any
    variance2: Any
    kernel3: Any
    bias3: Any
    logs: Any
    rescaling: Any

    def __call__(
        self, x: tf.Tensor, averages: Sequence[tf.Variable] | None = None
    ) -> ShiftAndLogScale:
        """Return the shift and the log-scale of an image.

        Args:
            x: `[..., H, W, C]`, of which only the first half of the channels is used.
            averages: in training, the variables of mean1, variance1, mean2 and variance2: batch
                norm then uses the moments of the batch, and `moved` has the new averages. Nothing
                is assigned here.

        Returns:
            Both of the shape of `x`.
        """
        hidden, moments = as_batch(x), []
        for kernel, bias, mean, variance in (
            (_with_zeros(self.kernel1), self.bias1, self.mean1, self.variance1),
            (self.kernel2, self.bias2, self.mean2, self.variance2),
        ):
            if averages is not None:
                hidden, mean, variance = _normalize(_convolve(hidden, kernel, bias))
                moments += [mean, variance]
            else:
                scale = tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
                hidden = _convolve(hidden, kernel * scale, (bias - mean) * scale)
            hidden = tf.nn.relu(hidden)
        halves = tf.split(self._last_layer(hidden), 2, axis=-1)
        shift, scale = (tf.reshape(half, sizes(x)) for half in halves)
        moved = [
            (average, average - BATCH_NORM_UPDATE * (average - moment))
            for average, moment in zip(averages or (), moments, strict=True)
        ]
        return ShiftAndLogScale(shift, self.rescaling * tf.tanh(scale), moved)

    def _last_layer(self, hidden: tf.Tensor) -> tf.Tensor:
        # The border channel is the same in every image: its part is added as a map of biases.
        scale = tf.exp(_LOGS_FACTOR * self.logs)
        kernel = _after_zeros(self.kernel3 * scale)
        inside = tf.zeros([1, *sizes(hidden)[1:3], 1])
        border = tf.pad(inside, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        border_part = tf.nn.conv2d(border, kernel[:, :, -1:], strides=1, padding="VALID")
        biases = border_part + _after_zeros(self.bias3 * scale)
        return _convolve(hidden, kernel[:, :, :-1], biases[0])


class CouplingVariables(tf.Module):
    """The variables of a `CouplingNetwork`."""

    def __init__(self, channels: int, width: int, rng: np.random.Generator) -> None:
        """Make the variables.

        Args:
            channels: of the image; the network sees the first half of them.
            width: the number of channels of the hidden layers.
            rng: the source of the initial hidden kernels.
        """
        super().__init__(name="network")
        stddev = 0.05 * width / 512

        def kernel(*shape: int) -> tf.Variable:
            return tf.Variable(rng.normal(0.0, stddev, shape).astype(np.float32), name="kernel")

        self.kernel1 = kernel(3, 3, channels // 2, width)
        self.bias1 = tf.Variable(tf.zeros([width]), name="bias1")
        self.moments1 = Moments(width, name="moments1")
        self.kernel2 = kernel(1, 1, width, width)
        self.bias2 = tf.Variable(tf.zeros([width]), name="bias2")
        self.moments2 = Moments(width, name="moments2")
        self.kernel3 = tf.Variable(tf.zeros([3, 3, width + 1, channels]), name="kernel3")
        self.bias3 = tf.Variable(tf.zeros([channels]), name="bias3")
        self.logs = tf.Variable(tf.zeros([channels]), name="logs")
        self.rescaling = tf.Variable(_INITIAL_RESCALING, name="rescaling")

    @property
    def averages(self) -> tuple[tf.Variable, ...]:
        """Return batch norm's averages: mean and variance of each hidden layer."""
        return tuple(
            average for m in (self.moments1, self.moments2) for average in (m.mean, m.variance)
        )

    @property
    def parameters(self) -> tuple[tf.Variable, ...]:
        """Return the parameters of a `CouplingNetwork`, in its order."""
        mean1, variance1, mean2, variance2 = self.averages
        return (
            *(self.kernel1, self.bias1, mean1, variance1),
            *(self.kernel2, self.bias2, mean2, variance2),
            *(self.kernel3, self.bias3, self.logs, self.rescaling),
        )


class Moments(tf.Module):
    """The batch-norm averages of one layer."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__(name=name)
        average = partial(
            tf.Variable,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.MEAN,
        )
        self.mean = average(tf.zeros([width]), name="mean")
        self.variance = average(tf.ones([width]), name="variance")


@tf.custom_gradient
def _normalize(images: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Callable]:
    """Return normalized images `[B, H, W, w]`, and their mean and biased variance `[w]`.

    The sums are plain float32 sums over images, rows and columns, as in the release: others, such
    as a fused batch norm's, round differently, which its hardest case shows. So does the derived
    gradient, which also takes more passes over the batch. No gradient flows from the moments.
    """
    mean = _mean_of_channels(images)
    centered = images - mean
    variance = _mean_of_channels(centered * centered)
    inverse_stddev = tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
    normalized = centered * inverse_stddev

    def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        level, slope = _mean_of_channels(upstream), _mean_of_channels(upstream * normalized)
        return inverse_stddev * (upstream - level - normalized * slope)

    return (normalized, mean, variance), gradient


def _mean_of_channels(images: tf.Tensor) -> tf.Tensor:
    """Return each channel's mean `[C]` over all images of all replicas."""
    total = tf.reduce_sum(images, axis=[0, 1, 2])
    count = tf.cast(math.prod(sizes(images)[:-1]), total.dtype)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return total / count
    total = tf.concat([total, [count]], axis=0)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
    return total[:-1] / total[-1]


def _convolve(images: tf.Tensor, kernel: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
    """Convolve with zero padding, and add biases `[D]` or `[H, W, D]`."""
    result = tf.nn.conv2d(images, kernel, strides=1, padding="SAME")
    if images.shape[0]:
        return result + biases
    # Of no image, such as a replica's part of a small batch, oneDNN makes a result of as many
    # channels as the input has. As rows it has the right shape; TensorFlow drops a reshaping to the
    # shape that it thinks the result has.
    _, height, width, _ = shape = sizes(images)
    depth = kernel.shape[-1]
    rows = tf.reshape(result, [shape[0], height, width * depth])
    rows += tf.reshape(tf.broadcast_to(biases, [height, width, depth]), [height, width * depth])
    return tf.reshape(rows, [*shape[:-1], depth])


def _with_zeros(kernel: tf.Tensor) -> tf.Tensor:
    """Append as many input channels of zeros as the kernel `[h, w, C / 2, D]` has."""
    return tf.concat([kernel, tf.zeros_like(kernel)], axis=2)


def _after_zeros(parameter: tf.Tensor) -> tf.Tensor:
    """Insert zeros before each half of the last axis, as many as the half has values."""
    first, second = tf.split(parameter, 2, axis=-1)
    zeros = tf.zeros_like(first)
    return tf.concat([zeros, first, zeros, second], axis=-1)
