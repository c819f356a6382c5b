"""Convolutions between a few channels that make good use of a processor's vector registers."""

import tensorflow as tf

from noise_flow_tf.bijectors.shapes import sizes

_REGISTER = 16


def convolve(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None, relu: bool = False):
    """A convolution of stride 1 with zero padding, and what belongs to it.

    With four channels a register of 16 values is mostly empty. So on a CPU a 3x3 kernel computes
    neighbouring pixels of a row together, as one of more channels: for two pixels it becomes a 3x4
    kernel that moves on by two, and has zeros where only the other pixel looks. Not a bit of the
    result changes. The gradient by `x` is such a convolution, too; the one
    by `kernel` is the plain one's.

    Args:
        x: `[B, H, W, C]`.
        kernel: `[3, 3, C, D]` or `[1, 1, C, D]`.
        bias: `[D]`, added to the result.
        relu: whether what is negative then becomes 0.

    Returns:
        `[B, H, W, D]`.
    """
    if 0 in x.shape:  # TensorFlow's kernels refuse to add a bias to nothing
        return tf.zeros([*sizes(x)[:-1], kernel.shape[-1]])
    if tf.config.list_physical_devices("GPU"):
        return _plain(x, kernel, bias, relu)

    @tf.custom_gradient
    def on_cpu(x, kernel, *bias):
        y = _on_cpu(x, kernel, *bias, relu=relu)

        def gradient(upstream):
            if relu:
                upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=y)
            by_x = _on_cpu(upstream, tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2]))
            by_kernel = tf.compat.v1.nn.conv2d_backprop_filter(
                x, kernel.shape, upstream, strides=[1, 1, 1, 1], padding="SAME"
            )
            return by_x, by_kernel, *(tf.reduce_sum(upstream, axis=[0, 1, 2]) for _ in bias)

        return y, gradient

    return on_cpu(x, kernel) if bias is None else on_cpu(x, kernel, bias)


def sum_over_pixels(x: tf.Tensor) -> tf.Tensor:
    """The sum `[C]` of `[B, H, W, C]`: adding rows of W * C values fills whole registers."""
    count, height, width, channels = sizes(x)
    rows = tf.reduce_sum(tf.reshape(x, [count * height, width * channels]), axis=0)
    return tf.reduce_sum(tf.reshape(rows, [width, channels]), axis=0)


def _on_cpu(x, kernel, bias=None, relu=False):
    size, channels = kernel.shape[0], kernel.shape[-1]
    together = _REGISTER // channels
    if size == 1 or together < 2:
        return _plain(x, kernel, bias, relu)
    shifted = [
        tf.pad(kernel, [[0, 0], [i, together - 1 - i], [0, 0], [0, 0]]) for i in range(together)
    ]
    count, height, width, _ = sizes(x)
    missing = -width % together
    y = tf.nn.conv2d(
        x if _is_zero(missing) else tf.pad(x, [[0, 0], [0, 0], [0, missing], [0, 0]]),
        tf.concat(shifted, axis=-1),
        strides=[1, 1, together, 1],
        padding=[[0, 0], [1, 1], [1, 1], [0, 0]],
    )
    y = _finish(y, None if bias is None else tf.tile(bias, [together]), relu)
    y = tf.reshape(y, [count, height, width + missing, channels])
    return tf.ensure_shape(y if _is_zero(missing) else y[:, :, :width], [*x.shape[:-1], channels])


def _is_zero(known):
    return isinstance(known, int) and known == 0


def _plain(x, kernel, bias, relu):
    return _finish(tf.nn.conv2d(x, kernel, strides=1, padding="SAME"), bias, relu)


def _finish(x, bias, relu):
    x = x if bias is None else tf.nn.bias_add(x, bias)
    return tf.nn.relu(x) if relu else x
