import json

import numpy as np
import pytest

import sidd
from sidd.offline import noise_physics
from sidd.offline.synthetic import camera_iso_pairs
from sidd.offline.unprocessing import (
    EXPOSURE,
    TEST_PICTURES,
    TRAIN_PICTURES,
    VEILING_GLARE,
    unprocess,
    view,
)

TINY = {"size": (32, 48), "train_instances": 2, "test_instances": 1, "progress": False}


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_layout_and_conditions(offline):
    instances = sidd.index(offline)
    numbers = sorted(sidd.TRAIN_INSTANCES[:6] + sidd.TEST_INSTANCES[:5])
    assert [instance.instance for instance in instances] == numbers
    for split in ("train", "test"):
        frames = sidd.select_frames(instances, split)
        assert {frame.camera for frame in frames} == set(sidd.CAMERAS)
        assert [frame.number for frame in frames] == [10, 11] * (len(frames) // 2)
    for frame in sidd.select_frames(instances):
        pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
        assert (pair.camera, pair.iso) == (frame.camera, frame.iso)
        assert pair.nlf == pytest.approx(noise_physics.noise_profile(frame.camera, frame.iso))
        assert pair.clean.shape == (48, 40, 4), "file orientation is the transposed one"
        assert pair.clean.min() > 1e-3 and pair.clean.max() < 0.95


def test_every_pair_of_camera_and_iso():
    pairs = camera_iso_pairs()
    assert len(pairs) == len(set(pairs)) == 22
    assert {iso for _, iso in pairs} == set(sidd.ISO_LEVELS)


def test_test_scenes_are_other_pictures():
    for column in (0, 1):
        train, test = ({row[column] for row in rows} for rows in (TRAIN_PICTURES, TEST_PICTURES))
        assert not train & test


def test_frames_share_the_scene_but_not_the_noise(train_frames):
    one, two = (sidd.read_pair(f.noisy, f.clean, f.metadata) for f in train_frames[:2])
    np.testing.assert_array_equal(one.clean, two.clean)
    assert abs(np.corrcoef(one.noise.ravel(), two.noise.ravel())[0, 1]) < 0.1


def test_the_seed_decides(tmp_path):
    one, same, other = (
        sidd.write_synthetic(tmp_path / name, seed=seed, **TINY)
        for name, seed in (("one", 5), ("same", 5), ("other", 6))
    )
    assert files(one) == files(same)
    assert files(one).keys() == files(other).keys()
    assert all(
        files(one)[name] != files(other)[name] for name in files(one) if "NOISY" in name.name
    )


def test_a_crash_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk on fire")

    monkeypatch.setattr("sidd.offline.synthetic.write_metadata", fail)
    with pytest.raises(RuntimeError, match="disk on fire"):
        sidd.write_synthetic(tmp_path / "sidd", **TINY)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(sidd.SiddError, match="exists and is not an empty folder"):
        sidd.write_synthetic(tmp_path, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_ensure_writes_once_and_refuses_other_settings(tmp_path):
    root = tmp_path / "sidd"
    root.mkdir()
    assert sidd.read_manifest(root) is None
    sidd.write_synthetic(root, exist_ok=True, **TINY)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    sidd.write_synthetic(root, exist_ok=True, **TINY)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert sidd.read_manifest(root)["seed"] == 0
    with pytest.raises(sidd.SiddError, match=r"other settings: .*'seed': 0.*wanted .*'seed': 1"):
        sidd.write_synthetic(root, seed=1, exist_ok=True, **TINY)
    (root / "synthetic.json").write_text(json.dumps({})[:1])
    with pytest.raises(sidd.SiddError, match="not JSON"):
        sidd.write_synthetic(root, exist_ok=True, **TINY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (33, 48)}, r"even and at least 8; got \(33, 48\)"),
        ({"train_instances": 57}, "train_instances must be 0 to 56; got 57"),
        ({"train_instances": 0, "test_instances": 0}, "nothing to write"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_wrong_settings(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        sidd.write_synthetic(tmp_path / "sidd", **(TINY | arguments))


@pytest.mark.parametrize("camera", sidd.CAMERAS)
def test_rendering_gives_the_picture_back(camera):
    linear = view("chelsea.png", (120, 160), np.random.default_rng(0))
    metadata = sidd.typical_metadata(camera, 100, illuminant=4400)
    clean = unprocess(linear, camera, 4400, "H")
    rendered = sidd.render_packed(sidd.pack(clean.T), metadata) / 255
    exposed = EXPOSURE["H"] * (VEILING_GLARE + (1 - VEILING_GLARE) * linear)
    np.testing.assert_allclose(
        (rendered**2.2).mean(axis=(0, 1)), exposed.mean(axis=(0, 1)), rtol=0.03
    )
    assert np.sqrt(np.mean((rendered - exposed ** (1 / 2.2)) ** 2)) < 0.04


def flat_noise(camera, iso, level, size=600, seed=0):
    clean = np.full((size, size), level)
    return noise_physics.expose(clean, camera, iso, np.random.default_rng(seed)) - clean


@pytest.mark.parametrize(("camera", "iso"), camera_iso_pairs())
def test_variance_is_the_true_profile_not_the_stated_one(camera, iso):
    level = 0.5
    noise = flat_noise(camera, iso, level)
    a, b = noise_physics.true_profile(camera, iso)
    step = 2.0**-noise_physics.BIT_DEPTH
    assert noise.var() == pytest.approx(a * level + b + step**2 / 12, rel=0.03)
    assert abs(noise.mean()) < 5 * noise.std() / 600 + 1e-4
    beta1, beta2 = noise_physics.noise_profile(camera, iso)
    assert not 0.7 < noise.var() / (beta1 * level + beta2) < 1.5


@pytest.mark.parametrize("camera", sidd.CAMERAS)
def test_neighbours_are_correlated_as_the_kernel_says(camera):
    noise = flat_noise(camera, 800, 0.5)
    noise /= noise.std()
    along, across = noise_physics.SENSORS[camera].crosstalk
    for found, leak in (
        ((noise[:, 1:] * noise[:, :-1]).mean(), along),
        ((noise[1:] * noise[:-1]).mean(), across),
    ):
        assert found == pytest.approx(2 * leak / (1 + 2 * leak**2), abs=0.015)
        assert 0.2 < found < 0.42
    assert abs((noise[:, 3:] * noise[:, :-3]).mean()) < 0.015


def test_rows_share_an_offset_in_the_dark():
    noise = flat_noise("G4", 800, 0.02)
    rows, columns = noise.mean(axis=1).var(), noise.mean(axis=0).var()
    read = 0.6 * noise_physics.noise_profile("G4", 800)[1]
    assert rows - columns == pytest.approx(0.35**2 * read, rel=0.3)


def test_read_noise_has_variance_one_and_heavy_tails():
    variates = noise_physics.tukey_lambda((1000, 1000), np.random.default_rng(0))
    assert variates.var() == pytest.approx(1, abs=0.02)
    assert (variates**4).mean() > 4, "3 is a Gaussian's"


def test_values_are_steps_of_the_converter_in_range():
    noisy = flat_noise("N6", 3200, 0.02) + 0.02
    assert noisy.min() == 0 and noisy.max() <= 1
    steps = noisy * 2**noise_physics.BIT_DEPTH
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert np.mean(noisy == 0) > 0.05, "clipped at black"
