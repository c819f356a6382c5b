import hashlib
import inspect
import json

import numpy as np
import pytest

import sidd
from sidd.offline import noise_physics, synthetic
from sidd.offline.pictures import TEST_PICTURES, TRAIN_PICTURES
from sidd.offline.synthetic import camera_iso_pairs

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


def test_the_images_are_those_of_every_version(offline):
    """Instance, mean and one corner of the clean image, standard deviation of the noise."""
    expected = [
        (4, 0.16331, 0.03177, 0.004763),
        (11, 0.17809, 0.0061, 0.021876),
        (13, 0.07325, 0.17287, 0.010483),
        (17, 0.18742, 0.00645, 0.05956),
        (18, 0.10672, 0.0045, 0.009455),
        (20, 0.10933, 0.03743, 0.007708),
        (54, 0.10367, 0.13803, 0.003877),
        (55, 0.06463, 0.01929, 0.013142),
        (57, 0.13964, 0.0555, 0.014457),
        (59, 0.13189, 0.10417, 0.050316),
        (60, 0.0702, 0.03719, 0.007777),
    ]
    frames = sidd.select_frames(sidd.index(offline), frame_range=(10, 11))
    for frame, numbers in zip(frames, expected, strict=True):
        pair = sidd.read_pair(*frame.files)
        actual = (frame.instance, pair.clean.mean(), pair.clean[0, 0, 0], pair.noise.std())
        assert actual == pytest.approx(numbers, rel=2e-3)


def test_every_pair_of_camera_and_iso():
    pairs = camera_iso_pairs()
    assert len(pairs) == len(set(pairs)) == 22
    assert {iso for _, iso in pairs} == set(sidd.ISO_LEVELS)
    defaults = inspect.signature(sidd.write_synthetic).parameters
    numbers = [defaults[name].default for name in ("train_instances", "test_instances")]
    assert defaults["size"].default == (320, 448)
    assert numbers == [2 * 22, 22], "each pair appears twice in training and once in testing"


def test_the_plan_is_what_it_was_in_every_version():
    """Instances, scenes, cameras, ISO levels, light and pictures: else older results differ."""
    plan = [f"{name} {picture}" for name, picture in synthetic._plan(56, 22)]
    assert plan[0] == "0004_001_IP_00100_00092_3200_N astronaut.png"
    assert plan[-1] == "0199_008_N6_00800_00522_4400_H rocket.jpg"
    digest = hashlib.sha256("\n".join(plan).encode()).hexdigest()
    assert digest == "ec8be924e93183084fb6d99d7d787c7096bc6afa9b9b83b1ee2c4e37ac5d1595"


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
    numbers = {"train_instances": 2, "test_instances": 1}
    assert sidd.read_manifest(root) == {"version": 1, "seed": 0, "size": [32, 48], **numbers}
    with pytest.raises(sidd.SiddError, match=r"other settings: .*'seed': 0.*wanted .*'seed': 1"):
        sidd.write_synthetic(root, seed=1, exist_ok=True, **TINY)
    (root / "synthetic.json").write_text(json.dumps({})[:1])
    with pytest.raises(sidd.SiddError, match="not JSON"):
        sidd.write_synthetic(root, exist_ok=True, **TINY)


def test_metadata_of_an_unknown_light_or_iso():
    with pytest.raises(ValueError, match="unknown illuminant 5000; allowed: 3200, 4400, 5500"):
        sidd.typical_metadata("IP", 100, 5000)
    for iso in (0, -100, float("nan")):
        with pytest.raises(ValueError, match=f"ISO must be positive; got {iso}"):
            sidd.typical_metadata("IP", iso)


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
