import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf

CLEAN = np.random.default_rng(0).uniform(0.1, 0.9, (6, 8, 10, 4)).astype(np.float32)


@pytest.fixture
def noise_model():
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.05, variable.shape))
    return model


def make(model, **options):
    return nf.NoiseFlowLayer(model, **{"conditions": [(800, "S6")], "seed": 1} | options)


def surrounding(layer):
    image = tf_keras.Input([None, None, 4])
    denoised = tf_keras.layers.Conv2D(4, 3, padding="same")(layer(image))
    model = tf_keras.Model(image, denoised)
    model.compile("adam", "mse")
    return model


def test_noise_is_the_models_own_and_new_in_every_call(noise_model):
    layer = make(noise_model)
    image = tf.fill([64, 16, 16, 4], 0.4)
    first, second = (layer(image, training=True) - image for _ in range(2))
    assert not np.array_equal(first, second)
    scale = nf.predicted_scale(noise_model, image[:1], 800, "S6").numpy()[0, 0, 0]
    np.testing.assert_allclose(np.std(first, axis=(0, 1, 2)), scale, rtol=0.03)
    np.testing.assert_array_equal(make(noise_model)(image, training=True) - image, first)


def test_conditions_are_drawn_for_each_example_by_their_weights(noise_model):
    for variable, value in ((noise_model.layers[0].beta2, -10.0), (noise_model.layers[0].beta1, 0)):
        variable.assign(value)
    noise_model.layers[0].gain_params.assign([-2.0, -2, -2, -2, 5])
    conditions = [(100, "S6"), (3200, "GP"), (400, "IP")]
    layer = make(noise_model, conditions=conditions, weights=[3, 1, 0])
    image = tf.fill([400, 8, 8, 4], 0.4)
    found = np.std(layer(image, training=True) - image, axis=(1, 2, 3))
    scales = [
        np.sqrt(np.mean(nf.predicted_scale(noise_model, image[:1], *pair) ** 2))
        for pair in conditions[:2]
    ]
    nearest = np.abs(np.log(found[:, np.newaxis] / scales)).argmin(axis=1)
    assert np.mean(nearest == 0) == pytest.approx(0.75, abs=0.08)
    assert np.abs(np.log(found / np.array(scales)[nearest])).max() < 0.4


def test_fit_sees_noise_prediction_does_not_and_the_noise_model_stays(noise_model):
    before = [variable.numpy() for variable in noise_model.variables]
    model = surrounding(make(noise_model))
    model.trainable = True
    assert len(model.trainable_variables) == 2
    assert len(model.non_trainable_variables) == len(noise_model.variables)
    model.fit(CLEAN, CLEAN, epochs=2, batch_size=3, verbose=0)
    for variable, value in zip(noise_model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    np.testing.assert_array_equal(model.predict(CLEAN, verbose=0), model.predict(CLEAN, verbose=0))
    noisy = surrounding(make(noise_model))
    assert not np.allclose(noisy(CLEAN, training=True), noisy(CLEAN))


def test_noise_model_trains_along_when_asked(noise_model):
    before = noise_model.layers[0].beta1.numpy()
    model = surrounding(make(noise_model, train_noise_model=True))
    model.fit(CLEAN, CLEAN, verbose=0)
    assert noise_model.layers[0].beta1.numpy() != before


@pytest.mark.parametrize("form", ["model.keras", "folder"])
def test_saved_and_loaded(noise_model, tmp_path, form):
    options = {"conditions": [(800, "S6"), (100, "GP")], "weights": [2, 1], "clip": True}
    model = surrounding(make(noise_model, **options))
    model.save(tmp_path / form)
    again = tf_keras.models.load_model(tmp_path / form)
    layer = again.layers[1]
    for ours, theirs in zip(layer.noise_model.variables, noise_model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    expected = surrounding(make(noise_model, **options)).layers[1](CLEAN, training=True)
    np.testing.assert_allclose(layer(CLEAN, training=True), expected, atol=1e-6)
    np.testing.assert_allclose(again(CLEAN), model(CLEAN), atol=1e-6)
    assert layer.get_config() == model.layers[1].get_config()


def test_weights_files_and_clones(noise_model, tmp_path):
    model = surrounding(make(noise_model))
    model.save_weights(tmp_path / "all.weights.h5")
    other = surrounding(make(nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=5)))
    other.load_weights(tmp_path / "all.weights.h5")
    clone = tf_keras.models.clone_model(model)
    for loaded in (other, clone):
        found = loaded.layers[1].noise_model.variables
        for ours, theirs in zip(found, noise_model.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("images", [CLEAN, CLEAN.astype(np.float16)])
def test_in_a_data_pipeline(noise_model, images):
    layer = make(noise_model)
    one_by_one = tf.data.Dataset.from_tensor_slices(images)
    noisy = one_by_one.map(lambda image: layer(image, training=True)).batch(6)
    batches = one_by_one.batch(3).map(lambda image: layer(image, training=True)).unbatch().batch(6)
    for dataset in (noisy, batches):
        result = next(iter(dataset)).numpy()
        assert result.dtype == layer(images).dtype
        assert result.shape == CLEAN.shape
        assert (result != images).mean() > 0.9
    assert noisy.element_spec.shape.as_list() == [None, 8, 10, 4]


def test_training_as_a_tensor_in_a_graph(noise_model):
    layer = make(noise_model)
    call = tf.function(lambda training: layer(CLEAN, training=training))
    np.testing.assert_array_equal(call(tf.constant(False)), CLEAN)
    assert not np.array_equal(call(tf.constant(True)), CLEAN)


def test_gradient_is_that_of_the_noisy_image():
    model = nf.NoiseFlow("S-G", seed=0)
    image = tf.constant(CLEAN)
    with tf.GradientTape() as tape:
        tape.watch(image)
        noisy = make(model)(image, training=True)
    gain = np.exp(-5.0) * 800
    latent = (noisy - image) / nf.predicted_scale(model, image, 800, "S6")
    slope = np.exp(-5.0) / gain / (2 * nf.predicted_scale(model, image, 800, "S6"))
    np.testing.assert_allclose(tape.gradient(noisy, image), 1 + latent * slope, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditions": []}, "one or more pairs of ISO and camera; got none"),
        ({"conditions": [(200, "S6")]}, "unknown ISO"),
        ({"conditions": [(100, "ZZ")]}, "unknown camera ZZ"),
        ({"weights": [1, 2]}, r"one for each of the 1 conditions, .* got \[1, 2\]"),
        ({"weights": [-1]}, "not negative"),
        ({"weights": [0]}, "not all zero"),
        ({"temperature": -1}, "temperature must be finite and not negative; got -1"),
    ],
)
def test_refuses(noise_model, options, message):
    with pytest.raises(ValueError, match=message):
        make(noise_model, **options)
