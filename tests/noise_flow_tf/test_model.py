import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf.layers.coupling_network import (
    BATCH_NORM_EPSILON,
    CouplingNetwork,
    _normalize,
)

PAPER_FORM = "eq12|unc|unc|eq16|unc|unc"


@pytest.fixture
def perturbed():
    """Builds a model whose every variable is moved away from its initial value."""

    def build(arch="S-Ax1-G-Ax1-CAM", seed=0):
        model = nf.NoiseFlow(arch, seed=seed)
        rng = np.random.default_rng(seed)
        for variable in model.trainable_variables:
            variable.assign_add(rng.normal(0, 0.1, variable.shape))
        return model

    return build


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    clean = rng.uniform(0, 1, (5, 6, 10, 4)).astype(np.float32)
    noise = rng.normal(0, 0.05, clean.shape).astype(np.float32)
    noise = tf.constant(noise)
    return {"clean": clean, "noise": noise, "iso": np.array(nf.ISO_LEVELS), "camera": np.arange(5)}


@pytest.mark.parametrize("arch", ["S-G", "S-Ax4-G-Ax4-CAM", "sdn6|gain4", "Ax4", PAPER_FORM])
def test_round_trip_and_shapes(perturbed, batch, arch):
    p = perturbed(arch)(batch["clean"], batch["iso"], batch["camera"])
    assert p.batch_shape == [5]
    assert p.event_shape == [6, 10, 4]
    assert p.log_prob(batch["noise"]).shape == [5]
    assert p.sample(seed=1).shape == [5, 6, 10, 4]
    assert p.sample(3, seed=1).shape == [3, 5, 6, 10, 4]
    latent = p.bijector.inverse(batch["noise"])
    again = perturbed(arch)(batch["clean"], batch["iso"], batch["camera"]).bijector.forward(latent)
    np.testing.assert_allclose(again, batch["noise"], atol=1e-5)


def test_log_prob_is_the_change_of_variables(perturbed, batch):
    model = perturbed("S-Ax1-G-Ax1-CAM")
    clean, noise = batch["clean"][:1, :2, :2], tf.constant(batch["noise"][:1, :2, :2])
    with tf.GradientTape() as tape:
        tape.watch(noise)
        latent = model(clean, 800, "N6").bijector.inverse(noise)
    jacobian = np.reshape(tape.jacobian(latent, noise), (16, 16))
    expected = np.linalg.slogdet(jacobian)[1] - 0.5 * np.sum(latent**2) - 8 * np.log(2 * np.pi)
    log_prob = model(clean, 800, "N6").log_prob(noise)[0]
    assert log_prob.numpy() == pytest.approx(expected, abs=1e-3)


def test_paper_form_follows_its_equations(batch):
    model = nf.NoiseFlow("eq12|eq16")
    signal, gain = model.layers
    signal.b1.assign(-2.0)
    signal.b2.assign(-3.0)
    gain.v.assign(-np.arange(1.0, 6.0))
    gain.log_psi.assign(np.linspace(-1, 1, 5))
    gamma = np.exp(np.linspace(-1, 1, 5)) * np.exp(-np.arange(1.0, 6.0)) * nf.ISO_LEVELS
    gamma = gamma[:, None, None, None]
    scale = np.sqrt(np.exp(-2) * batch["clean"] / gamma + np.exp(-3)) * gamma
    p = model(batch["clean"], batch["iso"], batch["camera"])
    ones = tf.ones_like(batch["clean"])
    np.testing.assert_allclose(p.bijector.forward(ones), scale, rtol=1e-4)


def test_paper_form_starts_near_the_identity(batch):
    p = nf.NoiseFlow("eq12|eq14")(batch["clean"], 400, "S6")
    np.testing.assert_allclose(p.bijector.forward(tf.fill([5, 6, 10, 4], 0.5)), 1.0, atol=0.01)


