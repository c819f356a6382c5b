"""Reading and checking bursts: folders, settings, duplicates, movement, brightness."""

import shutil

import numpy as np
import pytest

from sidd.errors import SiddError
from sidd.raw import alignment
from sidd.raw.bursts import Burst, find_bursts, read_burst
from sidd.raw.calibrating import prepare
from sidd.raw.calibration import Calibration, read_calibrations, write_calibrations
from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst
from tests.simulated_bursts import prepared, simulate

SENSOR = SimulatedSensor()
CLEAN = textured_scene((128, 160), 3) * np.float32(0.5)


@pytest.fixture
def folder(tmp_path):
    return write_burst(tmp_path / "scene", SENSOR, CLEAN, 3)


def frames(folder):
    return sorted(folder.glob("frame*.dng"))


def test_a_burst_is_read(folder):
    burst = read_burst(frames(folder))
    assert burst.levels.shape == (3, 128, 160) and burst.levels.dtype == np.uint16
    assert (burst.iso, burst.white, burst.black[0, 0]) == (100, 16383, 512)
    expected = simulate(SENSOR, CLEAN, 3)
    np.testing.assert_array_equal(burst.levels, expected.levels)
    image = (burst.levels[1].astype(float) - 512) / (16383 - 512)
    np.testing.assert_allclose(burst.frame(1, np.ones((3, 2, 2))), image, atol=1e-6)


def test_pictures_and_hidden_files_are_left_out(folder):
    (folder / "frame_000.JPG").write_text("a jpeg")
    (folder / ".frame.dng").write_text("half a file")
    ((path, found, note),) = find_bursts([folder.parent])
    assert path == folder and found == frames(folder)
    assert "frame_000.JPG" in note


def test_folders_that_are_no_bursts(folder, tmp_path):
    with pytest.raises(SiddError, match="no such folder"):
        find_bursts([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SiddError, match="no frames"):
        find_bursts([tmp_path / "empty"])
    with pytest.raises(SiddError, match="given twice"):
        find_bursts([folder, tmp_path])
    shutil.copy(frames(folder)[0], tmp_path / "frame.dng")
    with pytest.raises(SiddError, match="folder of its own"):
        find_bursts([tmp_path])


@pytest.mark.parametrize(
    ("other", "what"),
    [({"iso": 200}, "iso"), ({"exposure": 0.5}, "exposure"), ({"model": "Other"}, "model")],
)
def test_mixed_settings_are_refused_by_name(folder, tmp_path, other, what):
    write_burst(tmp_path / "other", SENSOR, CLEAN, 1, seed=1, **other)
    shutil.copy(tmp_path / "other" / "frame_000.dng", folder / "frame_999.dng")
    with pytest.raises(SiddError, match=f"frame_999.dng: its {what} is .*one setting"):
        read_burst(frames(folder))


def test_another_size_is_refused(folder, tmp_path):
    write_burst(tmp_path / "other", SENSOR, CLEAN[:64], 1)
    shutil.copy(tmp_path / "other" / "frame_000.dng", folder / "frame_999.dng")
    with pytest.raises(SiddError, match="its size is"):
        read_burst(frames(folder))


def test_equal_frames_are_refused(folder):
    shutil.copy(frames(folder)[0], folder / "frame_copy.dng")
    with pytest.raises(SiddError, match=r"frame_copy.dng and frame_000.dng have equal pixels"):
        read_burst(frames(folder))


def test_arrays_of_intensities(tmp_path):
    burst = simulate(SENSOR, CLEAN, 3)
    intensities = burst.intensities(slice(0, 128))
    paths = []
    for number, frame in enumerate(intensities):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], frame)
    read = read_burst(paths, iso=400)
    assert read.iso == 400 and read.clip == (-np.inf, 1)
    np.testing.assert_array_equal(read.levels, intensities)
    np.save(paths[0], intensities[0] * 16383)
    with pytest.raises(SiddError, match="about 0 to 1"):
        read_burst(paths)
    np.save(paths[0], np.full((128, 160), np.nan))
    with pytest.raises(SiddError, match="not finite"):
        read_burst(paths)
    np.save(paths[0], np.zeros((4, 4), int))
    with pytest.raises(SiddError, match="float"):
        read_burst(paths)


