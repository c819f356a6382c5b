"""The fitted baselines: known answers, files, refusals."""

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import noise_flow_tf as nf
from noise_flow_tf import evaluation
from noise_flow_tf.baselines.moments import moments
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.loading import load_flow

CAMERAS = ("S6", "A7")
PAIRS = (("S6", 100), ("S6", 800), ("A7", 400))
LEVELS = {"cameras": CAMERAS, "iso_levels": (100, 400, 800), "camera_levels": [(100, 800), (400,)]}

NLF = nf.FittedNLF(
    {
        "log_beta1": np.log([[3e-4, 1.0, 2e-3], [1.0, 1e-3, 1.0]]),
        "log_beta2": np.log([[2e-6, 1.0, 5e-5], [1.0, 1e-5, 1.0]]),
    },
    **LEVELS,
)
SHARED = nf.SharedNLF(
    {"log_gain": [-8.0, -8.3], "log_read": [-12.5, -11.5], "read_slope": [1.4, 0.0]}, **LEVELS
)
KNOWN = {"fitted_nlf": NLF, "shared_nlf": SHARED}


def drawn_from(model, images=6, size=16, patches=8, seed=0):
    """Batches with noise of a model, each of one of `PAIRS`."""
    rng = np.random.default_rng(seed)
    for image in range(images):
        code, iso = PAIRS[image % len(PAIRS)]
        clean = rng.uniform(0, 0.5, (patches, size, size, 4)).astype(np.float32) ** 2
        camera = CAMERAS.index(code)
        yield {
            "clean": clean,
            "noise": model(clean, iso, camera).sample(seed=(seed, image)).numpy(),
            "iso": np.full(patches, iso, np.int32),
            "camera": np.full(patches, camera, np.int32),
            "nlf": np.ones((patches, 2), np.float32),
            "frame": np.full(patches, image, np.int32),
        }


@pytest.fixture(scope="module", params=KNOWN)
def known(request):
    return KNOWN[request.param]


@pytest.fixture(scope="module")
def noise_of(known):
    return list(drawn_from(known, 24, seed=1))


@pytest.fixture(scope="module")
def fitted(known, noise_of):
    return type(known).fit(noise_of, CAMERAS)


def test_conditions_are_those_of_the_noise(fitted, known):
    assert fitted.condition_space == known.condition_space
    assert fitted.num_parameters == {"fitted_nlf": 6, "shared_nlf": 6}[known.kind]


def test_its_own_noise_has_its_entropy(known, fitted):
    """The mean NLL of other noise of the model is its entropy, for it and for what was fitted."""
    held_out = list(drawn_from(known, 30, seed=2))
    scores = evaluation.evaluate({"known": known, "fitted": fitted}, as_tensors(held_out))
    rows = []
    for batch in held_out:
        scale = nf.predicted_scale(known, batch["clean"], batch["iso"], batch["camera"])
        rows.append(np.mean(0.5 * np.log(2 * np.pi * np.e * np.square(scale.numpy(), dtype=float))))
    count = sum(batch["noise"].size for batch in held_out)
    error = np.sqrt(0.5 / count)
    for name in ("known", "fitted"):
        assert abs(scores[name]["nll"] - np.mean(rows)) < 3 * error


@pytest.mark.parametrize("pair", PAIRS)
def test_parameters_of_each_condition_are_recovered(pair):
    """Within 3 standard errors, which are those of the Fisher information."""
    batches = list(drawn_from(NLF, 24, seed=1))
    fitted = nf.FittedNLF.fit(batches, CAMERAS)
    code, iso = pair
    camera, level = CAMERAS.index(code), LEVELS["iso_levels"].index(iso)
    true, found = (
        np.array([model.parameters[name].numpy()[camera, level] for name in NLF.parameters])
        for model in (NLF, fitted)
    )
    of = moments(batches, CAMERAS)[camera, iso]
    terms = np.exp(true)[:, None] * np.stack([of.intensity, np.ones_like(of.intensity)])
    relative = terms / terms.sum(0)
    information = (0.5 * of.number * relative) @ relative.T
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    assert np.all(np.abs(found - true) < 3 * error), (found - true) / error
    assert np.all(error < 0.05)


def test_shared_parameters_are_recovered():
    batches = list(drawn_from(SHARED, 24, seed=1))
    fitted = nf.SharedNLF.fit(batches, CAMERAS)
    for camera in (0, 1):
        true, found = (
            np.array([value.numpy()[camera] for value in model.parameters.values()])
            for model in (SHARED, fitted)
        )
        information = np.zeros((3, 3))
        for (of_camera, iso), of in moments(batches, CAMERAS).items():
            if of_camera == camera:
                level = np.log(iso / 100)
                shot = np.exp(true[0] + level) * of.intensity
                read = np.exp(true[1] + true[2] * level) * np.ones_like(of.intensity)
                relative = np.stack([shot, read, level * read]) / (shot + read)
                information += (0.5 * of.number * relative) @ relative.T
        free = 3 if camera == 0 else 2  # a single level has no slope
        error = np.sqrt(np.diag(np.linalg.inv(information[:free, :free])))
        if camera == 1:
            true = np.array([true[0], true[1]])
        assert np.all(np.abs(found[:free] - true[:free]) < 3 * error)
    assert fitted.parameters["read_slope"].numpy()[1] == 0


