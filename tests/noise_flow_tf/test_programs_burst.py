"""noise-flow burst as a program: what it writes and what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sidd
from noise_flow_tf.cli import burst as cli
from noise_flow_tf.programs import burst
from noise_flow_tf.programs.configs import BurstConfig
from noise_flow_tf.saving import file_system
from sidd.raw.calibration import read_calibrations
from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst

SENSOR = SimulatedSensor(blinking=1e-4, hot=1e-4)
SHAPE = (256, 320)


def write_scene(folder, number, level, **other):
    clean = textured_scene(SHAPE, number) * np.float32(level)
    return write_burst(folder, SENSOR, clean, 5, number, **other)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    root = tmp_path_factory.mktemp("shots")
    profile = np.broadcast_to([8e-4, 3e-6], (2, 2, 2))
    for number, level in enumerate((0.1, 0.9)):
        write_scene(root / "iso100" / f"scene{number}", number, level, noise_profile=profile)
        write_scene(root / "iso400" / f"scene{number}", 5 + number, level, iso=400)
    (root / "iso100" / "scene0" / "frame.JPG").write_text("a jpeg")
    write_burst(root / "darks", SENSOR, np.zeros(SHAPE, np.float32), 5, 20)
    return root


@pytest.fixture(scope="module")
def config(shots, tmp_path_factory):
    return BurstConfig(
        bursts=[str(shots / "iso100"), str(shots / "iso400")],
        darks=str(shots / "darks"),
        camera="A7C2",
        out=str(tmp_path_factory.mktemp("out") / "pairs"),
        pairs_per_burst=2,
    )


@pytest.fixture(scope="module")
def left(config):
    """What a killed process has left where the results come."""
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    ending = f"{file_system.place()}-{killed.pid}.tmp"
    out = Path(config.out)
    left = [out / f".Data.{ending}", out / f"pictures/.lines_100.png.{ending}"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half").touch()
    return left


@pytest.fixture(scope="module")
def result(config, left):
    return burst.run(config)


def test_what_a_killed_process_has_left_is_removed(result, left):
    assert not [folder for folder in left if folder.exists()]


def test_calibrations_by_iso(result):
    assert list(result.calibrations) == [100, 400]
    for one in result.calibrations.values():
        assert np.allclose(one.slope, SENSOR.slope, rtol=0.04)
        assert np.allclose(one.offset, SENSOR.offset, rtol=0.1)
    assert result.calibrations[100].read is not None
    assert result.calibrations[400].read is None
    assert result.calibrations == read_calibrations(result.pairs / "calibration.json")


def test_pairs_of_all_bursts(result):
    instances = sidd.index(result.pairs)
    assert [(one.instance, one.iso, one.camera) for one in instances] == [
        (1, 100, "A7C2"), (2, 100, "A7C2"), (3, 400, "A7C2"), (4, 400, "A7C2")
    ]  # fmt: skip
    for instance in instances:
        assert len(instance.frames) == 2
        pair = sidd.read_pair(*instance.frames[0].files, camera="A7C2")
        assert pair.metadata.unclipped
        assert pair.nlf == pytest.approx(result.calibrations[instance.iso].nlf)
        variance = SENSOR.slope * pair.clean.mean() + SENSOR.offset
        assert np.nanvar(pair.noise) == pytest.approx(variance, rel=0.05)


def test_report(result):
    text = (result.pairs / "report.md").read_text()
    for part in ("ISO 100", "NoiseProfile disagrees", "row noise", "Tukey lambda", "patches with"):
        assert part in text
    numbers = json.loads((result.pairs / "report.json").read_text())
    assert [one["iso"] for one in numbers["isos"]] == [100, 400]
    assert len(numbers["pairs"]) == 4
    names = {path.name for path in (result.pairs / "pictures").iterdir()}
    assert {"photon_transfer_100.png", "darks_100.png", "masked_400.png", "lines_400.png"} <= names


def test_results_are_not_overwritten_unasked(result, config):
    with pytest.raises(ValueError, match="has pairs already; give --overwrite"):
        burst.run(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera": "a7"}, "2 to 8 capital letters"),
        ({"bursts": ["nothing"]}, "nothing: no such folder"),
        ({"min_frames": 6}, r"5 frames, and at least 6 are needed"),
        ({"iso": 200}, "states ISO 100, not 200"),
        ({"darks": "scene"}, "light in them"),
        ({"darks": "other"}, "darks are of ISO 800, the bursts of ISO 100, 400"),
    ],
)
def test_refusals(config, shots, tmp_path, change, message):
    if change.get("darks") == "scene":
        change = {"darks": str(shots / "iso100" / "scene1")}
    elif "darks" in change:
        dark = write_burst(tmp_path / "d", SENSOR, np.zeros(SHAPE, np.float32), 5, 3, iso=800)
        change = {"darks": str(dark)}
    with pytest.raises(ValueError, match=message):
        burst.run(replace(config, out=str(tmp_path / "out"), **change))
    assert not (tmp_path / "out").exists()


def test_two_cameras_are_refused(config, shots, tmp_path):
    other = write_scene(tmp_path / "other", 3, 0.5, model="Another")
    bursts = [*config.bursts, str(other)]
    with pytest.raises(ValueError, match="of Simulated Another, but .* of Simulated Sensor"):
        burst.run(replace(config, bursts=bursts, out=str(tmp_path / "out")))


def test_arrays_need_an_iso(config, tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    random = np.random.default_rng(0)
    clean = textured_scene(SHAPE)
    for number in range(5):
        noise = np.sqrt(1e-3 * clean + 1e-5) * random.standard_normal(SHAPE)
        np.save(folder / f"{number}.npy", (clean * 0.8 + noise).astype(np.float32))
    changes = {"bursts": [str(folder)], "darks": None, "out": str(tmp_path / "out")}
    with pytest.raises(ValueError, match="do not state the ISO; give --iso"):
        burst.run(replace(config, **changes))
    found = burst.run(replace(config, **changes, iso=200))
    assert found.calibrations[200].bursts == 1


def test_options():
    config = cli.parse(["a", "b", "--camera", "A7", "--max-shift", "0.1"], "noise-flow burst")
    assert config.bursts == ["a", "b"] and config.max_shift == 0.1 and config.min_frames == 5
