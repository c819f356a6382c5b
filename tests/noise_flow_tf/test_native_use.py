"""When the compiled core is used, with another one in its place."""

import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2

import noise_flow_tf as nf
from noise_flow_tf import evaluation, layers, native
from noise_flow_tf.denoising import sources
from noise_flow_tf.evaluation import analysis
from noise_flow_tf.layers.flow_step import FlowStep
from noise_flow_tf.native import library, use
from noise_flow_tf.native.ops import OpCode
from noise_flow_tf.saving import saved_model
from tests.examples import make_batches
from tests.fake_core import FakeCore, bijectors, callbacks

SHAPE = (3, 6, 8, 4)
CLEAN = np.random.default_rng(0).uniform(size=SHAPE).astype(np.float32)
NOISE = tf.constant(np.random.default_rng(1).normal(0, 0.05, SHAPE), tf.float32)
ISO, CAMERA = [100, 800, 3200], ["S6", "IP", "G4"]
ARCHITECTURES = ["sdn5|unc|gain4|unc", "sdn4|unc", "sdn6|gain4", "eq12|unc|eq16", "eq12|eq14"]


@pytest.fixture
def core(monkeypatch):
    """A core that is installed and may be used."""
    fake = FakeCore()
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setattr(library, "available", lambda: not library.turned_off())
    monkeypatch.setattr(library, "say_missing_once", lambda: None)
    monkeypatch.setitem(sys.modules, "noise_flow_tf.native.graph", fake)
    monkeypatch.setattr(native, "graph", fake, raising=False)
    yield fake
    nf.use_core(False)


@pytest.fixture
def without(monkeypatch):
    """Computes something with TensorFlow alone."""

    def compute(function):
        with monkeypatch.context() as patched:
            patched.setenv(library.VARIABLE, "tensorflow")
            return function()

    return compute


def perturbed(arch="sdn5|unc|gain4|unc"):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


def seen_by(wrap, training=False):
    """What `is_used` says where `wrap` calls a function of a tensor."""
    seen = []

    def look(x):
        seen.append(use.is_used(training))
        return x

    wrap(look)(tf.ones([2]))
    return seen[0]


def in_own_graph(look):
    return tf.function(use.own_graph()(look))


def in_while_loop(look):
    def loop(x):
        return tf.while_loop(lambda x: x[0] < 3, lambda x: (look(x) + 1,), [x])

    return tf.function(use.own_graph()(loop), autograph=False, jit_compile=True)


def while_saving(look):
    def save(x):
        module = tf.Module()
        module.f = tf.function(use.own_graph()(look), input_signature=[tf.TensorSpec([2])])
        tf.saved_model.save(module, "ram://saved")

    return save


@pytest.mark.parametrize(
    ("place", "by_default", "opted_in"),
    [
        (lambda look: look, True, True),
        (tf.function, False, True),
        (in_own_graph, True, True),
        (lambda look: lambda x: tf.data.Dataset.from_tensors(x).map(look), False, True),
        (lambda look: tf.function(look, jit_compile=True), False, False),
        (lambda look: tf.function(use.own_graph()(look), jit_compile=True), False, False),
        (lambda look: tf.function(in_own_graph(look), jit_compile=True), False, False),
        (in_while_loop, False, False),
        (use.without_core(), False, False),
        (lambda look: use.without_core()(in_own_graph(look)), False, False),
        (lambda look: use.own_graph()(use.without_core()(look)), False, False),
        (while_saving, False, False),
    ],
    ids=[
        "eager",
        "a user's function",
        "own graph",
        "tf.data",
        "XLA",
        "own graph under XLA",
        "own graph inside XLA",
        "while loop under XLA",
        "switched off",
        "own graph, switched off",
        "switched off in own graph",
        "SavedModel",
    ],
)
def test_where_it_is_used(core, place, by_default, opted_in):
    assert seen_by(place) is by_default
    nf.use_core()
    assert seen_by(place) is opted_in
    nf.use_core(False)
    assert seen_by(place) is by_default


def test_what_is_marked_ends_with_its_block(core):
    with pytest.raises(KeyError), use.own_graph(), use.without_core():
        raise KeyError
    assert seen_by(lambda look: look)
    assert not seen_by(tf.function)


