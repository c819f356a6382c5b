import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf.native import use
from noise_flow_tf.sampling.tiling import tiles
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.run_folder import RunFolder

MODELS = {
    "noise_flow": lambda: nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0),
    "gaussian": lambda: nf.GaussianNoise(0.02),
    "camera_nlf": lambda: nf.CameraNLF(0.01, 1e-4),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(2, 2), (5, 8), (33, 17)])
def test_samples_whole_images(name, size):
    model = MODELS[name]()
    clean = np.random.default_rng(0).uniform(size=(*size, 4))
    noise = nf.sample_image(model, clean, iso=800, camera="S6", seed=3)
    assert noise.shape == clean.shape
    assert noise.dtype == np.float32
    np.testing.assert_array_equal(noise, nf.sample_image(model, clean, 800, "S6", seed=3))
    assert not np.array_equal(noise, nf.sample_image(model, clean, 800, "S6", seed=4))


@pytest.mark.parametrize("size", [(40, 70), (64, 64), (33, 90), (17, 5), (100, 41)])
@pytest.mark.parametrize("tile", [16, 31, 64])
@use.without_core()
def test_tiles_do_not_show(size, tile):
    model = nf.NoiseFlow("S-Ax4-G-Ax4-CAM", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    clean = rng.uniform(size=(*size, 4))
    whole = nf.sample_image(model, clean, 800, "S6", seed=3)
    tiled = nf.sample_image(model, clean, 800, "S6", seed=3, tile=tile)
    np.testing.assert_allclose(tiled, whole, atol=1e-6 * np.abs(whole).max())


def test_the_order_in_memory_does_not_matter():
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    clean = np.random.default_rng(0).uniform(size=(9, 12, 4)).astype(np.float32)
    noise = nf.sample_image(model, clean, 800, "S6")
    np.testing.assert_array_equal(
        nf.sample_image(model, np.asfortranarray(clean), 800, "S6"), noise
    )


def test_reach_is_how_far_a_pixel_matters():
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.5, variable.shape))
    latent = rng.normal(size=(1, 21, 21, 4)).astype(np.float32)
    touched = latent.copy()
    touched[0, 10, 10] += 1
    p = model(np.full_like(latent, 0.5), 100, "S6")
    changed = np.any(p.bijector.forward(latent) != p.bijector.forward(touched), axis=(0, 3))
    rows, columns = np.nonzero(changed)
    assert model.receptive_field == 4
    assert rows.max() - 10 == 10 - columns.min() == model.receptive_field


def test_temperature_scales_the_latent():
    clean = np.full((64, 64, 4), 0.5)
    model = nf.CameraNLF(0.01, 1e-4)
    warm, cool = (nf.sample_image(model, clean, 100, 0, temperature=t) for t in (1.0, 0.6))
    np.testing.assert_allclose(cool, 0.6 * warm, rtol=1e-5)
    assert warm.std() == pytest.approx(np.sqrt(0.0051), rel=0.02)


def test_temperature_of_a_batch():
    clean = np.random.default_rng(0).uniform(0.1, 0.9, (3, 5, 8, 4)).astype(np.float32)
    model = nf.CameraNLF([0.01, 0.02, 0.03], 1e-4)
    warm, cool, cold = (
        nf.sampling.sample_noise(model, clean, 100, 0, seed=3, temperature=t).numpy()
        for t in (1.0, 0.25, 0.0)
    )
    np.testing.assert_allclose(cool, warm / 4, rtol=1e-5)
    assert not np.any(cold)
    z = warm / np.sqrt(np.reshape([0.01, 0.02, 0.03], (3, 1, 1, 1)) * clean + 1e-4)
    np.testing.assert_allclose(z.std(axis=(1, 2, 3)), 1, atol=0.2)
    assert np.abs(np.corrcoef(z.reshape(3, -1))[0, 1:]).max() < 0.3
    other = nf.sampling.sample_noise(model, clean, 100, 0, seed=4).numpy()
    assert not np.array_equal(other, warm)


