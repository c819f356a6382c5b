import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf

CLEAN = np.random.default_rng(0).uniform(0.1, 0.9, (6, 8, 10, 4)).astype(np.float32)
KERAS = {"keras3": keras, "tf_keras": tf_keras}
NAMES = {"keras3": "Keras3NoiseFlowLayer", "tf_keras": "TFKerasNoiseFlowLayer"}
LAYERS = {version: getattr(nf, name) for version, name in NAMES.items()}
OTHERS = {"keras3": "tf_keras", "tf_keras": "keras3"}

FIRST_DRAWS = [[1.380709, 0.562516, 0.955052, 1.886748], [-0.916588, 0.412749, -2.507565, 0.298004]]
"""The noise of `NoiseFlow("S-G", seed=0)` at ISO 800 on one pixel of 0.4, with seed 1."""


@pytest.fixture(params=list(KERAS))
def version(request):
    """Which Keras a test is about: each runs with both."""
    return request.param


def perturbed(arch):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.05, variable.shape))
    return model


@pytest.fixture
def noise_model():
    return perturbed("S-Ax1-G-Ax1-CAM")


@pytest.fixture
def small_noise_model():
    """One that is quickly traced."""
    return nf.NoiseFlow("S-G", seed=0)


def make(version, model, **options):
    return LAYERS[version](model, **{"conditions": [(800, "S6")], "seed": 1} | options)


def convolution(version):
    return KERAS[version].layers.Conv2D(4, 3, padding="same")


def functional(version, *layers):
    image = x = KERAS[version].Input([None, None, 4])
    for layer in layers:
        x = layer(x)
    return KERAS[version].Model(image, x)


def sequential(version, *layers):
    return KERAS[version].Sequential([KERAS[version].Input([None, None, 4]), *layers])


def sequential_without_input(version, *layers):
    return KERAS[version].Sequential(list(layers))


def subclassed(version, *layers):
    class Subclassed(KERAS[version].Model):
        def __init__(self):
            super().__init__()
            self.all_layers = list(layers)

        def call(self, x, training=None):
            for layer in self.all_layers:
                x = layer(x)
            return x

    return Subclassed()


def subclassed_without_training(version, *layers):
    class Subclassed(KERAS[version].Model):
        def __init__(self):
            super().__init__()
            self.all_layers = list(layers)

        def call(self, x):
            for layer in self.all_layers:
                x = layer(x)
            return x

    return Subclassed()


def surrounding(version, *layers):
    return functional(version, *layers, convolution(version))


def same_weights(layer, noise_model):
    ours, theirs = layer.noise_model.variables, noise_model.variables
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_both_draw_the_same_numbers(small_noise_model):
    options = {"conditions": [(800, "S6"), (100, "GP")], "weights": [2, 1]}
    layers = [make(version, small_noise_model, **options) for version in KERAS]
    image = tf.fill([2, 3, 4, 4], 0.4)
    for _ in range(2):
        ours, theirs = (layer(image, training=True) for layer in layers)
        np.testing.assert_array_equal(ours, theirs)


def test_a_seed_always_gives_the_same_numbers(version, small_noise_model):
    layer = make(version, small_noise_model)
    image = tf.fill([1, 1, 1, 4], 0.4)
    found = [(layer(image, training=True) - image).numpy().ravel() for _ in range(2)]
    np.testing.assert_allclose(found, FIRST_DRAWS, rtol=1e-4)


def test_every_seed_has_numbers_of_its_own(small_noise_model):
    image = tf.fill([1, 1, 2, 4], 0.4)
    layers = [make("tf_keras", small_noise_model, seed=seed) for seed in (0, 1, 2**31, None, None)]
    drawn = {layer(image, training=True).numpy().tobytes() for layer in layers}
    assert len(drawn) == len(layers)