def test_not_with_a_visible_gpu(core, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [f"{kind}:0"])
    nf.use_core()
    assert not seen_by(lambda look: look)
    assert not seen_by(in_own_graph)


def test_not_in_training_where_replicas_share_moments(core):
    class Two:
        num_replicas_in_sync = 2

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tf.distribute, "get_strategy", Two)
        assert not seen_by(in_own_graph, training=True)
        assert seen_by(in_own_graph, training=False)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert seen_by(in_own_graph, training=True)


@pytest.mark.parametrize(
    ("value", "available", "used"),
    [
        ("", True, True),
        ("auto", True, True),
        ("native", True, True),
        ("tensorflow", True, False),
        ("auto", False, False),
        ("tensorflow", False, False),
    ],
)
def test_the_environment_and_the_library(core, monkeypatch, value, available, used):
    monkeypatch.setenv(library.VARIABLE, value)
    monkeypatch.setattr(library, "available", lambda: available)
    nf.use_core()
    assert seen_by(lambda look: look) is used
    assert seen_by(tf.function) is used


def test_wrong_environments_are_refused_in_a_line(core, monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "numba")
    with pytest.raises(ValueError, match="must be one of auto, native, tensorflow; got 'numba'"):
        use.is_used(False)
    monkeypatch.setenv(library.VARIABLE, "native")
    monkeypatch.setattr(library, "load", lambda: None)
    with pytest.raises(ValueError, match="NOISE_FLOW_CORE=native, but .*or unset NOISE_FLOW_CORE"):
        use.is_used(False)


def test_what_is_missing_is_said_only_where_it_would_be_used(core, monkeypatch):
    said = []
    monkeypatch.setattr(library, "available", lambda: False)
    monkeypatch.setattr(library, "say_missing_once", lambda: said.append(1))
    seen_by(tf.function), seen_by(use.without_core())
    assert not said
    seen_by(in_own_graph)
    assert said


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_operations_have_the_parameters_that_the_core_takes(arch):
    """In order and shape; read as tensors, they make the same bijectors."""
    model = perturbed(arch)
    conditions = model.condition_space.resolve(CLEAN, ISO, CAMERA)
    width, batch = model.width, [len(ISO)]
    layer = [[width], [width], [width]]
    shapes = {
        OpCode.SIGNAL: [batch, batch],
        OpCode.GAIN: [batch],
        OpCode.MIX: [[4, 4], [4], [4], [6], [6]],
        OpCode.COUPLING: [
            *([3, 3, 2, width], *layer),
            *([1, 1, width, width], *layer),
            *([3, 3, width + 1, 4], [4], [4], []),
        ],
    }
    for training in (False, True):
        ops = model.ops(conditions, training)
        for op in ops:
            read = [tf.convert_to_tensor(p) for p in op.parameters]
            assert [p.shape.as_list() for p in read] == shapes[op.code]
            assert all(p.dtype == tf.float32 for p in read)
            if op.code == OpCode.COUPLING:
                places = (2, 3, 6, 7)
                assert [id(a) for a in op.averages] == [id(op.parameters[i]) for i in places]
            else:
                assert op.averages == ()
        value = same = NOISE
        pairs = zip(bijectors(ops), model.bijectors(conditions, training), strict=True)
        for pure, live in pairs:
            assert type(pure) is type(live)
            value, same = pure.inverse(value), live.inverse(same)
            np.testing.assert_array_equal(value, same)


