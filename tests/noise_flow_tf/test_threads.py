import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf import bijectors, sampling, threads

SIZE = 67


@pytest.fixture(scope="module")
def model(reference):
    return nf.load_release(str(reference / "release_checkpoint" / "model.ckpt.best"))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    clean = tf.constant(rng.uniform(size=(SIZE, 32, 32, 4)), tf.float32)
    noise = tf.constant(rng.normal(0, 0.02, clean.shape), tf.float32)
    iso = rng.choice(nf.ISO_LEVELS, SIZE)
    return noise, (clean, iso, rng.integers(0, len(nf.CAMERAS), SIZE))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    monkeypatch.setattr(threads, "_threads_an_operation", lambda: 1)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])


def test_halves_have_the_numbers_of_the_whole(model, batch):
    noise, conditions = batch

    @tf.function(autograph=False)
    def in_a_graph(noise):
        p = model(*conditions)
        sampled = p.sample(seed=(1, 2))
        return p.log_prob(noise), p.bijector.inverse(noise), sampled, p.log_prob(sampled)

    log_prob, latent, sampled, of_sampled = in_a_graph(noise)
    whole = model(*conditions)
    np.testing.assert_allclose(log_prob / 4096, whole.log_prob(noise) / 4096, atol=1e-5)
    np.testing.assert_allclose(latent, whole.bijector.inverse(noise), atol=1e-3)
    expected = model(*conditions).log_prob(sampled)
    np.testing.assert_allclose(of_sampled / 4096, expected / 4096, atol=1e-5)


def test_several_draws_and_one_noise_for_all(model, batch):
    noise, conditions = batch

    @tf.function(autograph=False)
    def in_a_graph():
        p = model(*conditions)
        draws = p.sample(2)
        return draws, p.log_prob(draws), p.log_prob(noise[0])

    draws, of_draws, of_one = in_a_graph()
    assert draws.shape == [2, SIZE, 32, 32, 4]
    for log_prob, given in ((of_draws[1], draws[1]), (of_one, noise[0])):
        expected = model(*conditions).log_prob(given)
        np.testing.assert_allclose(log_prob / 4096, expected / 4096, atol=1e-5)


def test_training_has_the_moments_and_gradients_of_the_whole(batch):
    noise, conditions = batch
    model = nf.NoiseFlow("sdn5|unc|gain4|unc", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    before = nf.release.variables(model)

    def step():
        with tf.GradientTape() as tape:
            log_prob = model(*conditions, training=True).log_prob(noise)
            loss = -tf.reduce_mean(log_prob)
        gradients = tape.gradient(loss, model.trainable_variables)
        return log_prob, [tf.convert_to_tensor(gradient) for gradient in gradients]

    log_prob, gradients = tf.function(step, autograph=False)()
    moved = nf.release.variables(model)
    nf.release.assign(model, before)
    expected, expected_gradients = step()
    np.testing.assert_allclose(log_prob / 4096, expected / 4096, atol=1e-5)
    for name, value in nf.release.variables(model).items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    scale = max(np.abs(gradient).max() for gradient in expected_gradients)
    for variable, one, other in zip(
        model.trainable_variables, gradients, expected_gradients, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * scale, err_msg=variable.name)


@pytest.mark.parametrize("training", [False, True])
def test_each_network_runs_once_a_half(training, batch):
    """For each half 1x1, two hidden and last convolution; once the border's, which both need."""
    noise, conditions = batch
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    graph = (
        tf.function(lambda noise: model(*conditions, training).log_prob(noise), autograph=False)
        .get_concrete_function(noise)
        .graph
    )
    types = [operation.type for operation in graph.get_operations()]
    steps = model.arch.count("unc")
    assert types.count("Conv2D") == (2 * 4 + 1) * steps
    assert types.count("AssignSubVariableOp") == (4 * steps if training else 0)


@pytest.mark.parametrize(
    ("shape", "training", "is_cut"),
    [
        ((SIZE, 32, 32, 4), False, True),
        ((SIZE, 32, 32, 4), True, True),
        ((2, 8, 8, 4), False, False),
        ((1, 512, 512, 4), False, False),
        ((2, 512, 512, 4), False, True),
    ],
)
def test_when_a_batch_is_cut(shape, training, is_cut):
    model = nf.NoiseFlow("S-G", seed=0)

    cut = []

    def call():
        p = model(tf.zeros(shape), 100, "S6", training)
        cut.append(isinstance(p.bijector.bijectors[0], bijectors.SideBySide))

    call()
    tf.function(call, autograph=False).get_concrete_function()
    assert cut == [False, is_cut]


def test_busy_cores_and_gpus_take_the_batch_whole(monkeypatch):
    def parts():
        with tf.Graph().as_default():
            return threads.parts(tf.zeros([65, 32, 32, 4]))

    assert parts() == [33, 32]
    monkeypatch.setattr(threads, "_threads_an_operation", lambda: 0)
    assert parts() == [65]
    monkeypatch.setattr(threads, "_threads_an_operation", lambda: 1)
    monkeypatch.setattr(threads, "_cores", lambda: 1)
    assert parts() == [65]
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert parts() == [65]


@pytest.mark.parametrize(("setting", "expected"), [("", "1"), ("3", "0")])
def test_share_cores(setting, expected):
    """In a process of its own, as it has to come before TensorFlow computes."""
    program = """
import tensorflow as tf
import noise_flow_tf as nf
nf.threads._cores = lambda: 2
nf.share_cores()
print(tf.config.threading.get_intra_op_parallelism_threads())
tf.zeros([1]) + 1
nf.share_cores()
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={"PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": setting},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [expected]


@pytest.mark.parametrize("size", [(100, 41), (90, 150), (12, 9)])
def test_tiles_side_by_side(size, monkeypatch):
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    clean = rng.uniform(size=(*size, 4))
    monkeypatch.setattr(threads, "at_once", lambda: 1)
    whole = nf.sample_image(model, clean, 800, "S6", seed=3, temperature=0.7)
    monkeypatch.setattr(threads, "at_once", lambda: 2)
    monkeypatch.setattr(sampling, "_WORTH_COMPILING_TWO", 0)
    for tile in (1024, 31):
        tiled = nf.sample_image(model, clean, 800, "S6", seed=3, temperature=0.7, tile=tile)
        np.testing.assert_allclose(tiled, whole, atol=1e-6 * np.abs(whole).max())


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_latents_are_one_stream(seed):
    shape = [7, 11, 4]
    drawn = sampling._latent_image(shape, seed)
    np.testing.assert_array_equal(drawn, tf.random.stateless_normal(shape, [seed, 0]))