def test_a_model_with_cameras_and_levels_of_its_own(version):
    model = nf.NoiseFlow("sdn5|gain4", seed=0, cameras=("A7", "B8"), iso_levels=(50, 6400))
    pairs = [(50, "B8"), (6400, 0)]
    layer = make(version, model, conditions=pairs, weights=[0, 1])
    assert layer.get_config()["conditions"] == [[50, "B8"], [6400, "A7"]]
    image = tf.constant(CLEAN)
    only = make(version, model, conditions=[(6400, "A7")])
    np.testing.assert_array_equal(layer(image, training=True), only(image, training=True))
    again = type(layer).from_config(layer.get_config())
    assert again.noise_model.condition_space == model.condition_space
    np.testing.assert_array_equal(
        again(image, training=True),
        make(version, model, conditions=pairs, weights=[0, 1])(image, training=True),
    )
    for wrong in ((100, "A7"), (50, "S6"), (50, 2)):
        with pytest.raises(ValueError, match="unknown"):
            make(version, model, conditions=[wrong])


def test_temperature_and_clip(version, small_noise_model):
    image = tf.constant(CLEAN)
    warm, cool, cold, clipped = (
        make(version, small_noise_model, **options)(image, training=True).numpy()
        for options in ({}, {"temperature": 0.25}, {"temperature": 0}, {"clip": True})
    )
    np.testing.assert_allclose(cool - CLEAN, (warm - CLEAN) / 4, atol=1e-6)
    np.testing.assert_array_equal(cold, CLEAN)
    np.testing.assert_array_equal(clipped, np.clip(warm, 0, 1))
    assert warm.min() < 0 and warm.max() > 1


def test_noise_is_the_models_own_and_new_in_every_call(version, noise_model):
    layer = make(version, noise_model)
    image = tf.fill([64, 16, 16, 4], 0.4)
    first, second = (layer(image, training=True) - image for _ in range(2))
    assert not np.array_equal(first, second)
    scale = nf.predicted_scale(noise_model, image[:1], 800, "S6").numpy()[0, 0, 0]
    np.testing.assert_allclose(np.std(first, axis=(0, 1, 2)), scale, rtol=0.03)


def test_conditions_are_drawn_for_each_example_by_their_weights(version, noise_model):
    for variable, value in ((noise_model.layers[0].beta2, -10.0), (noise_model.layers[0].beta1, 0)):
        variable.assign(value)
    noise_model.layers[0].gain_params.assign([-2.0, -2, -2, -2, 5])
    conditions = [(100, "S6"), (3200, "GP"), (400, "IP")]
    layer = make(version, noise_model, conditions=conditions, weights=[3, 1, 0])
    image = tf.fill([400, 8, 8, 4], 0.4)
    found = np.std(layer(image, training=True) - image, axis=(1, 2, 3))
    scales = [
        np.sqrt(np.mean(nf.predicted_scale(noise_model, image[:1], *pair) ** 2))
        for pair in conditions[:2]
    ]
    nearest = np.abs(np.log(found[:, np.newaxis] / scales)).argmin(axis=1)
    assert np.mean(nearest == 0) == pytest.approx(0.75, abs=0.08)
    assert np.abs(np.log(found / np.array(scales)[nearest])).max() < 0.4