def test_without_temperature_there_is_no_noise():
    noise = nf.sample_image(MODELS["camera_nlf"](), np.full((5, 8, 4), 0.5), 100, 0, temperature=0)
    assert not np.any(noise)


def test_every_seed_has_noise_of_its_own():
    model, clean = nf.GaussianNoise(0.1), np.full((3, 5, 4), 0.5)
    seeds = (0, 1, 2**16, 2**16 + 1, 2**30, 2**31 - 2, 2**31 - 1)
    drawn = [nf.sample_image(model, clean, 100, 0, seed=seed) for seed in seeds]
    assert len({noise.tobytes() for noise in drawn}) == len(seeds)
    for seed in (-1, 2**31):
        with pytest.raises(ValueError, match="seed must be a whole number from 0 to 2147483647"):
            nf.sample_image(model, clean, 100, 0, seed=seed)


@use.without_core()
def test_tiles_of_one_pixel():
    model = nf.NoiseFlow("sdn5|unc|gain4", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    clean = rng.uniform(size=(3, 7, 4))
    whole = nf.sample_image(model, clean, 800, "S6", seed=3)
    tiled = nf.sample_image(model, clean, 800, "S6", seed=3, tile=1)
    np.testing.assert_allclose(tiled, whole, atol=1e-6 * np.abs(whole).max())


@pytest.mark.parametrize(
    ("size", "tile", "margin"), [((40, 70), 16, 4), ((7, 1), 3, 2), ((9, 64), 31, 40)]
)
def test_tiles_cover_the_image_once_and_are_no_larger_than_asked(size, tile, margin):
    covered = np.zeros(size, int)
    places = list(tiles(size, tile, margin))
    for inner, outer in places:
        covered[inner] += 1
        for i, o, length in zip(inner, outer, size, strict=True):
            assert 0 < i.stop - i.start <= tile
            assert o.start <= max(0, i.start - margin) and min(length, i.stop + margin) <= o.stop
            assert o.start >= 0 and o.stop <= length
    assert (covered == 1).all()
    assert len({tuple(side.stop - side.start for side in outer) for _, outer in places}) == 1


def test_a_model_with_cameras_and_levels_of_its_own():
    """Each image of a batch, and each whole image, under the conditions that are its own."""
    model = nf.NoiseFlow("sdn5|gain4", cameras=("A7", "B8", "P9"), iso_levels=(50, 6400))
    signal, gain = model.layers
    signal.beta2.assign(-30.0)
    signal.cam_params.assign(np.log([[1.0, 2, 3], [1, 1, 1], [1, 1, 1]]))
    signal.gain_params.assign([-5.0, 0.0])
    gain.gain_val.assign(0.5)
    clean = np.random.default_rng(0).uniform(0.1, 0.9, (4, 3, 5, 4)).astype(np.float32)
    iso, camera = [50, 6400, 50, 6400], ["P9", "A7", "A7", "B8"]
    slopes = np.exp([-15.0, -5.0, -5.0, -10.0]) / ([50 * np.exp(-5), 6400, 50 * np.exp(-5), 6400])
    expected = 0.5 * np.sqrt(slopes[:, None, None, None] * clean + np.exp(-30.0))
    np.testing.assert_allclose(nf.predicted_scale(model, clean, iso, camera), expected, rtol=1e-4)
    latent = nf.sample_image(nf.GaussianNoise(1.0), clean[0], 100, 0, seed=9)
    for i in range(4):
        for given in (camera[i], model.cameras.index(camera[i])):
            noise = nf.sample_image(model, clean[i], iso[i], given, seed=9)
            np.testing.assert_allclose(noise, expected[i] * latent, rtol=1e-4)
    for wrong in ((100, "A7"), (50, "S6"), (50, 3)):
        with pytest.raises(ValueError, match="unknown"):
            nf.sample_image(model, clean[0], *wrong)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clean": np.zeros((1, 4, 4, 4))}, r"shape \[H, W, 4\]; got \[1, 4, 4, 4\]"),
        ({"clean": np.zeros((4, 4, 3))}, r"shape \[H, W, 4\]; got \[4, 4, 3\]"),
        ({"clean": np.zeros((0, 4, 4))}, r"shape \[H, W, 4\]; got \[0, 4, 4\]"),
        ({"iso": 200}, "unknown ISO 200"),
        ({"camera": "X"}, "unknown camera X"),
        ({"temperature": -1}, "temperature must be finite and not negative; got -1"),
        ({"temperature": float("inf")}, "temperature must be finite"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"seed": 2**31}, "seed must be a whole number from 0 to 2147483647; got 2147483648"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"tile": 0}, "tile must be a whole number of packed pixels, 1 or more; got 0"),
        ({"tile": 2.5}, "tile must be a whole number of packed pixels, 1 or more; got 2.5"),
    ],
)
def test_refuses_bad_requests(changed, message):
    request = {"clean": np.zeros((4, 4, 4)), "iso": 100, "camera": "S6"} | changed
    with pytest.raises(ValueError, match=message):
        nf.sample_image(MODELS["camera_nlf"](), **request)


