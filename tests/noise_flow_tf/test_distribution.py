"""TFP's contract of a distribution, for every noise model: add a line to `MODELS` for another."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import noise_flow_tf as nf
from noise_flow_tf.bijectors import OnePassBijector

BATCH, SHAPE = 3, (6, 10, 4)
ISO, CAMERA = [100, 800, 3200], ["S6", "IP", "G4"]


def _perturbed(arch):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


MODELS = {
    "Noise Flow": lambda: _perturbed("sdn5|unc|gain4|unc"),
    "paper's formulas": lambda: _perturbed("eq12|unc|eq16"),
    "unconditional": lambda: _perturbed("unc"),
    "Gaussian": lambda: nf.GaussianNoise(0.05),
    "camera NLF": lambda: nf.CameraNLF([0.01, 0.02, 0.03], [1e-3, 2e-3, 3e-3]),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def clean():
    return np.random.default_rng(1).uniform(0, 1, (BATCH, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def noise():
    drawn = np.random.default_rng(2).normal(0, 0.05, (BATCH, *SHAPE))
    return tf.constant(drawn, tf.float32)


@pytest.fixture
def p(model, clean):
    return model(clean, ISO, CAMERA)


def _assert_near(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-4)


def test_is_a_transformed_distribution_of_a_plain_chain(p):
    assert isinstance(p, tfp.distributions.TransformedDistribution)
    assert isinstance(p.bijector, tfp.bijectors.Bijector)
    assert "Chain" in type(p.bijector).__name__
    assert all(isinstance(b, OnePassBijector) for b in p.bijector.bijectors)
    assert p.dtype == tf.float32
    assert p.batch_shape == [BATCH]
    assert p.event_shape == SHAPE
    assert p.batch_shape_tensor().numpy().tolist() == [BATCH]
    assert p.event_shape_tensor().numpy().tolist() == list(SHAPE)


def test_one_pass_is_what_the_bijector_defines(p, noise):
    latent, log_prob = p.latent_and_log_prob(noise)
    expected = p.bijector.inverse(noise)
    np.testing.assert_allclose(latent, expected, rtol=1e-5, atol=1e-5)
    by_parts = p.distribution.log_prob(expected) + p.bijector.inverse_log_det_jacobian(noise, 3)
    _assert_near(log_prob, by_parts)
    _assert_near(p.log_prob(noise), by_parts)
    np.testing.assert_allclose(p.noise_of(latent), noise, atol=2e-6)
    np.testing.assert_allclose(p.bijector.forward(latent), noise, atol=2e-6)


def test_sample_and_log_prob(p):
    noise, log_prob = p.experimental_sample_and_log_prob(5, seed=(0, 1))
    np.testing.assert_allclose(noise, p.sample(5, seed=(0, 1)), atol=1e-6)
    assert noise.shape == [5, BATCH, *SHAPE]
    _assert_near(log_prob, p.log_prob(noise))


def test_sample_and_batch_dimensions_broadcast(p, noise):
    several = tf.stack([noise, 2 * noise])
    assert p.log_prob(several).shape == [2, BATCH]
    _assert_near(p.log_prob(several)[1], p.log_prob(2 * noise))
    for one in (noise[0], noise[:1]):  # for every condition
        _assert_near(p.log_prob(one), p.log_prob(tf.tile(noise[:1], [BATCH, 1, 1, 1])))


@pytest.mark.parametrize("shape", [(BATCH, 1, 1, 4), (BATCH, 6, 10, 1), (BATCH, 3, 10, 4), (4,)])
def test_other_heights_and_widths_are_refused(p, shape):
    for use in (p.log_prob, p.latent_and_log_prob, p.noise_of):
        with pytest.raises(ValueError, match="noise must have the height, width and channels"):
            use(tf.zeros(shape))


def test_clean_images_of_one_pixel_are_not_spread(model, noise):
    p = model(np.full([BATCH, 1, 1, 4], 0.5, np.float32), ISO, CAMERA)
    with pytest.raises(ValueError, match=r"got \[3, 6, 10, 4\] and \[3, 1, 1, 4\]"):
        p.log_prob(noise)

    @tf.function(input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec([None] * 4)])
    def log_prob(clean, noise):
        return model(clean, ISO, CAMERA).log_prob(noise)

    for height, width in ((1, 1), (1, 10), (6, 1)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="height, width and channels"):
            log_prob(tf.fill([BATCH, height, width, 4], 0.5), noise)


def test_slices(p, noise):
    whole = p.log_prob(noise)
    cases = {
        "one": (0, whole[0], noise[0]),
        "last": (-1, whole[-1], noise[-1]),
        "some": (slice(None, 2), whole[:2], noise[:2]),
        "steps": (slice(None, None, 2), whole[::2], noise[::2]),
        "ellipsis": (..., whole, noise),
        "new axis": ((slice(None), tf.newaxis), whole[:, None], noise[:, None]),
        "open": ((..., tf.newaxis, 0), whole[:1], noise[:1]),
        "tensor": (tf.constant(1), whole[1], noise[1]),
    }
    for name, (slices, expected, part) in cases.items():
        sliced = p[slices]
        assert sliced.batch_shape == expected.shape, name
        _assert_near(sliced.log_prob(part), expected)
        assert sliced.sample(seed=1).shape == part.shape
    _assert_near(p[1:][1].log_prob(noise[2]), whole[2])
    table = p[:, tf.newaxis]
    for slices, expected, part in (
        ((slice(1, None), 0), whole[1:], noise[1:]),
        ((..., 0), whole, noise),
        ((0,), whole[:1], noise[:1]),
        ((-1, ..., tf.newaxis), whole[2:, None], noise[2:, None]),
    ):
        assert table[slices].batch_shape == expected.shape, slices
        _assert_near(table[slices].log_prob(part), expected)


def test_copies(p, noise):
    for copy in (p.copy(), p.copy(validate_args=True)):
        np.testing.assert_array_equal(copy.log_prob(noise), p.log_prob(noise))


def test_nothing_to_score_or_to_draw(model, clean, p):
    assert p.sample(0, seed=1).shape == [0, BATCH, *SHAPE]
    assert p.log_prob(tf.zeros([0, BATCH, *SHAPE])).shape == [0, BATCH]
    nobody = p[:0]
    assert nobody.sample(seed=1).shape == [0, *SHAPE]
    assert nobody.log_prob(tf.zeros([0, *SHAPE])).shape == [0]
    if not isinstance(model, nf.CameraNLF):  # whose betas are for three images
        assert model(clean[:0], 100, "S6").log_prob(tf.zeros([0, *SHAPE])).shape == [0]
        image = tf.TensorSpec([None, None, None, 4])
        graph = tf.function(lambda c, n: model(c, 100, "S6").log_prob(n), [image, image])
        assert graph(clean[:0], tf.zeros([0, *SHAPE])).shape == [0]


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16, tf.float64])
def test_floats_of_other_sizes_are_cast(model, clean, noise, kind):
    given = tf.cast(clean, kind), tf.cast(noise, kind)
    p = model(given[0], ISO, CAMERA)
    same = model(tf.cast(given[0], tf.float32), ISO, CAMERA)
    assert p.log_prob(given[1]).dtype == tf.float32
    np.testing.assert_array_equal(
        p.log_prob(given[1]), same.log_prob(tf.cast(given[1], tf.float32))
    )
    assert p.bijector.inverse(given[1]).dtype == tf.float32


def test_integer_noise_is_refused_in_a_line(p):
    with pytest.raises(TypeError, match="floating-point noise.*got int32") as caught:
        p.log_prob(tf.zeros([BATCH, *SHAPE], tf.int32))
    assert len(str(caught.value)) < 200


def test_vectorized_map(p, noise):
    several = tf.stack([noise, 2 * noise, -noise])
    _assert_near(tf.vectorized_map(p.log_prob, several), p.log_prob(several))


def test_xla(model, clean, noise):
    @tf.function(jit_compile=True)
    def compiled(clean, noise):
        p = model(clean, ISO, CAMERA)
        return p.latent_and_log_prob(noise), p.noise_of(noise)

    p = model(clean, ISO, CAMERA)
    (latent, log_prob), drawn = compiled(tf.constant(clean), noise)
    expected_latent, expected = p.latent_and_log_prob(noise)
    _assert_near(latent, expected_latent)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-5, atol=2e-3)
    _assert_near(drawn, p.noise_of(noise))


def test_argument_of_a_function(model, clean, p, noise):
    log_prob = tf.function(lambda p, noise: p.log_prob(noise))
    _assert_near(log_prob(p, noise), p.log_prob(noise))
    other = model(clean[::-1].copy(), ISO, CAMERA)
    _assert_near(log_prob(other, noise), other.log_prob(noise))


def _parameters(model):
    """The variables that conditions and layers lead to, but for couplings' hidden layers."""
    return [v for v in model.trainable_variables if v.shape.num_elements() < 20]