@pytest.mark.parametrize(
    "form",
    [functional, sequential, sequential_without_input, subclassed, subclassed_without_training],
)
def test_fit_sees_noise_and_prediction_does_not(version, small_noise_model, form):
    before = [variable.numpy() for variable in small_noise_model.variables]
    layer = make(version, small_noise_model)
    model = form(version, layer, convolution(version))
    model.compile(KERAS[version].optimizers.SGD(0.0), "mse")
    assert not np.allclose(model(CLEAN, training=True), model(CLEAN))
    loss = model.evaluate(CLEAN, CLEAN, verbose=0)
    if (version, form) == ("keras3", subclassed_without_training):
        # There Keras 3 says nothing of training, and its own GaussianNoise does nothing.
        with pytest.raises(TypeError, match="Subclassed.call has no argument `training`"):
            model.fit(CLEAN, CLEAN, batch_size=3, verbose=0)
        return
    assert model.fit(CLEAN, CLEAN, batch_size=3, verbose=0).history["loss"][0] > 1.05 * loss
    assert model.evaluate(CLEAN, CLEAN, verbose=0) == loss
    model.trainable = True
    assert len(model.trainable_variables) == 2
    assert len(model.non_trainable_variables) == len(small_noise_model.variables)
    for variable, value in zip(small_noise_model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_noise_model_trains_along_when_asked(version):
    noise_model = perturbed("sdn5|unc|gain4")
    layer = make(version, noise_model, train_noise_model=True)
    model = surrounding(version, layer)
    assert len(model.trainable_variables) == 2 + len(noise_model.trainable_variables)
    before = [variable.numpy() for variable in noise_model.trainable_variables]
    model.compile("adam", "mse")
    model.fit(CLEAN, CLEAN, verbose=0)
    moved = [
        np.any(variable.numpy() != value)
        for variable, value in zip(noise_model.trainable_variables, before, strict=True)
    ]
    assert np.mean(moved) > 0.9
    layer.trainable = False
    assert len(model.trainable_variables) == 2


@pytest.mark.parametrize(
    ("version", "form"),
    [("keras3", "model.keras"), ("tf_keras", "model.keras"), ("tf_keras", "folder")],
)
def test_saved_and_loaded(version, noise_model, tmp_path, form):
    options = {"conditions": [(800, "S6"), (100, "GP")], "weights": [2, 1], "clip": True}
    first = make(version, noise_model, **options)
    second = make(version, nf.NoiseFlow("S-G", seed=3), temperature=0.5, name="second")
    model = surrounding(version, first, second)
    first.noise_model.layers[0].beta1.assign(-4.0)
    model.save(tmp_path / form)
    again = KERAS[version].models.load_model(tmp_path / form)
    layers = again.layers[1:3]
    for layer, original in zip(layers, (first, second), strict=True):
        assert type(layer) is LAYERS[version]
        assert same_weights(layer, original.noise_model)
        assert layer.get_config() == original.get_config()
    expected = make(version, noise_model, **options)(CLEAN, training=True)
    np.testing.assert_allclose(layers[0](CLEAN, training=True), expected, atol=1e-6)
    np.testing.assert_allclose(again(CLEAN), model(CLEAN), atol=1e-6)


def test_config_is_json(version, noise_model):
    config = make(version, noise_model).get_config()
    assert json.loads(json.dumps(config)) == config
    assert config["conditions"] == [[800, "S6"]]


def test_exported(version, small_noise_model, tmp_path):
    model = surrounding(version, make(version, small_noise_model))
    model.export(tmp_path / "serving")
    served = tf.saved_model.load(str(tmp_path / "serving"))
    np.testing.assert_allclose(served.serve(CLEAN), model(CLEAN), atol=1e-6)


def test_noise_in_a_saved_model(version, small_noise_model, tmp_path):
    module = tf.Module()
    layer = module.layer = make(version, small_noise_model)
    images = tf.TensorSpec([None, None, None, 4])
    module.noisy = tf.function(lambda x: layer(x, training=True), [images], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "noisy"))
    loaded = tf.saved_model.load(str(tmp_path / "noisy"))
    np.testing.assert_allclose(loaded.noisy(CLEAN), layer(CLEAN, training=True), atol=1e-6)


def test_weights_files_and_clones(version, noise_model, tmp_path):
    model = surrounding(version, make(version, noise_model))
    path = tmp_path / "all.weights.h5"
    model.save_weights(path)
    other = surrounding(version, make(version, nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=5)))
    other.load_weights(path)
    for loaded in (other, KERAS[version].models.clone_model(model)):
        assert same_weights(loaded.layers[1], noise_model)
    with pytest.raises(ValueError, match="other weights than 'sdn4|gain4'"):
        surrounding(version, make(version, nf.NoiseFlow("S-G"))).load_weights(path)


@pytest.mark.parametrize("images", [CLEAN, CLEAN.astype(np.float16)])
def test_in_a_data_pipeline(version, small_noise_model, images):
    layer = make(version, small_noise_model)
    one_by_one = tf.data.Dataset.from_tensor_slices(images)
    noisy = one_by_one.map(lambda image: layer(image, training=True)).batch(6)
    batches = one_by_one.batch(3).map(lambda image: layer(image, training=True)).unbatch().batch(6)
    for dataset in (noisy, batches):
        result = next(iter(dataset)).numpy()
        assert result.dtype == np.float32
        assert result.shape == CLEAN.shape
        assert (result != images).mean() > 0.9
    assert noisy.element_spec.shape.as_list() == [None, 8, 10, 4]


