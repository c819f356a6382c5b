"""The network inside a coupling: two convolutions with batch norm, and a scaled last one."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from noise_flow_tf.bijectors import ShiftAndLogScale, Updates
from noise_flow_tf.bijectors.shapes import as_batch, sizes
from noise_flow_tf.layers.convolution import convolve, sum_over_pixels

BATCH_NORM_EPSILON = 1e-4
BATCH_NORM_UPDATE = 0.1
_LOGS_FACTOR = 3.0
_INITIAL_RESCALING = 1e-4


class CouplingNetwork(tf.Module):
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
    """

    RECEPTIVE_FIELD = 2
    """The radius in pixels of its two 3x3 convolutions together."""

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

    def __call__(self, x: tf.Tensor, training: bool = False) -> ShiftAndLogScale:
        """Return the shift and the log-scale for `x`, each of its shape `[..., H, W, channels]`.

        In training they use the moments of the batch, and `moved` has the new averages; nothing is
        assigned here.
        """
        moved: list[tuple[tf.Variable, tf.Tensor]] = []

        def hidden_layer(
            images: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, moments: "Moments"
        ) -> tf.Tensor:
            if training:
                normalized, averages = moments.normalize(convolve(images, kernel, bias))
                moved.extend(averages)
                return tf.nn.relu(normalized)
            inverse_stddev = tf.math.rsqrt(moments.variance + BATCH_NORM_EPSILON)
            folded = (bias - moments.mean) * inverse_stddev
            return convolve(images, kernel * inverse_stddev, folded, relu=True)

        kernel1 = tf.concat([self.kernel1, tf.zeros_like(self.kernel1)], axis=2)
        hidden = hidden_layer(as_batch(x), kernel1, self.bias1, self.moments1)
        hidden = hidden_layer(hidden, self.kernel2, self.bias2, self.moments2)
        shift, scale = (tf.reshape(half, sizes(x)) for half in _halves(self._last_layer(hidden)))
        return ShiftAndLogScale(shift, self.rescaling * tf.tanh(scale), moved)

    def _last_layer(self, hidden: tf.Tensor) -> tf.Tensor:
        # The border channel is the same in every image: its part is added as a map of biases.
        scale = tf.exp(_LOGS_FACTOR * self.logs)
        kernel = _after_zeros(self.kernel3 * scale)
        inside = tf.zeros([1, *sizes(hidden)[1:3], 1])
        border = tf.pad(inside, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        border_part = tf.nn.conv2d(border, kernel[:, :, -1:], strides=1, padding="VALID")
        biases = border_part + _after_zeros(self.bias3 * scale)
        return convolve(hidden, kernel[:, :, :-1]) + biases


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

    def normalize(self, images: tf.Tensor) -> tuple[tf.Tensor, Updates]:
        """Normalize images `[B, H, W, width]` by the batch's moments; return the updates, too."""
        normalized, mean, variance = _normalize(images)
        return normalized, [
            (average, average - BATCH_NORM_UPDATE * (average - moment))
            for average, moment in ((self.mean, mean), (self.variance, variance))
        ]


@tf.custom_gradient
def _normalize(images: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Callable]:
    """Return normalized images, mean and biased variance; no gradient flows from the moments.

    The forward sums are plain float32 sums over images, rows and columns, as in the release: others
    round differently, which its hardest case shows. The rest works on rows of W * C values, because
    broadcasting along four of them leaves most of a vector register empty. The gradient is written
    out as it takes fewer passes over the batch than the derived one.
    """
    mean_of = partial(_mean_over_batch, images)
    shape = sizes(images)
    count, height, width, channels = shape

    def in_rows(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, [count * height, width * channels])

    def along_rows(per_channel: tf.Tensor) -> tf.Tensor:
        return tf.tile(per_channel, [width])

    mean = mean_of(tf.reduce_sum(images, axis=[0, 1, 2]))
    centered = in_rows(images) - along_rows(mean)
    squares = tf.reshape(centered * centered, shape)
    variance = mean_of(tf.reduce_sum(squares, axis=[0, 1, 2]))
    inverse_stddev = along_rows(tf.math.rsqrt(variance + BATCH_NORM_EPSILON))
    normalized = centered * inverse_stddev

    def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        rows = in_rows(upstream)
        products = tf.reshape(rows * normalized, shape)
        slope = along_rows(mean_of(sum_over_pixels(products)))
        level = along_rows(mean_of(sum_over_pixels(upstream)))
        return tf.reshape(inverse_stddev * (rows - level - normalized * slope), shape)

    return (tf.reshape(normalized, shape), mean, variance), gradient


def _mean_over_batch(images: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Return each channel's mean over all images of all replicas, from this replica's total."""
    count = tf.cast(math.prod(sizes(images)[:-1]), total.dtype)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return total / count
    total = tf.concat([total, [count]], axis=0)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
    return total[:-1] / total[-1]


def _halves(x: tf.Tensor) -> list[tf.Tensor]:
    """Halve the channels, to `[N, channels / 2]`; a transpose is faster than a split."""
    count, half = math.prod(sizes(x)[:-1]), x.shape[-1] // 2
    return tf.unstack(tf.transpose(tf.reshape(x, [count, 2, half]), [1, 0, 2]))


def _after_zeros(parameter: tf.Tensor) -> tf.Tensor:
    """Insert zeros before each half of the last axis, as many as the half has values."""
    first, second = tf.split(parameter, 2, axis=-1)
    zeros = tf.zeros_like(first)
    return tf.concat([zeros, first, zeros, second], axis=-1)
