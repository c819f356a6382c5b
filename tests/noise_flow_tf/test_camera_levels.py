"""Which camera has which ISO level, at every door: others are refused in one line."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf import native
from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.denoising import sources
from noise_flow_tf.programs import evaluate, sample, train
from noise_flow_tf.programs.configs import SampleConfig, TrainConfig
from noise_flow_tf.programs.sampling_plan import Item
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.run_folder import RunFolder

CLEAN = np.full([1, 4, 4, 4], 0.25, np.float32)
NOISE = np.full([1, 4, 4, 4], 0.01, np.float32)
OLD = r"camera S6 has no ISO 6400 \(cameras with this level: A7\); supported for S6: 100, 400, 800"
NEW = r"camera A7 has no ISO 800 \(.*: IP, GP, S6, N6, G4\); supported for A7: 200, 6400$"
REFUSED = [(6400, "S6"), (800, "A7"), (200, 2)]


def model(arch="sdn5|unc|gain4", **options):
    base = nf.NoiseFlow(arch, seed=0, **options)
    return base.with_camera("A7", [200, 6400])


@pytest.mark.parametrize(("iso", "camera", "message"), [(6400, "S6", OLD), (800, "A7", NEW)])
def test_each_door_names_camera_and_level(iso, camera, message, tmp_path):
    flow = model()
    nf.save_npz(flow, tmp_path / "model.npz")
    npz = native.load(tmp_path / "model.npz")
    frame = SimpleNamespace(camera=camera, iso=iso)
    config = SampleConfig(model="m", clean="a.npy", iso=iso, camera=camera)
    doors = {
        "call": lambda: flow(CLEAN, iso, camera),
        "one of a batch": lambda: flow(np.tile(CLEAN, (2, 1, 1, 1)), iso, ["G4", camera]),
        "constants in a graph": tf.function(lambda: flow(CLEAN, iso, camera).log_prob(NOISE)),
        "scale": lambda: nf.predicted_scale(flow, CLEAN, iso, camera),
        "image": lambda: nf.sample_image(flow, CLEAN[0], iso, camera),
        "keras": lambda: nf.NoiseFlowLayer(flow, conditions=[(iso, camera)]),
        "denoiser": lambda: sources.ModelNoise(flow, [(camera, iso)]),
        "evaluate": lambda: evaluate.check_known([frame], flow.condition_space),
        "sample": lambda: sample.plan(config, [Item(tmp_path / "a.npy", "a")], flow),
    }
    for door in doors.values():
        with pytest.raises(ValueError, match=message.removesuffix("$")) as error:
            door()
        assert "\n" not in str(error.value) or "in user code" in str(error.value)
    short = message.split(r" \(")[0]
    for call in (npz.sample, lambda *given: npz.log_prob(NOISE, *given)):
        with pytest.raises(ValueError, match=f"{short}; supported for {camera}: "):
            call(CLEAN, iso, camera)


@pytest.mark.parametrize(("iso", "camera"), REFUSED)
def test_refused_in_a_graph_and_nan_under_xla(iso, camera):
    flow = model()
    index = int(flow.condition_space.camera_index(camera))

    def log_prob(iso, camera):
        return flow(CLEAN, iso, camera).log_prob(NOISE)

    given = tf.constant([iso]), tf.constant([index])
    with pytest.raises(tf.errors.InvalidArgumentError, match="a camera does not have this ISO"):
        tf.function(log_prob)(*given)
    by_xla = tf.function(log_prob, jit_compile=True)
    assert np.isnan(by_xla(*given)).all()
    right = tf.constant([6400]), tf.constant([5])
    np.testing.assert_allclose(by_xla(*right), log_prob(*right), rtol=1e-5)


def test_between_two_levels_of_the_camera(tmp_path):
    """A level that another camera has does not change what lies between two of one's own."""
    before = nf.NoiseFlow("sdn5|unc|gain4", seed=0, iso_interpolation=True)
    before.layers[0].gain_params.assign(-5 + np.random.default_rng(0).normal(0, 0.3, 5))
    flow = before.with_camera("A7", [200, 640, 6400])
    flow.layers[0].gain_params[1].assign(9.0)  # ISO 200, which is the new camera's
    np.testing.assert_array_equal(
        flow(CLEAN, 250, "S6").log_prob(NOISE), before(CLEAN, 250, "S6").log_prob(NOISE)
    )
    iso = tf.constant([250.0])
    log_prob = tf.function(lambda iso, camera: flow(CLEAN, iso, camera).log_prob(NOISE))
    expected = flow(CLEAN, iso, "A7").log_prob(NOISE)
    np.testing.assert_allclose(log_prob(iso, tf.constant([5])), expected, rtol=1e-6)
    nf.save_npz(flow, tmp_path / "model.npz")
    npz = native.load(tmp_path / "model.npz")
    for camera in ("S6", "A7"):
        np.testing.assert_allclose(
            npz.log_prob(NOISE, CLEAN, 250, camera),
            flow(CLEAN, 250, camera).log_prob(NOISE),
            rtol=1e-5,
        )
    for wrong, camera in ((5000, "S6"), (150, "A7")):
        with pytest.raises(ValueError, match=f"{camera} has no ISO {wrong}.* and values between"):
            flow(CLEAN, wrong, camera)
        with pytest.raises(ValueError, match=f"{camera} has no ISO {wrong}.* and values between"):
            npz.sample(CLEAN, wrong, camera)
        with pytest.raises(tf.errors.InvalidArgumentError):
            log_prob(tf.constant([float(wrong)]), flow.condition_space.camera_index([camera]))