def test_signal_layer_without_paper_gain_is_an_nlf(batch):
    ours = nf.NoiseFlow("eq12")(batch["clean"], 100, "S6").log_prob(batch["noise"])
    nlf = nf.CameraNLF(np.exp(-5.0), 1.0)(batch["clean"], 100, "S6").log_prob(batch["noise"])
    np.testing.assert_allclose(ours, nlf, rtol=1e-6)


def _convolutions(function, *args):
    graph = tf.function(function).get_concrete_function(*args).graph
    return sum(operation.type == "Conv2D" for operation in graph.get_operations())


@pytest.mark.parametrize("training", [False, True])
def test_networks_run_once_for_each_direction(batch, training):
    """A flow step has four convolutions on the image, and one on the border of a single one."""
    model = nf.NoiseFlow("S-Ax4-G-Ax4-CAM")
    steps = model.arch.count("unc")
    clean, noise = tf.constant(batch["clean"]), tf.constant(batch["noise"])

    def distribution():
        return model(clean, 800, "S6", training=training)

    assert _convolutions(lambda: distribution().one_pass(noise)) == 5 * steps
    assert _convolutions(lambda: distribution().latent_and_log_prob(noise)) == 5 * steps
    assert _convolutions(lambda: distribution().log_prob(noise)) == 5 * steps
    assert _convolutions(lambda: distribution().sample(seed=1)) == 5 * steps
    both = distribution().experimental_sample_and_log_prob
    assert _convolutions(lambda: both(seed=1)) == 5 * steps


@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_pass_gives_the_new_averages_and_changes_nothing(batch, compiled):
    model = nf.NoiseFlow("unc", seed=0)
    network = model.layers[0].network

    def step():
        p = model(batch["clean"], 100, "S6", training=True)
        hidden = p.bijector.bijectors[0].inverse(batch["noise"])
        hidden = tf.nn.conv2d(hidden[..., :2], network.kernel1, 1, "SAME") + network.bias1
        return hidden, [value for _, value in p.one_pass(batch["noise"]).moved]

    hidden, moved = (tf.function(step) if compiled else step)()
    mean, variance = tf.nn.moments(hidden, [0, 1, 2])
    np.testing.assert_allclose(moved[0], 0.1 * mean, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(moved[1], 0.9 + 0.1 * variance, rtol=1e-6)
    np.testing.assert_array_equal(network.moments1.mean, np.zeros(4))
    np.testing.assert_array_equal(network.moments1.variance, np.ones(4))


@pytest.mark.parametrize("training", [False, True])
def test_using_a_distribution_moves_no_average(batch, training):
    model = nf.NoiseFlow("unc", seed=0)
    before = [variable.numpy() for variable in model.non_trainable_variables]
    p = model(batch["clean"], 100, "S6", training=training)
    p.log_prob(batch["noise"])
    p.bijector.inverse(2 * batch["noise"])
    p.sample(seed=1)
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("compiled", [False, True])
def test_batch_norm_has_the_derived_gradients(compiled):
    """The first one and, as a compiled core takes it from here, the second one."""
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (3, 4, 5, 2)), tf.float32)
    upstream = tf.constant(np.random.default_rng(1).normal(size=x.shape), tf.float32)

    def derived(x):
        mean = tf.reduce_mean(x, [0, 1, 2])
        variance = tf.reduce_mean(tf.square(x - mean), [0, 1, 2])
        return (x - mean) * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)

    def written_out(x):
        return _normalize(x)[0]

    def values(function):
        with tf.GradientTape() as outer:
            outer.watch([x, upstream])
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
            gradient = inner.gradient(y, x, output_gradients=upstream)
            curved = tf.reduce_sum(gradient**3)
        return y, gradient, *outer.gradient(curved, [x, upstream])

    values = tf.function(values) if compiled else values
    for ours, theirs in zip(values(written_out), values(derived), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_border_channel_is_the_padded_indicator(perturbed):
    """The last convolution, against padding and appending the channel for every image."""
    network = perturbed("unc").layers[0].network
    hidden = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 7, 4)), tf.float32)
    padded = tf.pad(hidden, [[0, 0], [1, 1], [1, 1], [0, 0]])
    border = np.ones((2, 7, 9, 1), np.float32)
    border[:, 1:-1, 1:-1] = 0
    padded = tf.concat([padded, border], axis=-1)
    expected = tf.nn.conv2d(padded, network.kernel3, 1, "VALID") + network.bias3
    expected *= tf.exp(3 * network.logs)
    shift, scale = np.split(expected, 2, axis=-1)
    zeros = np.zeros_like(shift)
    expected = np.concatenate([zeros, shift, zeros, scale], axis=-1)
    found = CouplingNetwork(*network.parameters)._last_layer(hidden)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_seed_fixes_the_initial_values():
    one, same, other = (nf.NoiseFlow("unc", seed=seed) for seed in (1, 1, 2))
    for a, b in zip(one.variables, same.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.layers[0].lower, other.layers[0].lower)