@pytest.mark.parametrize("training", [False, True])
def test_references_are_pure_functions_of_their_parameters(training):
    """Gradients of the first and second order reach tensors as they reach variables."""
    model = perturbed("sdn5|unc|gain4")
    conditions = model.condition_space.resolve(CLEAN, ISO, CAMERA)
    variables = [v for v in model.trainable_variables if v.name.startswith(("kernel", "lower"))]
    ops = model.ops(conditions, training)
    flat = [p for op in ops for p in op.parameters if any(p is v for v in variables)]
    tensors = [tf.convert_to_tensor(p) for p in flat]
    replaced = dict(zip(map(id, flat), tensors, strict=True))

    def curvature(watched, parts):
        with tf.GradientTape() as outer:
            outer.watch(watched)
            with tf.GradientTape() as inner:
                inner.watch(watched)
                value = NOISE
                for bijector in parts():
                    value = bijector.inverse(value)
                loss = tf.reduce_sum(value**2)
            first = inner.gradient(loss, watched)
            total = tf.add_n([tf.reduce_sum(g**2) for g in first])
        return [*first, *outer.gradient(total, watched)]

    ours = curvature(
        tensors,
        lambda: [op.reference(*(replaced.get(id(p), p) for p in op.parameters)) for op in ops],
    )
    expected = curvature(flat, lambda: model.bijectors(conditions, training))
    assert len(flat) == 4
    for value, same in zip(ours, expected, strict=True):
        np.testing.assert_allclose(value, same, rtol=1e-4, atol=1e-5 * np.abs(same).max())


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("training", [False, True])
def test_the_distribution_is_the_same(core, without, arch, training):
    p = perturbed(arch)(CLEAN, ISO, CAMERA, training=training)
    latent, log_prob, moved = p.one_pass(NOISE)
    noise = p.noise_of(latent)
    assert (core.passes, core.draws) == (1, 0 if training else 1)
    expected = without(lambda: p.one_pass(NOISE))
    np.testing.assert_allclose(latent, expected.latent, atol=1e-5)
    np.testing.assert_allclose(log_prob, expected.log_prob, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(noise, without(lambda: p.noise_of(latent)), atol=1e-6)
    assert [id(average) for average, _ in moved] == [id(average) for average, _ in expected.moved]
    for (_, value), (_, same) in zip(moved, expected.moved, strict=True):
        np.testing.assert_allclose(value, same, rtol=1e-5)


def test_what_is_broadcast_is_for_tensorflow(core):
    p = perturbed()(CLEAN, ISO, CAMERA)
    p.log_prob(NOISE[:1]), p.log_prob(NOISE[0]), p.log_prob(tf.stack([NOISE, NOISE]))
    p.sample(2, seed=1), p[1].log_prob(NOISE[1]), p[:, tf.newaxis].log_prob(NOISE[:, tf.newaxis])
    p.experimental_sample_and_log_prob(seed=1)
    assert (core.passes, core.draws) == (0, 0)
    p.sample(seed=1), p[:2].log_prob(NOISE[:2])
    assert (core.passes, core.draws) == (1, 1)


def test_images_and_conditions_of_unknown_number(core, without):
    model = perturbed()
    image = tf.TensorSpec([None, None, None, 4])
    log_prob = tf.function(
        use.own_graph()(lambda clean, noise: model(clean, 800, "S6").log_prob(noise)),
        input_signature=[image, image],
        autograph=False,
    )
    expected = without(lambda: model(CLEAN, 800, "S6").log_prob(NOISE))
    np.testing.assert_allclose(log_prob(CLEAN, NOISE), expected, rtol=1e-5)
    assert core.passes == 1 and callbacks(log_prob.get_concrete_function().graph) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="noise must be one image for each of"):
        log_prob(CLEAN, NOISE[:1])


def test_a_layer_without_operations_keeps_the_flow_in_tensorflow(core, without):
    class OnlyMixes(FlowStep):
        codes = ("onlymixes",)

        def bijectors(self, conditions, training):
            return super().bijectors(conditions, training)[:1]

    model = perturbed("sdn5|unc")
    model.layers.append(OnlyMixes(4, np.random.default_rng(0)))
    assert model.ops(model.condition_space.resolve(CLEAN, ISO, CAMERA), False) is None
    p = model(CLEAN, ISO, CAMERA)
    latent, log_prob = p.latent_and_log_prob(NOISE)
    np.testing.assert_allclose(p.noise_of(latent), NOISE, atol=1e-5)
    np.testing.assert_array_equal(log_prob, without(lambda: p.log_prob(NOISE)))
    assert (core.passes, core.draws) == (0, 0)
    model.layers[-1] = FlowStep(4, np.random.default_rng(0))
    model(CLEAN, ISO, CAMERA).log_prob(NOISE)
    assert core.passes == 1


def test_a_layer_defines_operations_or_bijectors():
    declared = {"pointwise": True, "depends_on": frozenset(), "receptive_field": 0}
    with pytest.raises(TypeError, match="layer Silent must define ops, or else bijectors"):
        type("Silent", (layers.Layer,), {"codes": ("silent",), **declared})
    sometimes = {"ops": lambda self, conditions, training: None}
    layer = type("Sometimes", (layers.Layer,), {"codes": ("some",), **declared, **sometimes})()
    with pytest.raises(TypeError, match=r"Sometimes\.ops gave None; define bijectors, too"):
        layer.bijectors(None, False)