@pytest.mark.parametrize("make", [lambda: nf.GaussianNoise(0.0), lambda: nf.GaussianNoise(-1.0)])
def test_gaussian_refuses_a_bad_stddev(make):
    with pytest.raises(ValueError, match="stddev must be positive"):
        make()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=7)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.05, variable.shape))
    path = tmp_path_factory.mktemp("models") / "saved_model"
    saved_model.save(model, path)
    return model, path


def test_saved_model_loads_as_the_model(saved):
    model, path = saved
    again = nf.load(path)
    assert again.arch == model.arch
    for ours, theirs in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_saved_model_serves_in_plain_tensorflow(saved, tmp_path):
    """Another process, which knows neither this package nor TensorFlow Probability."""
    model, path = saved
    clean = np.random.default_rng(1).uniform(size=(2, 5, 6, 4)).astype(np.float32)
    program = """
import sys, json, numpy as np, tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
clean = tf.constant(np.load(sys.argv[2]))
conditions = {"clean": clean, "iso": tf.constant([100, 3200]), "camera": tf.constant([2])}
how = {"temperature": tf.constant(1.0), "seed": tf.constant(5)}
noise = signatures["sample"](**how, **conditions)["noise"]
scale = signatures["scale"](**conditions)["scale"]
tables = {name: values.numpy().tolist() for name, values in signatures["conditions"]().items()}
tables["cameras"] = [code.decode() for code in tables["cameras"]]
log_prob = signatures["log_prob"](noise=noise, **conditions)["log_prob"]
def refusal(**changed):
    try:
        signatures["sample"](**how | conditions | changed)
    except tf.errors.InvalidArgumentError as error:
        return str(error)
refused = [refusal(iso=tf.constant([200])), refusal(camera=tf.constant([5])),
           refusal(temperature=tf.constant(-1.0))]
projects = ("noise_flow_tf", "sidd", "tensorflow_probability", "tf_keras")
alien = [name for name in sys.modules if name.startswith(projects)]
print(json.dumps({"noise": noise.numpy().tolist(), "log_prob": log_prob.numpy().tolist(),
                  "scale": scale.numpy().tolist(), "tables": tables,
                  "refused": refused, "alien": alien}))
"""
    np.save(tmp_path / "clean.npy", clean)
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(tmp_path / "clean.npy")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: v for name, v in os.environ.items() if name != "TF_USE_LEGACY_KERAS"},
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["alien"] == []
    iso, camera, temperature = told["refused"]
    assert "unknown ISO; supported ISO levels: 100, 400, 800, 1600, 3200" in iso
    assert "unknown camera; supported cameras: IP, GP, S6, N6, G4" in camera
    assert "temperature must be finite and not negative" in temperature
    assert told["tables"] == {
        "cameras": ["IP", "GP", "S6", "N6", "G4"],
        "iso_levels": [100, 400, 800, 1600, 3200],
        "iso_interpolation": False,
        "supported": [[True] * 5] * 5,
    }
    scale = nf.predicted_scale(model, clean, [100, 3200], "S6")
    np.testing.assert_allclose(told["scale"], scale, rtol=1e-5)
    expected = nf.sampling.sample_noise(model, clean, [100, 3200], "S6", seed=5)
    np.testing.assert_allclose(told["noise"], expected, atol=1e-6)
    log_prob = model(clean, [100, 3200], "S6").log_prob(expected)
    np.testing.assert_allclose(told["log_prob"], log_prob, rtol=1e-5)