def _dense(gradients):
    """As arrays; a missing gradient is an error."""
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


@pytest.mark.parametrize("place", ["inside the tape", "outside the tape"])
def test_gradients_against_finite_differences(model, clean, noise, place):
    p = model(clean, ISO, CAMERA)
    with tf.GradientTape() as tape:
        if place == "inside the tape":
            p = model(clean, ISO, CAMERA)
        loss = tf.reduce_sum(p.log_prob(noise))
    variables = _parameters(model)
    gradients = _dense(tape.gradient(loss, variables))
    step = 1e-3
    for variable, gradient in zip(variables, gradients, strict=True):
        direction = np.sign(gradient.numpy()) + (gradient.numpy() == 0)
        values = []
        for sign in (1, -1):
            variable.assign_add(sign * step * direction)
            values.append(np.sum(model(clean, ISO, CAMERA).log_prob(noise).numpy(), dtype=float))
            variable.assign_sub(sign * step * direction)
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(np.sum(gradient * direction), rel=0.03, abs=2.0), (
            variable.name
        )


def test_gradient_by_the_noise(model, clean, noise):
    one = noise[:1, :2, :3]
    p = model(clean[:1, :2, :3], 100, "S6") if not isinstance(model, nf.CameraNLF) else None
    if p is None:
        p = nf.CameraNLF(0.01, 1e-3)(clean[:1, :2, :3], 100, "S6")
    _, gradient = tfp.math.value_and_gradient(p.log_prob, one)
    rng = np.random.default_rng(0)
    direction = tf.constant(rng.choice([-1.0, 1.0], one.shape), tf.float32)
    step = 1e-3
    slope = (p.log_prob(one + step * direction) - p.log_prob(one - step * direction)) / (2 * step)
    expected = tf.reduce_sum(gradient * direction)
    np.testing.assert_allclose(slope[0], expected, rtol=0.02, atol=0.3)