@pytest.fixture
def trainer():
    trainer = nf.Trainer(perturbed("sdn5|unc|gain4"))
    trainer.compile(tf_keras.optimizers.SGD(1e-4))
    return trainer


def test_training_and_its_evaluation(core, without, trainer):
    def train():
        trainer = nf.Trainer(perturbed("sdn5|unc|gain4"))
        trainer.compile(tf_keras.optimizers.SGD(1e-4))
        told = trainer.fit(make_batches(), validation_data=make_batches(seed=1), verbose=0).history
        trainer.reestimate_averages(make_batches())
        return told, [variable.numpy() for variable in trainer.noise_model.variables]

    told, learned = train()
    assert core.passes == 3, "traced for a step, an evaluation and averages"
    expected, same = without(train)
    assert core.passes == 3
    for name, values in expected.items():
        np.testing.assert_allclose(told[name], values, rtol=1e-4)
    for value, expected in zip(learned, same, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_not_in_training_by_xla(core):
    trainer = nf.Trainer(perturbed("sdn5|unc|gain4"))
    trainer.compile(tf_keras.optimizers.SGD(1e-4), jit_compile=True)
    trainer.fit(make_batches(), validation_data=make_batches(seed=1), verbose=0)
    assert core.passes == 0


def test_evaluation(core):
    model = perturbed()
    evaluation.evaluate({"ours": model}, make_batches())
    assert (core.passes, core.draws) == (1, 2)
    evaluation.sampled_kl(model, make_batches())()
    assert core.draws == 3
    curve = analysis.KLOverTemperature({"ours": model})
    for batch in make_batches().as_numpy_iterator():
        curve.add(batch)
    assert core.draws == 4


def test_noise_of_images_and_for_denoisers(core, without):
    model = perturbed()
    clean = np.random.default_rng(0).uniform(size=(9, 7, 4)).astype(np.float32)
    noise = nf.sample_image(model, clean, 800, "S6", tile=5)
    assert core.draws == 1  # without tiles
    with_tensorflow = perturbed()
    expected = without(lambda: nf.sample_image(with_tensorflow, clean, 800, "S6", tile=5))
    np.testing.assert_allclose(noise, expected, atol=1e-5)
    source = sources.ModelNoise(model, [("S6", 800), ("IP", 100)])
    (noisy, _), *_ = sources.noisy_batches(make_batches(), source)
    assert core.draws == 2 and noisy.shape == [8, 8, 8, 4]


def test_a_layer_in_a_users_network_does_without(core):
    layer = nf.TFKerasNoiseFlowLayer(perturbed(), [(800, "S6")], seed=0)
    network = tf_keras.Sequential([tf_keras.Input([8, 8, 4]), layer, tf_keras.layers.Conv2D(4, 3)])
    network.compile("sgd", "mse")
    network.fit(np.full([4, 8, 8, 4], 0.5), np.zeros([4, 6, 6, 4]), verbose=0)
    assert core.draws == 0
    layer(tf.fill([1, 8, 8, 4], 0.5), training=True)
    assert core.draws == 1


@pytest.mark.parametrize("opted_in", [False, True])
def test_saved_models_hold_no_callback(core, tmp_path, opted_in):
    nf.use_core(opted_in)
    model = perturbed()
    nf.sample_image(model, CLEAN[0], 800, "S6")  # keeps a compiled function
    saved_model.save(model, tmp_path / "model")
    saved = saved_model_pb2.SavedModel.FromString(
        (tmp_path / "model" / "saved_model.pb").read_bytes()
    )
    (graph,) = (meta.graph_def for meta in saved.meta_graphs)
    assert graph.library.function and not callbacks(graph)
    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["log_prob"]
    given = {"clean": tf.constant(CLEAN), "iso": tf.constant([800]), "camera": tf.constant([2])}
    log_prob = signature(noise=NOISE, **given)["log_prob"]
    np.testing.assert_allclose(log_prob, model(CLEAN, 800, "S6").log_prob(NOISE), rtol=1e-5)
    assert core.passes == 1
