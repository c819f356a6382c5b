"""One test for all bijectors; adding a bijector means adding one line to `BIJECTORS`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf import bijectors

SHAPE = (3, 2, 4)
BATCH = 2


def _signal_dependent(rng):
    intensity = rng.uniform(0.0, 1.0, (BATCH, *SHAPE))
    return bijectors.SignalDependent(intensity, rng.uniform(0.1, 1, BATCH), [0.01, 0.5])


def _conv1x1(rng):
    log_diagonal = rng.normal(0, 0.3, 4)
    signs = np.array([1, -1, -1, 1])
    return bijectors.InvertibleConv1x1(
        permutation=np.eye(4)[[2, 0, 3, 1]],
        lower=np.eye(4) + np.tril(rng.normal(size=(4, 4)), -1),
        upper=np.diag(signs * np.exp(log_diagonal)) + np.triu(rng.normal(size=(4, 4)), 1),
        log_diagonal=log_diagonal,
    )


def _coupling(rng):
    kernel = tf.constant(rng.normal(0, 0.4, (3, 3, 2, 4)), tf.float32)

    def shift_and_log_scale(x):
        shift, scale = tf.split(tf.nn.conv2d(x[..., :2], kernel, 1, "SAME"), 2, axis=-1)
        zeros = tf.zeros_like(shift)
        return tf.concat([zeros, shift], -1), tf.concat([zeros, tf.tanh(scale)], -1)

    return bijectors.AffineCoupling(shift_and_log_scale)


BIJECTORS = {
    "signal_dependent": _signal_dependent,
    "gain of each image": lambda rng: bijectors.Gain(rng.uniform(0.3, 3, BATCH)),
    "gain of all": lambda rng: bijectors.Gain(0.7),
    "conv1x1": _conv1x1,
    "affine_coupling": _coupling,
    "chain of all": lambda rng: tfp.bijectors.Chain(
        [_signal_dependent(rng), _conv1x1(rng), _coupling(rng), bijectors.Gain(0.7)]
    ),
    "side by side": lambda rng: bijectors.SideBySide(
        [_conv1x1(rng), _coupling(rng)], bijectors.Cut([1, 1])
    ),
}


@pytest.fixture(params=BIJECTORS)
def bijector(request):
    return BIJECTORS[request.param](np.random.default_rng(0))


@pytest.fixture
def image():
    return tf.constant(np.random.default_rng(1).normal(size=(BATCH, *SHAPE)), tf.float32)


def test_round_trips(bijector, image):
    np.testing.assert_allclose(bijector.forward(bijector.inverse(image)), image, atol=2e-5)
    np.testing.assert_allclose(bijector.inverse(bijector.forward(image)), image, atol=2e-5)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_log_det_is_that_of_the_jacobian(bijector, image, direction):
    with tf.GradientTape() as tape:
        tape.watch(image)
        out = getattr(bijector, direction)(image)
        flat = tf.reshape(out, [BATCH, -1])
    jacobian = tf.reshape(tape.batch_jacobian(flat, image), [BATCH, flat.shape[1], -1])
    log_det = getattr(bijector, f"{direction}_log_det_jacobian")(image, event_ndims=3)
    expected = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(tf.broadcast_to(log_det, [BATCH]), expected, rtol=1e-4, atol=1e-4)


def test_log_dets_are_opposite(bijector, image):
    there = bijector.forward_log_det_jacobian(image, event_ndims=3)
    back = bijector.inverse_log_det_jacobian(bijector.forward(image), event_ndims=3)
    np.testing.assert_allclose(there, -back, rtol=1e-5, atol=1e-5)


def test_keeps_dtype_and_shape_with_further_batch_dimensions(bijector, image):
    several = tf.stack([image, 2 * image, -image])
    for out in (bijector.forward(several), bijector.inverse(several)):
        assert out.dtype == tf.float32
        assert out.shape == several.shape
    np.testing.assert_allclose(bijector.forward(several)[1], bijector.forward(2 * image), atol=1e-5)
    log_det = bijector.forward_log_det_jacobian(several, event_ndims=3)
    one = bijector.forward_log_det_jacobian(2 * image, event_ndims=3)
    np.testing.assert_allclose(
        tf.broadcast_to(log_det, [3, BATCH])[1], tf.broadcast_to(one, [BATCH]), rtol=1e-5, atol=1e-5
    )


def test_agrees_with_itself_in_a_graph_of_unknown_shape(bijector, image):
    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE])])
    def inverse(y):
        return bijector.inverse(y), bijector.inverse_log_det_jacobian(y, event_ndims=3)

    x, log_det = inverse(image)
    np.testing.assert_allclose(x, bijector.inverse(image), atol=1e-6)
    expected = bijector.inverse_log_det_jacobian(image, event_ndims=3)
    np.testing.assert_allclose(log_det, expected, rtol=1e-5)


def test_coupling_asks_its_function_once_for_an_image(image):
    calls = []

    def shift_and_log_scale(x):
        calls.append(x)
        return x, tf.tanh(x)

    coupling = bijectors.AffineCoupling(shift_and_log_scale)
    noise = coupling.forward(image)
    coupling.forward_log_det_jacobian(image, event_ndims=3)
    coupling.inverse_log_det_jacobian(noise, event_ndims=3)
    assert len(calls) == 1
    coupling.inverse(image)
    coupling.inverse_log_det_jacobian(2 * image, event_ndims=3)
    assert len(calls) == 2


def test_conv1x1_refuses_matrices_of_other_sizes():
    with pytest.raises(ValueError, match=r"must be \[4, 4\].*got shape \[3, 3\]"):
        bijectors.InvertibleConv1x1(np.eye(4), np.eye(3), np.eye(4), np.zeros(4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: bijectors.Gain([1.0, -1.0], validate_args=True),
        lambda: bijectors.SignalDependent(tf.zeros([1, 1, 1, 1]), 1.0, [0.0], validate_args=True),
    ],
    ids=["gain", "signal_dependent"],
)
def test_checks_its_scale_where_asked(make):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be positive"):
        make()