def test_training_as_a_tensor_in_a_graph(version, small_noise_model):
    layer = make(version, small_noise_model)
    call = tf.function(lambda training: layer(CLEAN, training=training))
    np.testing.assert_array_equal(call(tf.constant(False)), CLEAN)
    assert not np.array_equal(call(tf.constant(True)), CLEAN)


def test_gradient_is_that_of_the_noisy_image(version, small_noise_model):
    image = tf.constant(CLEAN)
    with tf.GradientTape() as tape:
        tape.watch(image)
        noisy = make(version, small_noise_model)(image, training=True)
    gain = np.exp(-5.0) * 800
    scale = nf.predicted_scale(small_noise_model, image, 800, "S6")
    slope = np.exp(-5.0) / gain / (2 * scale)
    expected = 1 + (noisy - image) / scale * slope
    np.testing.assert_allclose(tape.gradient(noisy, image), expected, rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_rounds_only_what_comes_out(version, small_noise_model, policy):
    layers = [make(version, small_noise_model, dtype=dtype) for dtype in ("float32", policy)]
    full, mixed = (functional(version, layer)(CLEAN, training=True) for layer in layers)
    assert mixed.dtype == tf.as_dtype(policy.removeprefix("mixed_"))
    np.testing.assert_array_equal(mixed, tf.cast(full, mixed.dtype))
    assert layers[1](CLEAN).dtype == mixed.dtype


@pytest.mark.parametrize("shape", [(None, 8, 8, 4), (8, 8, 4)])
def test_output_is_like_the_input(version, small_noise_model, shape):
    layer = make(version, small_noise_model, dtype="mixed_float16")
    assert tuple(layer.compute_output_shape(shape)) == shape
    image = np.full([size or 2 for size in shape], 0.5, np.float32)
    assert layer(image, training=True).shape == image.shape
    if version == "keras3":
        spec = layer.compute_output_spec(keras.KerasTensor(shape))
        assert (spec.shape, spec.dtype) == (shape, "float16")


def test_keras_3_does_not_compile_it_with_xla(small_noise_model):
    model = surrounding("keras3", make("keras3", small_noise_model))
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.compile("sgd", "mse", jit_compile=True)
    assert np.isfinite(model.fit(CLEAN, CLEAN, verbose=0).history["loss"][0])


def test_under_xla_a_wrong_image_becomes_nan(version, small_noise_model):
    layer = make(version, small_noise_model, clip=True)
    call = tf.function(lambda x: layer(x, training=True), jit_compile=True)
    images = np.stack([CLEAN[0], 255 * CLEAN[0], CLEAN[0] * np.nan])
    first, second = call(images), call(images)
    wrong = np.isnan(first).all(axis=(1, 2, 3)), np.isnan(first).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(wrong, [[False, True, True]] * 2)
    assert not np.array_equal(first[0], second[0])


def test_a_value_slightly_outside_has_the_noise_of_the_nearest_inside(version, small_noise_model):
    outside, inside = np.float32([-0.1, 1.1]), np.float32([0, 1])
    outside, inside = (np.tile(x.reshape(2, 1, 1, 1), [1, 4, 4, 4]) for x in (outside, inside))
    noise, expected = (
        make(version, small_noise_model)(x, training=True) - x for x in (outside, inside)
    )
    np.testing.assert_allclose(noise, expected, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_refuses_integers(version, small_noise_model, kind, training):
    images = (255 * CLEAN).astype(kind)
    with pytest.raises(ValueError, match=f"{np.dtype(kind).name}; normalise"):
        make(version, small_noise_model)(images, training=training)


@pytest.mark.parametrize(
    ("images", "given"),
    [(CLEAN * np.nan, "NaN"), (255 * CLEAN, r"25\.\d+ to 229"), (CLEAN - 2, r"-1\.89\d+ to -1\.1")],
)
def test_refuses_what_is_not_normalised(version, small_noise_model, images, given):
    layer = make(version, small_noise_model)
    with pytest.raises(ValueError, match=f"{given}.*normalise"):
        layer(images, training=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="normalise"):
        tf.function(lambda x: layer(x, training=True))(images)
    with pytest.raises(tf.errors.InvalidArgumentError, match="normalise"):
        list(tf.data.Dataset.from_tensors(images).map(lambda x: layer(x, training=True)))


def test_fit_refuses_integers(version, small_noise_model):
    model = surrounding(version, make(version, small_noise_model))
    model.compile("sgd", "mse")
    with pytest.raises(tf.errors.InvalidArgumentError, match="normalise"):
        model.fit((255 * CLEAN).astype(np.uint8), CLEAN, verbose=0)


def in_a_subclassed_model_in_training(version, layer):
    subclassed(version, layer)(CLEAN, training=True)


def in_a_subclassed_model_in_inference(version, layer):
    subclassed(version, layer)(CLEAN)


def in_a_subclassed_model_that_tells_it(version, layer):
    subclassed(version, lambda x: layer(x, training=True), convolution(version))(CLEAN)


@pytest.mark.parametrize(
    "call",
    [
        functional,
        in_a_subclassed_model_in_training,
        in_a_subclassed_model_in_inference,
        in_a_subclassed_model_that_tells_it,
    ],
)
def test_in_a_model_of_the_other_keras_it_says_which_class_is_right(
    version, small_noise_model, call
):
    layer = make(OTHERS[version], small_noise_model)
    with pytest.raises(TypeError, match=f"use noise_flow_tf.{NAMES[version]}"):
        call(version, layer)
    assert not np.array_equal(layer(CLEAN, training=True), CLEAN)


@pytest.mark.parametrize("form", [sequential, sequential_without_input])
def test_sequential_models_of_the_other_keras_say_which_class_is_right(
    version, small_noise_model, form
):
    kind = {"keras3": ValueError, "tf_keras": TypeError}[version]  # Keras raises it
    with pytest.raises(kind, match=f"use noise_flow_tf.{NAMES[version]}"):
        form(version, make(OTHERS[version], small_noise_model))


def test_works_beside_models_of_the_other_keras(version, small_noise_model):
    other = KERAS[OTHERS[version]]
    inner = functional(version, make(version, small_noise_model))

    class Around(other.layers.Layer):
        def call(self, x):
            return inner(x, training=True)

    assert not np.array_equal(Around()(CLEAN), CLEAN)


def test_keras_3_must_run_on_tensorflow(small_noise_model, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="runs on jax here; set KERAS_BACKEND=tensorflow"):
        make("keras3", small_noise_model)


FRESH_PROCESS = """
import json, sys
import tensorflow as tf
import noise_flow_tf as nf
has_keras3 = "keras" in sys.modules
layer = tf.keras.models.load_model(sys.argv[1]).layers[1]
is_right = isinstance(layer, nf.NoiseFlowLayer) and issubclass(type(layer), tf.keras.layers.Layer)
noise = layer(tf.fill([1, 1, 1, 4], 0.4), training=True) - 0.4
names = {nf.TFKerasNoiseFlowLayer: "tf_keras", nf.Keras3NoiseFlowLayer: "keras3"}
print(json.dumps([has_keras3, is_right, names[type(layer)], noise.numpy().ravel().tolist()]))
"""


def test_the_class_of_tf_keras_in_a_fresh_process(version, small_noise_model, tmp_path):
    surrounding(version, make(version, small_noise_model)).save(tmp_path / "model.keras")
    run = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, tmp_path / "model.keras"],
        env={**os.environ, "TF_USE_LEGACY_KERAS": str(int(version == "tf_keras"))},
        cwd=Path(nf.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    has_keras3, is_right, found, noise = json.loads(run.stdout.splitlines()[-1])
    assert (has_keras3, is_right, found) == (version == "keras3", True, version)
    np.testing.assert_allclose(noise, FIRST_DRAWS[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditions": []}, "one or more pairs of ISO and camera; got none"),
        ({"conditions": [(200, "S6")]}, "unknown ISO"),
        ({"conditions": [(100, "ZZ")]}, "unknown camera ZZ"),
        ({"weights": [1, 2]}, r"one for each of the 1 conditions, .* got \[1, 2\]"),
        ({"weights": [-1]}, "not negative"),
        ({"weights": [0]}, "not all zero"),
        ({"conditions": [(100, "S6"), (100, "IP")], "weights": [-1, 2]}, "not negative"),
        ({"temperature": -1}, "temperature must be finite and not negative; got -1"),
    ],
)
def test_refuses(version, small_noise_model, options, message):
    with pytest.raises(ValueError, match=message):
        make(version, small_noise_model, **options)