def test_second_use_has_the_same_gradient(model, p, noise):
    """The same distribution and tensor again, in another tape."""
    variables = model.trainable_variables
    gradients = []
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(p.log_prob(noise))
        gradients.append(_dense(tape.gradient(loss, variables)))
    for first, second in zip(*gradients, strict=True):
        np.testing.assert_array_equal(first, second)


def test_follows_moved_weights(request, clean, noise):
    for make in MODELS.values():
        model = make()
        p = model(clean, ISO, CAMERA)
        p.log_prob(noise), p.sample(seed=1), p.bijector.inverse(noise), p[1].sample(seed=1)
        for variable in model.trainable_variables:
            variable.assign_add(tf.fill(variable.shape, 0.1))
        fresh = model(clean, ISO, CAMERA)
        np.testing.assert_array_equal(p.log_prob(noise), fresh.log_prob(noise))
        np.testing.assert_array_equal(p.sample(seed=(0, 1)), fresh.sample(seed=(0, 1)))
        np.testing.assert_array_equal(p.bijector.inverse(noise), fresh.bijector.inverse(noise))
        np.testing.assert_array_equal(
            p.bijector.inverse_log_det_jacobian(noise, 3),
            fresh.bijector.inverse_log_det_jacobian(noise, 3),
        )
        np.testing.assert_array_equal(p[1].log_prob(noise[1]), fresh[1].log_prob(noise[1]))


def test_threads_share_a_distribution(p):
    several = [
        tf.constant(np.random.default_rng(i).normal(0, 0.05, (BATCH, *SHAPE)), tf.float32)
        for i in range(8)
    ]
    expected = [p.log_prob(noise).numpy() for noise in several]

    def score(i):
        return all(np.array_equal(p.log_prob(several[i]), expected[i]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(score, range(8)))


def test_variables_are_those_of_the_model(model, p):
    assert [id(v) for v in p.trainable_variables] == [id(v) for v in model.trainable_variables]
    assert [id(v) for v in p.variables] == [id(v) for v in model.variables]