def test_saved_model_signatures_by_name(saved):
    _, path = saved
    signatures = tf.saved_model.load(str(path)).signatures
    inputs = {
        name: {spec.name for spec in function.structured_input_signature[1].values()}
        for name, function in signatures.items()
    }
    image = {"clean", "iso", "camera"}
    assert inputs == {
        "sample": {*image, "temperature", "seed"},
        "log_prob": {*image, "noise"},
        "scale": image,
        "conditions": set(),
    }


def test_saved_model_keeps_cameras_and_levels_of_its_own(tmp_path):
    options = {"cameras": ["S6", "P9"], "iso_levels": [100, 800], "iso_interpolation": True}
    model = nf.NoiseFlow("S-G-CAM", seed=0, **options)
    saved_model.save(model, tmp_path / "model")
    again = nf.load(tmp_path / "model")
    assert again.condition_space == model.condition_space
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    tables = signatures["conditions"]()
    assert tables["cameras"].numpy().tolist() == [b"S6", b"P9"]
    given = {"clean": tf.fill([1, 2, 2, 4], 0.5), "camera": tf.constant([1])}
    scale = signatures["scale"](iso=tf.constant([300]), **given)["scale"]
    np.testing.assert_allclose(scale, nf.predicted_scale(model, given["clean"], 300, "P9"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="unknown ISO; supported ISO: 100 to"):
        signatures["scale"](iso=tf.constant([801]), **given)


def test_whole_images_share_one_compiled_function(monkeypatch):
    """Of TensorFlow; the compiled core needs none."""
    monkeypatch.setenv("NOISE_FLOW_CORE", "tensorflow")
    calls = []
    model = nf.NoiseFlow("S-G-CAM", seed=0)
    known = nf.NoiseFlow.__call__
    monkeypatch.setattr(nf.NoiseFlow, "__call__", lambda *a, **k: calls.append(a) or known(*a, **k))
    for size, iso, camera in (((6, 8), 100, "S6"), ((10, 4), 800, 1), ((10, 4), 800, "GP")):
        nf.sample_image(model, np.full((*size, 4), 0.5), iso, camera)
    assert len(calls) == 1
    model.iso_interpolation = True
    nf.sample_image(model, np.full((4, 4, 4), 0.5), 500, "S6")
    assert len(calls) == 2


def test_load_takes_released_checkpoints(reference):
    model = nf.load(reference / "release_checkpoint" / "model.ckpt.best")
    assert model.num_parameters == 2431


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "holds no model; give a run folder"),
        (lambda path: (path / "saved_model.pb").write_bytes(b""), "not a SavedModel of a Noise"),
        (lambda path: (path / "settings.json").write_text("{"), "settings.json cannot be read"),
        (lambda path: (path / "settings.json").write_text("[]"), "not the settings of a run"),
    ],
)
def test_load_names_what_is_wrong(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        nf.load(tmp_path)


def test_load_refuses_a_checkpoint_of_another_architecture(saved, tmp_path):
    model, path = saved
    run = RunFolder(tmp_path / "run")
    run.create({"arch": "S-G", "width": 4})
    with pytest.raises(ValueError, match="has no trained model yet"):
        nf.load(run.path)
    tf.train.Checkpoint(noise_model=model).write(str(run.best / "epoch-1"))
    settings = json.loads(run.settings.read_text())
    run.settings.write_text(json.dumps(settings | {"arch": "S-Ax4-G-Ax4-CAM"}))
    with pytest.raises(ValueError, match="cannot be read as 'S-Ax4-G-Ax4-CAM'"):
        nf.load(run.path)
