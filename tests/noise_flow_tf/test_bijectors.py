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


ONE_PASS = {name: make for name, make in BIJECTORS.items() if name != "chain of all"}


@pytest.mark.parametrize("name", ONE_PASS)
def test_gives_value_and_log_det_together(name, image):
    bijector = ONE_PASS[name](np.random.default_rng(0))
    for direction in ("forward", "inverse"):
        value, log_det = getattr(bijector, f"{direction}_and_log_det")(image)
        np.testing.assert_array_equal(value, getattr(bijector, direction)(image))
        expected = getattr(bijector, f"{direction}_log_det_jacobian")(image, event_ndims=3)
        np.testing.assert_array_equal(log_det, expected)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_coupling_asks_its_function_once_a_pass(image, direction):
    calls = []

    def shift_and_log_scale(x):
        calls.append(x)
        return x, tf.tanh(x)

    getattr(bijectors.AffineCoupling(shift_and_log_scale), f"{direction}_and_log_det")(image)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["signal_dependent", "gain", "conv1x1"])
def test_follows_its_variables_without_remembering(name, image):
    """The same tensor again, after a parameter has moved: TFP's own cache gives the old value."""
    rng = np.random.default_rng(0)
    parameter = tf.Variable([0.5, 0.7], dtype=tf.float32)
    bijector = {
        "signal_dependent": lambda: bijectors.SignalDependent(
            rng.uniform(size=(BATCH, *SHAPE)), parameter, [0.1, 0.2]
        ),
        "gain": lambda: bijectors.Gain(parameter),
        "conv1x1": lambda: bijectors.InvertibleConv1x1(
            np.eye(4),
            np.eye(4),
            np.eye(4),
            tfp.util.DeferredTensor(parameter, lambda v: tf.concat([v, v], 0), shape=[4]),
        ),
    }[name]()
    before = bijector.inverse(image), bijector.inverse_log_det_jacobian(image, 3)
    parameter.assign([2.0, 3.0])
    after = bijector.inverse(image), bijector.inverse_log_det_jacobian(image, 3)
    assert not np.allclose(before[1], after[1])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(bijector.inverse_log_det_jacobian(image, 3))
    assert np.abs(tape.gradient(total, parameter)).min() > 0


def test_intensity_below_zero_has_the_variance_of_zero(image):
    dark = tf.constant([[[[-0.1, 0.0, -1e-9, 0.5]]]])
    scale = bijectors.SignalDependent(dark, [0.5], [0.04]).forward(tf.ones([1, 1, 1, 4]))
    np.testing.assert_allclose(scale.numpy().ravel(), [0.2, 0.2, 0.2, 0.29**0.5], rtol=1e-6)


def test_intensity_above_one_goes_on_as_below(image):
    bright = tf.constant([[[[1.0, 1.1, 1.5, 0.5]]]])
    scale = bijectors.SignalDependent(bright, [0.5], [0.04]).forward(tf.ones([1, 1, 1, 4]))
    np.testing.assert_allclose(scale.numpy().ravel() ** 2, [0.54, 0.59, 0.79, 0.29], rtol=1e-6)


def test_refuses_images_of_another_size_than_the_intensity(image):
    layer = bijectors.SignalDependent(tf.zeros([2, 1, 1, 4]), 1.0, [0.1, 0.1])
    for use in (layer.forward, layer.inverse, lambda x: layer.inverse_log_det_jacobian(x, 3)):
        with pytest.raises(ValueError, match=r"height, width.*\[2, 3, 2, 4\] and \[2, 1, 1, 4\]"):
            use(image)


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16, tf.float64])
def test_takes_floats_of_other_sizes(bijector, image, kind):
    other = tf.cast(image, kind)
    same = bijector.inverse(tf.cast(other, tf.float32))
    np.testing.assert_array_equal(bijector.inverse(other), same)


def test_names_the_type_that_it_refuses(image):
    with pytest.raises(TypeError, match=r"floating-point noise.*got int32"):
        bijectors.Gain(2.0).inverse(tf.cast(image, tf.int32))


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