@pytest.mark.parametrize(
    ("levels", "message"),
    [(np.zeros((3, 4)), "is \\[N, H, W\\]"), (np.zeros((2, 3, 4)), "even"),
     (np.full((2, 4, 4), 70000), "0 to 65535"), (np.full((2, 4, 4), "a"), "numbers")],
)  # fmt: skip
def test_arrays_that_are_no_burst(levels, message):
    with pytest.raises(SiddError, match=message):
        Burst.of_arrays(levels)


def test_gains_undo_flicker():
    burst = simulate(SENSOR, CLEAN, 6)
    scaled = burst.levels.astype(float) - SENSOR.black
    light = np.array([1, 1.02, 0.98, 1.01, 0.99, 1])
    levels = np.rint(scaled * light[:, None, None] + SENSOR.black).astype(np.uint16)
    gain = alignment.gains(Burst.of_arrays(levels, SENSOR.black, SENSOR.white))
    np.testing.assert_allclose(gain, light[:, None, None] * np.ones((1, 2, 2)), atol=2e-3)


def test_shifts_are_measured():
    clean = textured_scene((400, 600), 5) * np.float32(0.5)
    burst = simulate(SENSOR, clean, 8, shift=0.1)
    found = alignment.shifts(burst, alignment.gains(burst))
    random = np.random.default_rng([0, 1])
    assert found.measurable and 0.03 < found.lengths.max() < 0.25
    still = simulate(SENSOR, clean, 8)
    assert alignment.shifts(still, alignment.gains(still)).lengths.max() < 0.01
    del random


@pytest.mark.parametrize("pixels", [2, 6])
def test_frames_that_moved_are_left_out(pixels):
    burst = simulate(SENSOR, textured_scene((400, 600), 5) * np.float32(0.5), 8)
    burst.levels[5] = np.roll(burst.levels[5], pixels, axis=1)
    (one,) = prepared([burst])
    assert len(one.gain) == 7 and len(one.load().levels) == 7
    assert "frame 5 by" in one.burst.notes[0] and "0.2 pixels" in one.burst.notes[0]
    with pytest.raises(SiddError, match=r"7 frames, and at least 8 .*frame 5 by"):
        prepare(lambda: burst, 8)


def test_an_even_scene_has_no_shift():
    even = simulate(SENSOR, np.full((256, 256), 0.4, np.float32), 4)
    found = alignment.shifts(even, alignment.gains(even))
    assert not found.measurable and found.lengths.max() == 0 and found.wobble == 0


def test_another_exposure_is_refused():
    burst = simulate(SENSOR, CLEAN, 5)
    burst.levels[2] = simulate(SENSOR, CLEAN * np.float32(1.5), 1).levels[0]
    with pytest.raises(SiddError, match="frame 2 is 1.5"):
        prepared([burst])


def test_too_few_frames():
    with pytest.raises(SiddError, match="1 frame, and at least 2"):
        prepare(lambda: simulate(SENSOR, CLEAN, 1), 1)
    with pytest.raises(SiddError, match=r"4 frames, and at least 5 are needed \(--min_frames\)"):
        prepare(lambda: simulate(SENSOR, CLEAN, 4), 5)


def test_calibrations_as_json(tmp_path):
    four = (1e-3, 2e-3, 3e-3, 4e-3)
    one = Calibration(
        camera="A7", iso=100, slope=four, offset=four, slope_error=four, offset_error=four,
        lowest=0.0, highest=1.0, bursts=1, frames=5, noise_profile=((1.0, 2.0),) * 4, notes=("a",),
    )  # fmt: skip
    write_calibrations(tmp_path / "calibration.json", [one])
    assert read_calibrations(tmp_path / "calibration.json") == {100: one}
    assert one.nlf == pytest.approx((2.5e-3, 2.5e-3))
    assert one.level.slope.tolist() == [[1e-3, 2e-3], [4e-3, 3e-3]]
    (tmp_path / "calibration.json").write_text('[{"iso": 3}]')
    with pytest.raises(SiddError, match="not a calibration"):
        read_calibrations(tmp_path / "calibration.json")
