"""The network inside a coupling: two convolutions with batch norm, and a scaled last one."""

import math

import numpy as np
import tensorflow as tf

from noise_flow_tf.convolution import convolve, sum_over_pixels
from noise_flow_tf.shapes import sizes

BATCH_NORM_EPSILON = 1e-4
BATCH_NORM_UPDATE = 0.1
_LOGS_FACTOR = 3.0
_INITIAL_RESCALING = 1e-4


class CouplingNetwork(tf.Module):
    """Maps the first half of the channels to the shift and log-scale of the other half.

    In the shape of the original release, with w the width: 3x3 convolution to w channels, batch
    norm, ReLU; 1x1 convolution, batch norm, ReLU; 3x3 convolution to as many channels as the image
    has, times exp(3 * logs). The last convolution sees a further channel that is 1 on a border of
    one pixel around the image and 0 inside. Of its output the first half is the shift, and the
    log-scale is rescaling * tanh(second half).

    Outside, all has the channels of the whole image, and kernels are padded with zeros: the first
    one for the channels that it must not see, the last one for those that stay as they are.

    Batch norm has neither scale nor offset. In training it uses the mean and the biased variance of
    the batch, of all replicas together under a `tf.distribute` strategy, and moves the averages by
    0.1 of the difference; otherwise it uses the averages.
    """

    REACH = 2
    """How many pixels away its two 3x3 convolutions look."""

    def __init__(self, channels: int, width: int, rng: np.random.Generator, name=None):
        """Makes the variables.

        Args:
            channels: how many channels the image has; the network sees the first half of them.
            width: how many channels the hidden layers have.
            rng: where the initial hidden kernels are drawn from.
            name: the name of the module.
        """
        super().__init__(name=name)
        stddev = 0.05 * width / 512

        def kernel(*shape):
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

    def __call__(self, x: tf.Tensor | list[tf.Tensor], training: bool = False):
        """The shift and the log-scale for `x`, each of the shape `[..., H, W, channels]` of `x`.

        Or, for the parts of a batch, a list of such pairs; in training they have the moments of
        all.
        """
        if not isinstance(x, list):
            return self([x], training)[0]
        hidden = [
            part if part.shape.rank == 4 else tf.reshape(part, [-1, *sizes(part)[-3:]])
            for part in x
        ]
        kernel1 = tf.concat([self.kernel1, tf.zeros_like(self.kernel1)], axis=2)
        hidden = self._hidden_layer(hidden, kernel1, self.bias1, self.moments1, training)
        hidden = self._hidden_layer(hidden, self.kernel2, self.bias2, self.moments2, training)
        outcomes = []
        for part, last in zip(x, self._last_layer(hidden), strict=True):
            shift, scale = (tf.reshape(half, sizes(part)) for half in _halves(last))
            outcomes.append((shift, self.rescaling * tf.tanh(scale)))
        return outcomes

    @staticmethod
    def _hidden_layer(parts, kernel, bias, moments, training):
        if training:
            normalized = moments.normalize([convolve(x, kernel, bias) for x in parts])
            return [tf.nn.relu(x) for x in normalized]
        inverse_stddev = tf.math.rsqrt(moments.variance + BATCH_NORM_EPSILON)
        kernel, folded = kernel * inverse_stddev, (bias - moments.mean) * inverse_stddev
        return [convolve(x, kernel, folded, relu=True) for x in parts]

    def _last_layer(self, parts):
        """The border channel is the same in every image: its part is added as a map of biases."""
        scale = tf.exp(_LOGS_FACTOR * self.logs)
        kernel = _after_zeros(self.kernel3 * scale)
        inside = tf.zeros([1, *sizes(parts[0])[1:3], 1])
        border = tf.pad(inside, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        border_part = tf.nn.conv2d(border, kernel[:, :, -1:], strides=1, padding="VALID")
        biases = border_part + _after_zeros(self.bias3 * scale)
        return [convolve(x, kernel[:, :, :-1]) + biases for x in parts]


class Moments(tf.Module):
    """The batch-norm averages of one layer."""

    def __init__(self, width: int, name=None):
        super().__init__(name=name)
        self.mean = _average(tf.zeros([width]), "mean")
        self.variance = _average(tf.ones([width]), "variance")

    def normalize(self, parts: list[tf.Tensor]) -> list[tf.Tensor]:
        """The parts `[b, H, W, width]` of a batch by the moments of all; moves the averages."""
        *normalized, mean, variance = _normalize(*parts)
        self.mean.assign_sub(BATCH_NORM_UPDATE * (self.mean - mean))
        self.variance.assign_sub(BATCH_NORM_UPDATE * (self.variance - variance))
        return normalized


def _average(value: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(
        value,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )


@tf.custom_gradient
def _normalize(*parts):
    """Normalized parts of a batch, mean and biased variance; the moments are constants to the
    gradient.

    Forward, sums are plain float32 sums over images, rows and columns, as in the release: its
    hardest case shows the rounding of any other. The rest works on rows of W * C values, because
    broadcasting along four of them leaves most of a vector register empty. The gradient is written
    out as it takes fewer passes over the batch than the derived one.
    """
    shapes = [sizes(x) for x in parts]
    _, _, width, channels = shapes[0]

    def in_rows(images):
        return [tf.reshape(x, [-1, width * channels]) for x in images]

    def in_shape(rows):
        return [tf.reshape(x, shape) for x, shape in zip(rows, shapes, strict=True)]

    def along_rows(per_channel):
        return tf.tile(per_channel, [width])

    def mean_of(totals):
        return _mean_over_batch(parts, tf.add_n(totals) if len(totals) > 1 else totals[0])

    mean = mean_of([_plain_sum(parts)])
    along = along_rows(mean)
    centered = [rows - along for rows in in_rows(parts)]
    squares = in_shape([rows * rows for rows in centered])
    variance = mean_of([_plain_sum(squares)])
    inverse_stddev = along_rows(tf.math.rsqrt(variance + BATCH_NORM_EPSILON))
    normalized = [rows * inverse_stddev for rows in centered]

    def gradient(*upstream):
        upstream = upstream[: len(parts)]
        rows = in_rows(upstream)
        products = in_shape([r * n for r, n in zip(rows, normalized, strict=True)])
        slope = along_rows(mean_of([sum_over_pixels(x) for x in products]))
        level = along_rows(mean_of([sum_over_pixels(x) for x in upstream]))
        return in_shape(
            [
                inverse_stddev * (r - level - n * slope)
                for r, n in zip(rows, normalized, strict=True)
            ]
        )

    return (*in_shape(normalized), mean, variance), gradient


def _plain_sum(parts):
    whole = tf.concat(parts, axis=0) if len(parts) > 1 else parts[0]
    return tf.reduce_sum(whole, axis=[0, 1, 2])


def _mean_over_batch(parts, total):
    """The mean of each channel over all images of all replicas, from the total of this replica."""
    count = tf.cast(sum(math.prod(sizes(x)[:-1]) for x in parts), total.dtype)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return total / count
    total = tf.concat([total, [count]], axis=0)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
    return total[:-1] / total[-1]


def _halves(x):
    """The two halves of the channels, `[N, channels / 2]`: a transpose is faster than a split."""
    return tf.unstack(tf.transpose(tf.reshape(x, [-1, 2, x.shape[-1] // 2]), [1, 0, 2]))


def _after_zeros(parameter):
    """Each half of the last axis behind as many zeros."""
    first, second = tf.split(parameter, 2, axis=-1)
    zeros = tf.zeros_like(first)
    return tf.concat([zeros, first, zeros, second], axis=-1)
