"""The compiled core's operation in TensorFlow: NaN, and the ways to take gradients."""

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf.native import arrays, graph, library, use
from tests import float64

pytestmark = pytest.mark.skipif(not library.available(), reason="no compiled core")

SHAPE = (3, 9, 21, 4)
RANDOM = np.random.default_rng(0)
CLEAN = tf.constant(RANDOM.uniform(size=SHAPE), tf.float32)
NOISE = tf.constant(RANDOM.normal(0, 0.05, SHAPE), tf.float32)
ISO, CAMERA = [100, 800, 3200], ["S6", "IP", "G4"]
ARCHITECTURES = ["sdn5|unc|gain4|unc", "eq12|unc|eq16", "unc|unc", "sdn4|gain4"]


def perturbed(arch="sdn5|unc|gain4|unc", seed=0):
    model = nf.NoiseFlow(arch, seed=seed)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


def both(compute):
    """What a function gives with the compiled core, and with TensorFlow."""
    ours = compute()
    with use.without_core():
        return ours, compute()


def close(ours, theirs, tolerance=2e-4):
    for value, same in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        value, same = np.asarray(value), np.asarray(same)
        largest = np.abs(same).max(initial=0)
        np.testing.assert_allclose(value, same, rtol=0, atol=tolerance * largest + 1e-12)


@pytest.fixture
def calls(monkeypatch):
    """The names of the functions of the core that were called."""
    made, call = [], arrays._call
    monkeypatch.setattr(arrays, "_call", lambda name, *rest: (made.append(name), call(name, *rest)))
    return made


def slopes(model, noise=NOISE, clean=CLEAN, training=False):
    """A function of no arguments: values and all gradients."""

    def compute():
        with tf.GradientTape() as tape:
            tape.watch([noise, clean])
            result = model(clean, ISO, CAMERA, training=training).one_pass(noise)
            loss = tf.reduce_sum(result.log_prob) + tf.reduce_sum(result.latent)
        inputs = [noise, clean, *learned(model, training)]
        gradients = tape.gradient(loss, inputs, unconnected_gradients="zero")
        return result.latent, result.log_prob, [tf.convert_to_tensor(g) for g in gradients]

    return compute


def learned(model, training):
    """The trainable variables but those whose gradient is of rounding only."""
    idle = ("bias1", "bias2") if training else ()
    return [v for v in model.trainable_variables if not v.name.startswith(idle or ("-",))]


# NaN and infinity.


def pattern(value):
    value = np.asarray(value)
    return np.where(np.isnan(value), 2, np.where(np.isinf(value), np.sign(value), 0))


def spoil_noise(value):
    def spoil(model):
        noise = NOISE.numpy()
        noise[1, 4, 17, 0] = value
        return tf.constant(noise)

    return spoil


def spoil_variable(name, change):
    def spoil(model):
        for variable in model.variables:
            if variable.name.startswith(name):
                variable.assign(change(variable))
                return NOISE
        raise AssertionError(name)

    return spoil


def nan_first(variable):
    value = variable.numpy()
    value.flat[0] = np.nan
    return value


SPOILS = {
    "nan noise": spoil_noise(np.nan),
    "infinite noise": spoil_noise(np.inf),
    "minus infinite noise": spoil_noise(-np.inf),
    "huge noise": spoil_noise(3e38),
    "negative gain": spoil_variable("gain_val", lambda v: -1.0),
    "gain of zero": spoil_variable("gain_val", lambda v: 0.0),
    "nan gain": spoil_variable("gain_val", lambda v: np.nan),
    "variance without bound": spoil_variable("beta1", lambda v: 500.0),
    "no variance": spoil_variable("beta2", lambda v: -500.0),
    "negative average of variance": spoil_variable("variance", lambda v: v - 3),
    "nan average": spoil_variable("mean", nan_first),
    **{
        f"nan {name}": spoil_variable(name, nan_first)
        for name in ("kernel:", "kernel3", "bias1", "bias3", "logs", "rescaling", "lower", "upper",
                     "log_diagonal", "beta1")
    },
    "infinite rescaling": spoil_variable("rescaling", lambda v: np.inf),
    "huge logs": spoil_variable("logs", lambda v: v + 60),
}  # fmt: skip


