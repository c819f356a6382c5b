import numpy as np
import pytest
import tensorflow as tf

from noise_flow_tf.layers.convolution import convolve, sum_over_pixels


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("width", [8, 6, 5, 1])
@pytest.mark.parametrize("channels", [(4, 4), (4, 8), (3, 5), (2, 32)])
def test_equals_the_plain_convolution(channels, width, size, relu):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return tf.constant(rng.normal(size=shape).astype(np.float32))

    x, kernel = normal(3, 7, width, channels[0]), normal(size, size, *channels)
    bias = normal(channels[1])

    def plain(x, kernel, bias):
        y = tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + bias
        return tf.nn.relu(y) if relu else y

    def with_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel, bias])
            y = function(x, kernel, bias)
            loss = tf.reduce_sum(y**3 + y)  # not flat where ReLU gives 0
        return y, *tape.gradient(loss, [x, kernel, bias])

    ours = with_gradients(lambda *given: convolve(*given, relu=relu))
    for found, expected in zip(ours, with_gradients(plain), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    without_bias = plain(x, kernel, tf.zeros_like(bias))
    np.testing.assert_allclose(convolve(x, kernel, relu=relu), without_bias, atol=1e-5)


def test_takes_images_whose_size_is_not_known_when_traced():
    kernel = tf.random.stateless_normal([3, 3, 4, 4], (0, 0))
    image = tf.random.stateless_normal([1, 5, 8, 4], (0, 1))
    traced = tf.function(
        lambda x: convolve(x, kernel), input_signature=[tf.TensorSpec([None, None, None, 4])]
    )
    np.testing.assert_allclose(traced(image), convolve(image, kernel), atol=1e-5)


def test_sum_over_pixels():
    x = np.random.default_rng(0).normal(size=(3, 5, 7, 4)).astype(np.float32)
    np.testing.assert_allclose(sum_over_pixels(tf.constant(x)), x.sum(axis=(0, 1, 2)), atol=1e-4)