def test_a_density_of_known_form():
    clean = np.random.default_rng(3).uniform(size=(2, 3, 5, 4)).astype(np.float32)
    noise = np.float32(0.05) * np.random.default_rng(4).normal(size=clean.shape).astype(np.float32)
    variance = {
        "fitted_nlf": np.stack([3e-4 * clean[0] + 2e-6, 1e-3 * clean[1] + 1e-5]),
        "shared_nlf": np.stack(
            [
                np.exp(-8.0) * clean[0] + np.exp(-12.5),
                4 * np.exp(-8.3) * clean[1] + np.exp(-11.5),
            ]
        ),
    }
    for name, model in KNOWN.items():
        expected = stats.norm.logpdf(noise, 0, np.sqrt(variance[name])).sum(axis=(1, 2, 3))
        p = model(clean, [100, 400], ["S6", "A7"])
        np.testing.assert_allclose(p.log_prob(noise), expected, rtol=1e-5)
        scale = nf.predicted_scale(model, clean, [100, 400], ["S6", "A7"])
        np.testing.assert_allclose(scale, np.sqrt(variance[name]), rtol=1e-5)


def test_what_it_was_not_fitted_on_is_refused(known):
    clean = np.full((1, 4, 4, 4), 0.2, np.float32)
    with pytest.raises(ValueError, match="camera S6 has no ISO 400 .*supported for S6: 100, 800"):
        known(clean, 400, "S6")
    with pytest.raises(ValueError, match="unknown camera GP; supported cameras: S6, A7"):
        known(clean, 400, "GP")
    with pytest.raises(ValueError, match="unknown ISO 200"):
        nf.sample_image(known, clean[0], 200, "S6")


def test_files_give_the_same_model(known, fitted, noise_of, tmp_path):
    nf.save_baseline(fitted, tmp_path / "a")
    again = nf.load(tmp_path / "a")
    assert type(again) is type(fitted) and again.condition_space == fitted.condition_space
    for batch in noise_of[:3]:
        p, q = (m(batch["clean"], batch["iso"], batch["camera"]) for m in (fitted, again))
        np.testing.assert_array_equal(p.log_prob(batch["noise"]), q.log_prob(batch["noise"]))
        np.testing.assert_array_equal(p.sample(seed=(1, 2)), q.sample(seed=(1, 2)))
    nf.save_baseline(known, tmp_path / "a")  # in place of the earlier one
    assert nf.load(tmp_path / "a").arguments() == known.arguments()
    with pytest.raises(ValueError, match=f"a is a {known.kind} baseline; give a model of"):
        load_flow(tmp_path / "a")


def test_damaged_and_foreign_files_are_refused(tmp_path):
    nf.save_baseline(NLF, tmp_path / "a")
    path = tmp_path / "a" / "baseline.json"
    good = json.loads(path.read_text())
    for change, message in (
        ({"baseline": "other"}, "baseline.json is not a fitted baseline: 'other'"),
        ({"parameters": {}}, "has the parameters log_beta1, log_beta2; got"),
        ({"format": 99}, "has format 99"),
        ({"cameras": ["S6"]}, "camera_levels must be levels for each of the 1 cameras; got 2"),
        (
            {"parameters": {**good["parameters"], "log_beta1": [[1.0]]}},
            r"log_beta1 of fitted_nlf must be finite numbers of shape \[2, 3\]; got shape \[1, 1\]",
        ),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(ValueError, match=message):
            nf.load(tmp_path / "a")
    path.write_text("{")
    with pytest.raises(ValueError, match="baseline.json is not a fitted baseline"):
        nf.load(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="b holds other files than a baseline"):
        nf.save_baseline(NLF, tmp_path / "b")
    with pytest.raises(ValueError, match="a NoiseFlow is no fitted baseline"):
        nf.save_baseline(nf.NoiseFlow("S-G"), tmp_path / "c")


@pytest.mark.parametrize("kind", BASELINES)
def test_wrong_data_is_refused(kind):
    fit = BASELINES[kind].model_class.fit
    (batch,) = drawn_from(NLF, 1)
    with pytest.raises(ValueError, match="there is no noise to fit: the batches are empty"):
        fit([], CAMERAS)
    with pytest.raises(ValueError, match="give a dataset or a list, no iterator"):
        fit(iter([batch]), CAMERAS)
    with pytest.raises(ValueError, match="the noise of a batch holds NaN"):
        fit([batch | {"noise": np.full_like(batch["noise"], np.nan)}], CAMERAS)
    with pytest.raises(ValueError, match="noise and clean of a batch must have one shape"):
        fit([batch | {"noise": batch["noise"][:, 1:]}], CAMERAS)
    with pytest.raises(ValueError, match="ISO must be positive whole numbers"):
        fit([batch | {"iso": np.full(8, 100.5)}], CAMERAS)
    with pytest.raises(ValueError, match="there is no noise of camera A7 to fit"):
        fit([batch], CAMERAS)
    with pytest.raises(ValueError, match=r"unknown camera \[1"):
        fit([batch | {"camera": np.ones(8, int)}], ["S6"])
    with pytest.raises(ValueError, match="camera S6 at ISO 100 is 0 everywhere"):
        fit([batch | {"noise": np.zeros_like(batch["noise"])}], ["S6"])


def as_tensors(batches):
    return [{name: tf.constant(value) for name, value in batch.items()} for batch in batches]