RANGE = ("huge", "variance without bound", "no variance")
"""Of float32, which float64 does not leave."""


@pytest.mark.parametrize("name", SPOILS)
@pytest.mark.parametrize("training", [False, True])
def test_no_number_where_there_is_none(name, training):
    """A density is finite where TensorFlow's is, and so are pixels and gradients.

    Which pixels NaN reaches is for float64 to say: TensorFlow's path multiplies it by zeros, too.
    """
    model = perturbed()
    noise = SPOILS[name](model)

    def compute():
        result = model(CLEAN, ISO, CAMERA, training=training).one_pass(noise)
        back = model(CLEAN, ISO, CAMERA).noise_of(noise)
        return result.latent, result.log_prob, back

    ours, theirs = both(compute)
    np.testing.assert_array_equal(np.isfinite(ours[1]), np.isfinite(theirs[1]))
    case = float64.case_of(
        model, model.condition_space.resolve(CLEAN, ISO, CAMERA), np.asarray(noise)
    )
    weights = np.ones(SHAPE), np.ones(SHAPE[:1])
    expected = float64.evaluate(case, training, weights)
    if not name.startswith(RANGE):
        np.testing.assert_array_equal(np.isfinite(ours[0]), np.isfinite(expected.latent))
        mix_of_nan = name in ("nan lower", "nan upper", "nan log_diagonal")  # none in float64
        back = theirs[2] if mix_of_nan else float64.noise_of(case, case.noise)
        np.testing.assert_array_equal(np.isfinite(ours[2]), np.isfinite(back))
    with tf.GradientTape() as tape:
        tape.watch([noise, CLEAN])
        result = model(CLEAN, ISO, CAMERA, training=training).one_pass(noise)
        loss = tf.reduce_sum(result.log_prob) + tf.reduce_sum(result.latent)
    found = tape.gradient(loss, [noise, CLEAN], unconnected_gradients="zero")
    for value, same in zip(found, expected.gradients[:2], strict=True):
        assert not np.any(np.isfinite(value) & ~np.isfinite(same))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clean_images_without_a_value(value):
    case = float64.random_case(0, "SMCGMC", 4, (2, 6, 18))
    case.clean[0, 3, 4, 1] = value
    latent, log_prob = arrays.latent_and_log_prob(case.ops, case.flat, case.noise, case.clean)
    expected = float64.evaluate(case)
    np.testing.assert_array_equal(np.isnan(latent), np.isnan(expected.latent))
    np.testing.assert_array_equal(pattern(log_prob), pattern(expected.log_prob))
    noise = arrays.noise_of(case.ops, case.flat, case.noise, case.clean)
    np.testing.assert_array_equal(pattern(noise), pattern(float64.noise_of(case, case.noise)))


def test_a_negative_variance():
    case = float64.random_case(0, "SMC", 4, (2, 6, 18))
    case.parameters[0][1][0] = -1.0
    latent, log_prob = arrays.latent_and_log_prob(case.ops, case.flat, case.noise, case.clean)
    assert np.isnan(log_prob[0]) and np.isfinite(log_prob[1])
    assert np.isnan(latent[0]).all() and np.isfinite(latent[1]).all()
    assert np.isnan(arrays.noise_of(case.ops, case.flat, case.noise, case.clean)[0]).all()


# Ways to take a gradient.


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradients(calls, arch, training):
    model = perturbed(arch)
    close(*both(slopes(model, training=training)))
    assert calls == ["nf_forward", "nf_gradient"]


@pytest.mark.parametrize("training", [False, True])
def test_in_a_graph(calls, training):
    model = perturbed()
    compute = tf.function(use.own_graph()(slopes(model, training=training)), autograph=False)
    with use.without_core():
        expected = slopes(model, training=training)()
    for _ in range(2):
        close(compute(), expected)
    assert calls == ["nf_forward", "nf_gradient"] * 2