def test_every_bit_of_the_seed_counts():
    one, other = (nf.NoiseFlow("unc", seed=1 + high) for high in (0, 2**16))
    assert not np.array_equal(one.layers[0].lower, other.layers[0].lower)
    again = nf.NoiseFlow("unc"), nf.NoiseFlow("unc")
    assert not np.array_equal(*(model.layers[0].lower for model in again))


def test_begins_where_the_release_begins(numbers_of):
    """All but what is drawn; that has the release's spread."""
    numbers = numbers_of("training_trajectory")
    ours = nf.release.variables(nf.NoiseFlow(seed=0))
    drawn = ("l_1/W", "l_2/W", "log_S", "L_vec", "U_vec", "sign_S", "P_matpar")
    for name, value in ours.items():
        if not any(part in name for part in drawn):
            np.testing.assert_array_equal(value, numbers[f"init/{name}"], name)
    for name in ("l_1/W", "l_2/W"):
        found, expected = (
            np.concatenate([v[n].ravel() for n in v if n.endswith(name)])
            for v in (ours, {n: numbers[n] for n in numbers if n.startswith("init/")})
        )
        assert found.std() == pytest.approx(expected.std(), rel=0.15)


def test_kernels_begin_larger_in_wider_networks():
    network = nf.NoiseFlow("unc", width=64, seed=0).layers[0].network
    for kernel in (network.kernel1, network.kernel2):
        assert np.std(kernel) == pytest.approx(0.05 * 64 / 512, rel=0.05)


def test_interpolation_can_be_allowed_later_and_changes_nothing_else():
    model = nf.NoiseFlow("S-G-CAM", cameras=("A7", "B8"), iso_levels=(50, 800))
    model.iso_interpolation = True
    assert (model.cameras, model.iso_levels) == (("A7", "B8"), (50, 800))
    model(np.zeros((1, 2, 3, 4)), 200, "B8")
    model.iso_interpolation = False
    with pytest.raises(
        ValueError, match="unknown ISO 200; supported ISO levels: 50, 800; with iso_i"
    ):
        model(np.zeros((1, 2, 3, 4)), 200, "B8")


def test_a_part_of_a_batch_in_training_is_in_training(perturbed, batch):
    model = perturbed("sdn5|unc|gain4")
    given = batch["clean"], batch["iso"], batch["camera"]
    part = model(*given, training=True)[1:4].log_prob(batch["noise"][1:4])
    alone = model(*(values[1:4] for values in given), training=True)
    np.testing.assert_allclose(part, alone.log_prob(batch["noise"][1:4]), rtol=1e-5)
    evaluated = model(*given).log_prob(batch["noise"])[1:4]
    assert np.abs(part - evaluated).min() > 1e-3


def test_a_training_pass_moves_the_averages_of_all_steps(batch):
    model = nf.NoiseFlow("unc|sdn4|unc|unc", seed=0)
    p = model(batch["clean"], 100, "S6", training=True)
    moved = [id(average) for average, _ in p.one_pass(batch["noise"]).moved]
    averages = [id(v) for v in model.variables if v.name.startswith(("mean", "variance"))]
    assert sorted(moved) == sorted(averages) and len(averages) == 12