def test_advice_to_interpolate_between_own_levels_alone():
    with pytest.raises(ValueError, match="with iso_interpolation also values between them"):
        model()(CLEAN, 200, "S6")
    with pytest.raises(ValueError, match="3200$"):
        model()(CLEAN, 6400, "S6")


def test_saved_and_loaded(tmp_path):
    flow = model()
    saved_model.save(flow, tmp_path / "saved")
    run = RunFolder(tmp_path / "run")
    run.create(saved_model.recipe(flow))
    tf.train.Checkpoint(noise_model=flow).write(str(run.best / "kept-0"))
    layer = nf.NoiseFlowLayer(flow, conditions=[(6400, "A7")], seed=0)
    of_layer = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    for again in (nf.load(tmp_path / "saved"), nf.load(tmp_path / "run"), of_layer.noise_model):
        assert again.condition_space == flow.condition_space
    trainer = nf.Trainer(flow, "A7")
    assert trainer.from_config(trainer.get_config()).noise_model.camera_levels[-1] == (200, 6400)


def test_settings_and_weights_of_earlier_versions(tmp_path):
    """They do not say which camera has which level: all have all."""
    flow = nf.NoiseFlow("S-G-CAM", seed=0)
    run = RunFolder(tmp_path / "run")
    settings = saved_model.recipe(flow)
    assert settings.pop("camera_levels") == ()
    run.create(settings)
    tf.train.Checkpoint(noise_model=flow).write(str(run.best / "kept-0"))
    assert nf.load(tmp_path / "run").condition_space == ConditionSpace()
    nf.save_npz(flow, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    assert about.pop("camera_levels") == []
    np.savez(tmp_path / "b.npz", **arrays | {"about": json.dumps(about)})
    assert native.load(tmp_path / "b.npz").sample(CLEAN, 800, "S6").shape == CLEAN.shape


def test_saved_model_says_which_camera_has_which_level(tmp_path):
    saved_model.save(model(), tmp_path / "saved")
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    told = signatures["conditions"]()
    assert told["iso_levels"].numpy().tolist() == [100, 200, 400, 800, 1600, 3200, 6400]
    of_old, of_new = [True, False, True, True, True, True, False], [False, True] + [False] * 4
    assert told["supported"].numpy().tolist() == [of_old] * 5 + [[*of_new, True]]
    given = {"noise": tf.constant(NOISE), "clean": tf.constant(CLEAN)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="a camera does not have this ISO"):
        signatures["log_prob"](**given, iso=tf.constant([6400]), camera=tf.constant([2]))


def test_denoisers_draw_pairs_that_the_model_has():
    table = dict.fromkeys([("S6", 100), ("S6", 6400), ("A7", 6400), ("A7", 100)], (0.1, 0.1))
    noise = sources.SOURCES["noise_flow"].make(table, model())
    assert (noise._cameras.tolist(), noise._isos.tolist()) == ([2, 5], [100, 6400])


def test_shows_what_each_camera_has_learned():
    slopes = model("nlf|unc").summaries()["NLF slope"]
    assert len(slopes) == 5 * 5 + 2
    assert {"A7, ISO 200", "S6, ISO 100"} <= slopes.keys()
    assert not {"A7, ISO 100", "S6, ISO 200"} & slopes.keys()


def test_without_levels_a_camera_has_all_of_the_models():
    flow = nf.NoiseFlow("S-G-CAM", seed=0).with_camera("A7")
    assert flow.camera_levels == ()
    assert nf.NoiseFlow("S-G-CAM").with_camera("A7", nf.ISO_LEVELS).camera_levels == ()
    later = model().with_camera("B8")
    assert later.camera_levels[-2:] == ((200, 6400), later.iso_levels)


def test_a_fresh_model_has_the_pairs_of_its_frames():
    frames = [SimpleNamespace(camera=c, iso=i) for c, i in (("S6", 100), ("A7", 200), ("A7", 400))]
    space = train.make_model(TrainConfig(), frames).condition_space
    assert space.iso_levels == (100, 200, 400, 800, 1600, 3200)
    assert space.levels_of("GP") == nf.ISO_LEVELS
    assert space.levels_of("A7") == (200, 400)
    own = train.make_model(TrainConfig(), frames[1:]).condition_space
    assert (own.cameras, own.iso_levels, own.camera_levels) == (("A7",), (200, 400), ())


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (((100,),), "camera_levels must be levels for each of the 2 cameras; got 1"),
        (((100,), ()), "camera_levels of B8 must be some of the ISO levels 100, 400.*got none"),
        (((400, 100), (100,)), "camera_levels of A7 .*rising; got 400, 100"),
        (((100,), (200,)), "camera_levels of B8 .*; got 200"),
    ],
)
def test_refuses_levels_of_cameras(levels, message):
    with pytest.raises(ValueError, match=message):
        nf.NoiseFlow("S-G", cameras=["A7", "B8"], iso_levels=[100, 400], camera_levels=levels)