@pytest.mark.parametrize("training", [False, True])
def test_a_tape_around_a_graph(calls, training):
    """Also around one that was traced without a tape, and kept nothing for a gradient."""
    model = perturbed()

    @tf.function(autograph=False)
    def loss(noise):
        with use.own_graph():
            return tf.reduce_sum(model(CLEAN, ISO, CAMERA, training=training).log_prob(noise))

    variables = learned(model, training)

    def compute():
        with tf.GradientTape() as tape:
            tape.watch(NOISE)
            value = loss(NOISE)
        return value, [tf.convert_to_tensor(g) for g in tape.gradient(value, [NOISE, *variables])]

    loss(NOISE)
    assert calls == ["nf_forward" if training else "nf_latent"]
    ours = compute()
    assert "nf_gradient" in calls
    loss_in_tensorflow = loss.python_function
    with use.without_core(), tf.GradientTape() as tape:
        tape.watch(NOISE)
        value = loss_in_tensorflow(NOISE)
    expected = tape.gradient(value, [NOISE, *variables])
    close(ours, (value, [tf.convert_to_tensor(g) for g in expected]))


def test_values_alone_keep_nothing_for_a_gradient(calls):
    model = perturbed()
    model(CLEAN, ISO, CAMERA).log_prob(NOISE)
    assert calls == ["nf_latent"]


def test_several_gradients_of_one_pass():
    """By a persistent tape, and of two passes that are taken before either gradient."""
    model = perturbed()
    variables = model.trainable_variables

    def compute():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(NOISE)
            first = model(CLEAN, ISO, CAMERA).one_pass(NOISE)
            second = model(CLEAN, ISO, CAMERA, training=True).one_pass(2 * NOISE)
            losses = [
                tf.reduce_sum(first.log_prob),
                tf.reduce_sum(first.latent**2),
                tf.reduce_sum(second.log_prob[:1]),
                tf.reduce_sum(first.log_prob) + tf.reduce_sum(second.latent),
            ]
        watched = [
            NOISE,
            *(v for v in variables if v.name.startswith(("kernel3", "lower", "beta"))),
        ]
        return [
            [tf.convert_to_tensor(g) for g in tape.gradient(loss, watched)]
            for loss in [*losses, losses[0]]
        ]

    ours, theirs = both(compute)
    close(ours, theirs)
    np.testing.assert_array_equal(ours[0][0], ours[-1][0])


def test_a_gradient_after_the_weights_have_changed():
    """That of the pass as it was taken."""
    model = perturbed()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(NOISE)
        log_prob = model(CLEAN, ISO, CAMERA).log_prob(NOISE)
    kernel = next(v for v in model.trainable_variables if v.name.startswith("kernel3"))
    before = tape.gradient(log_prob, [NOISE, kernel])
    for variable in model.trainable_variables:
        variable.assign(variable + 1)
    for value, same in zip(tape.gradient(log_prob, [NOISE, kernel]), before, strict=True):
        np.testing.assert_array_equal(value, same)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradients_of_sampling(calls, arch):
    model = perturbed(arch)
    latent = tf.constant(np.random.default_rng(1).normal(size=SHAPE), tf.float32)

    def compute():
        with tf.GradientTape() as tape:
            tape.watch([latent, CLEAN])
            noise = model(CLEAN, ISO, CAMERA).noise_of(latent)
            loss = tf.reduce_sum(noise**2)
        inputs = [latent, CLEAN, *model.trainable_variables]
        gradients = tape.gradient(loss, inputs, unconnected_gradients="zero")
        return noise, [tf.convert_to_tensor(g) for g in gradients]

    close(*both(compute))
    assert calls == ["nf_noise"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("in_graph", [False, True])
def test_gradients_of_gradients(training, in_graph):
    model = perturbed("sdn5|unc|gain4")
    # tf.function would make constants of what is watched, if it were not an argument.
    variables = [v for v in learned(model, training) if not v.name.startswith("kernel:")]

    def compute(noise, clean):
        with tf.GradientTape() as outer:
            outer.watch([noise, clean])
            with tf.GradientTape() as inner:
                inner.watch([noise, clean])
                p = model(clean, ISO, CAMERA, training=training)
                result = p.one_pass(noise)
                loss = tf.reduce_sum(result.log_prob**2) / 1e4 + tf.reduce_sum(result.latent)
            first = inner.gradient(loss, [noise, clean, *variables], unconnected_gradients="zero")
            total = tf.add_n([tf.reduce_sum(tf.convert_to_tensor(g) ** 2) for g in first])
        second = outer.gradient(total, [noise, clean, *variables], unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) for g in second]

    with use.without_core():
        expected = compute(NOISE, CLEAN)
    if in_graph:
        compute = tf.function(use.own_graph()(compute), autograph=False)
    close(compute(NOISE, CLEAN), expected, 1e-3)