def test_summaries_of_models_that_have_learned():
    """The numbers that the formulas use: exp of betas, exp(v) ISO, exp of camera factors."""
    own = {"cameras": ("A7", "B8"), "iso_levels": (50, 800)}
    signal, gain = nf.NoiseFlow("sdn5", **own), nf.NoiseFlow("eq16", **own)
    signal.layers[0].cam_params.assign(np.log([[2.0, 3], [5, 7], [11, 13]]))
    signal.layers[0].gain_params.assign(np.log([0.5, 0.25]))
    gain.layers[0].log_psi.assign(np.log([1.5, 2.5]))
    gain.layers[0].v.assign(np.log([0.1, 0.2]))
    for model, factors, gains in (
        (signal, {"beta1": (2, 3), "beta2": (5, 7), "gain": (11, 13)}, (25, 200)),
        (gain, {"gain": (1.5, 2.5)}, (5, 160)),
    ):
        learned = model.summaries()
        for factor, expected in factors.items():
            values = learned[f"camera factor of {factor}"]
            assert list(values) == ["A7", "B8"]
            np.testing.assert_allclose(list(values.values()), expected, rtol=1e-6)
        assert list(learned["gain"]) == ["ISO 50", "ISO 800"]
        np.testing.assert_allclose(list(learned["gain"].values()), gains, rtol=1e-6)


def test_starts_with_a_rotation_in_the_order_of_fill_triangular():
    import tensorflow_probability as tfp

    step = nf.NoiseFlow("unc", seed=5).layers[0]
    conv, _ = step.bijectors(None, False)
    rotation = conv.inverse(tf.eye(4)[None, None])[0, 0]
    np.testing.assert_allclose(rotation @ tf.transpose(rotation), np.eye(4), atol=1e-6)
    lower = np.zeros((4, 4), np.float32)
    lower[1:, :3] = tfp.math.fill_triangular(step.lower)
    upper = np.zeros((4, 4), np.float32)
    upper[:3, 1:] = tfp.math.fill_triangular(step.upper, upper=True)
    diagonal = np.diag(step.signs * np.exp(step.log_diagonal))
    expected = step.permutation @ (np.eye(4, dtype=np.float32) + lower) @ (diagonal + upper)
    np.testing.assert_allclose(rotation, expected, atol=1e-6)


def test_summaries_of_two_layers_do_not_hide_each_other():
    learned = nf.NoiseFlow("sdn5|unc|eq14").summaries()
    initial = 200 * learned["gain of layer 3"]["ISO 400"].numpy()
    assert initial == pytest.approx(400, rel=1e-5)
    assert learned["gain"]["ISO 400"].numpy() == pytest.approx(400 * np.exp(-5), rel=1e-5)
    assert list(learned["gain of layer 3"]) == list(learned["gain"])


def test_summaries_name_what_was_learned():
    learned = nf.NoiseFlow("S-Ax4-G-Ax4-CAM").summaries()
    assert learned["beta"]["beta1"].numpy() == pytest.approx(np.exp(-5))
    assert learned["gain"]["ISO 800"].numpy() == pytest.approx(800 * np.exp(-5), rel=1e-5)
    factors = [f"camera factor of {of}" for of in ("beta1", "beta2", "gain")]
    assert set(learned) == {"beta", "gain", "gain layer", *factors}
    assert all(list(learned[factor]) == list(nf.CAMERAS) for factor in factors)
    learned = nf.NoiseFlow(PAPER_FORM).summaries()
    assert learned["gain"]["ISO 400"].numpy() == pytest.approx(2, rel=1e-5)
    assert learned["camera factor of gain"]["G4"].numpy() == 1


def test_what_a_distribution_was_used_on_is_freed_with_it():
    """Outside a tf.function too, where TFP's caches could keep images alive."""
    p = nf.NoiseFlow("sdn5|unc|gain4", seed=0)(np.full([1, 6, 6, 4], 0.5, np.float32), 800, "S6")
    noise = p.sample(seed=1)
    p.log_prob(noise)
    bijector = weakref.ref(p.bijector)
    del p, noise
    gc.collect()
    assert bijector() is None
