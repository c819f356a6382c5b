"""Convolutions of few channels that fill a processor's vector registers."""

from collections.abc import Callable

import tensorflow as tf

from noise_flow_tf.bijectors.shapes import sizes

_REGISTER = 16


def convolve(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None, relu: bool = False
) -> tf.Tensor:
    """Convolve with stride 1 and zero padding; add the bias, and apply the ReLU.

    With four channels a register of 16 values is mostly empty. So on a CPU a 3x3 kernel computes
    neighbouring pixels of a row together, as one of more channels: for two pixels it becomes a 3x4
    kernel of stride two, with zeros outside each pixel's own window. The result is the same bit for
    bit. The gradient by `x` is such a convolution, too; the one by `kernel` is TensorFlow's.

    Args:
        x: `[B, H, W, C]`.
        kernel: `[3, 3, C, D]` or `[1, 1, C, D]`.
        bias: `[D]`, added to the result.
        relu: whether to apply a ReLU then.

    Returns:
        `[B, H, W, D]`.
    """
    if 0 in x.shape:  # TensorFlow's kernels refuse to add a bias to an empty tensor
        return tf.zeros([*sizes(x)[:-1], kernel.shape[-1]])
    if tf.config.list_physical_devices("GPU"):
        return _plain(x, kernel, bias, relu)

    @tf.custom_gradient
    def on_cpu(x: tf.Tensor, kernel: tf.Tensor, *bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y = _on_cpu(x, kernel, bias[0] if bias else None, relu)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
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
    """Sum `[B, H, W, C]` to `[C]`: adding rows of W * C values fills whole registers."""
    count, height, width, channels = sizes(x)
    rows = tf.reduce_sum(tf.reshape(x, [count * height, width * channels]), axis=0)
    return tf.reduce_sum(tf.reshape(rows, [width, channels]), axis=0)


def _on_cpu(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None, relu: bool = False
) -> tf.Tensor:
    size, channels = kernel.shape[0], kernel.shape[-1]
    together = _REGISTER // channels
    if size == 1 or together < 2:
        return _plain(x, kernel, bias, relu)
    places = range(together)
    shifted = [tf.pad(kernel, [[0, 0], [i, together - 1 - i], [0, 0], [0, 0]]) for i in places]
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


def _is_zero(size: int | tf.Tensor) -> bool:
    return isinstance(size, int) and size == 0


def _plain(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None, relu: bool) -> tf.Tensor:
    return _finish(tf.nn.conv2d(x, kernel, strides=1, padding="SAME"), bias, relu)


def _finish(x: tf.Tensor, bias: tf.Tensor | None, relu: bool) -> tf.Tensor:
    x = x if bias is None else tf.nn.bias_add(x, bias)
    return tf.nn.relu(x) if relu else x