def test_second_gradients_of_sampling():
    model = perturbed("sdn5|unc|gain4")
    latent = tf.constant(np.random.default_rng(1).normal(size=SHAPE), tf.float32)

    def compute():
        with tf.GradientTape() as outer:
            outer.watch(latent)
            with tf.GradientTape() as inner:
                inner.watch(latent)
                loss = tf.reduce_sum(model(CLEAN, ISO, CAMERA).noise_of(latent) ** 2)
            total = tf.reduce_sum(inner.gradient(loss, latent) ** 2)
        return outer.gradient(total, latent)

    close(*both(compute), 1e-3)


@pytest.mark.parametrize("place", ["eager", "in a graph", "around a graph"])
@pytest.mark.parametrize("training", [False, True])
def test_forward_mode(training, place):
    model = perturbed("sdn5|unc|gain4")
    kernel = next(v for v in model.trainable_variables if v.name.startswith("kernel3"))

    def log_prob(noise):
        return model(CLEAN, ISO, CAMERA, training=training).log_prob(noise)

    def compute(noise):
        given = [noise, kernel], [tf.ones(SHAPE), tf.ones(kernel.shape)]
        with tf.autodiff.ForwardAccumulator(*given) as accumulator:
            value = log_prob(noise)
        return accumulator.jvp(value)

    with use.without_core():
        expected = compute(NOISE)
    if place == "around a graph":
        log_prob = tf.function(use.own_graph()(log_prob), autograph=False)
    if place == "in a graph":
        compute = tf.function(use.own_graph()(compute), autograph=False)
    close(compute(NOISE), expected, 1e-3)


@pytest.mark.parametrize("in_graph", [False, True])
def test_forward_mode_of_sampling(in_graph):
    model = perturbed("sdn5|unc|gain4")

    def compute(latent):
        with tf.autodiff.ForwardAccumulator(latent, tf.ones(SHAPE)) as accumulator:
            noise = model(CLEAN, ISO, CAMERA).noise_of(latent)
        return accumulator.jvp(noise)

    with use.without_core():
        expected = compute(NOISE)
    if in_graph:
        compute = tf.function(use.own_graph()(compute), autograph=False)
    close(compute(NOISE), expected, 1e-3)


@pytest.mark.slow
def test_curvature_by_forward_over_reverse():
    model = perturbed("sdn5|unc|gain4")

    def compute():
        with tf.autodiff.ForwardAccumulator(NOISE, tf.ones(SHAPE)) as accumulator:
            with tf.GradientTape() as tape:
                tape.watch(NOISE)
                log_prob = model(CLEAN, ISO, CAMERA).log_prob(NOISE)
            gradient = tape.gradient(log_prob, NOISE)
        return accumulator.jvp(gradient)

    close(*both(compute), 1e-3)


def test_the_operation_refuses_other_types():
    ops = perturbed().ops(perturbed().condition_space.resolve(CLEAN, ISO, CAMERA), False)
    with pytest.raises((TypeError, ValueError)):
        graph.latent_and_log_prob(ops, tf.cast(NOISE, tf.float64), CLEAN, False)
