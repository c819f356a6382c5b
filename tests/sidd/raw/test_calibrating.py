"""Calibrations of simulated bursts against the sensor's truth."""

from pathlib import Path

import numpy as np
import pytest

from sidd.errors import SiddError
from sidd.raw import masks
from sidd.raw.bursts import Burst
from sidd.raw.darks import measure_darks
from sidd.raw.simulated import SimulatedSensor, textured_scene
from tests.simulated_bursts import calibrated, errors, prepared, scenes, simulate

FULL = (1000, 1504)
D7000 = Path(__file__).resolve().parents[4] / "shared" / "real" / "d7000_iso100_flats.npz"


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_ten_frames(cfa):
    sensor = SimulatedSensor(cfa=cfa)
    slope, offset, row = errors(sensor, calibrated(scenes(sensor)))
    assert slope < 0.01 and offset < 0.03 and row < 0.06


def test_errors_are_as_large_as_stated():
    sensor = SimulatedSensor()
    ratios = []
    for seed in range(4):
        one = calibrated(scenes(sensor, frames=3, seed=10 * seed)).calibration
        ratios += list((np.array(one.slope) - sensor.slope) / one.slope_error)
        ratios += list((np.array(one.offset) - sensor.offset) / one.offset_error)
    assert 0.6 < np.std(ratios) < 1.6 and abs(np.mean(ratios)) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "factor"), [(10, 1), (3, 2)])
def test_acceptance(frames, factor, record_property):
    sensor = SimulatedSensor()
    steady = errors(sensor, calibrated(scenes(sensor, FULL, frames)))
    shaken = errors(sensor, calibrated(scenes(sensor, FULL, frames, flicker=0.02, shift=0.1)))
    record_property("steady", steady)
    record_property("shaken", shaken)
    limits = np.array([0.02, 0.1, 0.1]) * factor
    assert np.all(steady < limits), steady
    assert np.all(shaken < limits), shaken
    assert np.all(np.array(shaken) < np.array(steady) + 0.01), (steady, shaken)


def test_flicker_and_shift_change_little():
    sensor = SimulatedSensor()
    shaken = errors(sensor, calibrated(scenes(sensor, flicker=0.02, shift=0.1)))
    assert shaken[0] < 0.015 and shaken[1] < 0.04 and shaken[2] < 0.07


def test_bad_pixels_and_a_fixed_pattern_change_little():
    sensor = SimulatedSensor(hot=1e-3, blinking=1e-3, dsnu=5e-4, prnu=0.01, column=2e-4)
    result = calibrated(scenes(sensor))
    slope, offset, row = errors(sensor, result)
    assert slope < 0.015 and offset < 0.04 and row < 0.06
    assert result.calibration.column == pytest.approx(sensor.column, rel=0.1)
    shares = result.bursts[0].shares
    assert 0.7e-3 < shares["blinking"] < 1.1e-3
    assert 0.8e-3 < shares["hot"] < 2e-3
    assert shares["moving"] == 0


def test_tails_of_the_noise_are_not_masked():
    sensor = SimulatedSensor(tail=-0.15)
    result = calibrated(scenes(sensor))
    slope, offset, _ = errors(sensor, result)
    assert slope < 0.01 and offset < 0.04
    assert result.bursts[0].shares["blinking"] < 1e-5


def test_what_moved_is_left_out():
    sensor = SimulatedSensor()
    bursts = scenes(sensor)
    for burst in bursts:
        for number, frame in enumerate(burst.levels):
            frame[100:180, 40 + 30 * number : 120 + 30 * number] = 3000
    result = calibrated(bursts)
    slope, offset, row = errors(sensor, result)
    assert slope < 0.015 and offset < 0.05 and row < 0.1
    assert 0.05 < result.bursts[0].shares["moving"] < 0.3


def test_a_camera_that_clips_at_black():
    sensor = SimulatedSensor(black=0, clips_at_black=True)
    ramp = np.linspace(0, 1, 600, dtype=np.float32) * np.ones((400, 1), np.float32)
    bursts = [simulate(sensor, ramp * top, seed=k) for k, top in enumerate((0.03, 0.3, 1.1))]
    result = calibrated(bursts)
    slope, offset, _ = errors(sensor, result)
    assert slope < 0.01 and offset < 0.1
    assert any("clip at 0" in note for note in result.calibration.notes)


def test_saturation_below_the_stated_white_is_seen():
    sensor = SimulatedSensor()
    bursts = scenes(sensor)
    for burst in bursts:
        np.minimum(burst.levels, 9000, out=burst.levels)
    bursts = [Burst.of_arrays(b.levels, b.black, b.white, iso=100) for b in bursts]
    assert bursts[2].clip == (0, 9000)
    slope, offset, _ = errors(sensor, calibrated(bursts))
    assert slope < 0.015 and offset < 0.03


def test_darks():
    sensor = SimulatedSensor(read=2e-3, row=6e-4, tail=-0.1, dsnu=3e-4, hot=1e-4)
    dark = simulate(sensor, np.zeros((400, 600), np.float32), frames=10)
    dark = Burst.of_arrays(dark.levels, sensor.black - 8, sensor.white, iso=100)
    result = calibrated(scenes(sensor), darks=measure_darks(dark))
    one = result.calibration
    assert np.allclose(one.black, sensor.black, atol=0.7)
    assert np.allclose(one.read, np.sqrt(sensor.offset), rtol=0.03)
    assert one.row == pytest.approx(sensor.row, rel=0.06) and one.row_source == "darks"
    assert one.tukey_lambda == pytest.approx(-0.1, abs=0.03)
    assert one.kurtosis > 1
    assert one.dsnu == pytest.approx(3e-4, rel=0.1)
    assert any("from the files' black level" in note for note in one.notes)


def test_gaussian_darks_have_no_tails():
    sensor = SimulatedSensor()
    darks = measure_darks(simulate(sensor, np.zeros((400, 600), np.float32)))
    assert darks.kurtosis == pytest.approx(0, abs=0.05)
    assert darks.tukey_lambda(sensor.row) == pytest.approx(0.14, abs=0.03)


def test_darks_that_are_none():
    sensor = SimulatedSensor()
    with pytest.raises(SiddError, match="light in them"):
        measure_darks(simulate(sensor, np.full((64, 64), 0.3, np.float32)))
    clipping = SimulatedSensor(black=0, clips_at_black=True)
    with pytest.raises(SiddError, match="clips at 0"):
        measure_darks(simulate(clipping, np.zeros((64, 64), np.float32)))


def test_flats_give_the_spread_of_gains():
    sensor = SimulatedSensor(prnu=0.02, dsnu=3e-4)
    flats = [simulate(sensor, np.full((400, 600), x, np.float32), seed=9) for x in (0.2, 0.6)]
    result = calibrated(scenes(sensor), flats=prepared(flats))
    assert result.calibration.prnu == pytest.approx(0.02, rel=0.05)
    assert errors(sensor, result)[0] < 0.01


def test_a_noise_profile_that_lies_is_remarked_on(tmp_path):
    from sidd.raw.bursts import read_burst
    from sidd.raw.simulated import write_burst

    sensor = SimulatedSensor()
    bursts = []
    for k, level in enumerate((0.1, 0.9)):
        clean = textured_scene((256, 256), k) * np.float32(level)
        profile = np.broadcast_to([2.23e-3, 0], (2, 2, 2))
        folder = write_burst(tmp_path / str(k), sensor, clean, 5, k, noise_profile=profile)
        bursts.append(read_burst(sorted(folder.iterdir())))
    one = calibrated(bursts).calibration
    assert np.allclose(one.noise_profile, [2.23e-3, 0], atol=1e-6)
    assert any("NoiseProfile disagrees: its slope" in note for note in one.notes)


def test_one_brightness_is_said_to_be_too_little():
    sensor = SimulatedSensor()
    flat = simulate(sensor, np.full((64, 64), 0.4, np.float32))
    try:
        notes = calibrated([flat]).calibration.notes
    except SiddError as error:
        notes = [str(error)]
    assert any("three brightnesses" in note for note in notes)


def test_all_clipped_is_refused():
    sensor = SimulatedSensor()
    with pytest.raises(SiddError, match="every pixel is clipped at white"):
        simulate(sensor, np.full((64, 64), 3, np.float32))
    white = simulate(sensor, np.full((64, 64), 0.98, np.float32))
    with pytest.raises(SiddError, match="expose them differently"):
        calibrated([white])


@pytest.mark.skipif(not D7000.exists(), reason="needs the real flats")
def test_the_real_flats_of_a_d7000():
    stored = np.load(D7000)
    bursts = [
        Burst.of_arrays(levels, 0, 15326, iso=100, name=f"exposure {number}")
        for levels, number in zip(stored["levels"], stored["exposure"], strict=True)
    ]
    one = calibrated(bursts).calibration
    assert np.all(np.array(one.slope) > 2.3e-5) and np.all(np.array(one.slope) < 3.2e-5)
    assert np.all(np.array(one.offset) < 3e-8)
    assert any("clip at 0" in note for note in one.notes)


def test_pixels_that_are_bad_in_darks_are_masked_in_bursts():
    """A hot pixel that bright, textured scenes hide from a look at its neighbours."""
    sensor = SimulatedSensor(seed=3, hot=1e-3)
    dark = measure_darks(simulate(sensor, np.zeros((400, 600), np.float32), seed=77, name="darks"))
    bursts = scenes(sensor)
    alone, result = calibrated(bursts), calibrated(bursts, darks=dark)
    assert alone.bad is None and result.bad is dark.bad
    assert 0.7e-3 < dark.hot < 1.3e-3
    for burst, one, other in zip(bursts, result.bursts, alone.bursts, strict=True):
        assert one.shares["hot"] >= max(other.shares["hot"], dark.hot)
        level = result.calibration.level
        found = masks.find(burst, one.gain, level, one.statistics, result.bad)
        assert found.hot[dark.bad].all()
    assert sum(one.shares["hot"] for one in result.bursts) > sum(
        one.shares["hot"] for one in alone.bursts
    )


def test_darks_of_another_size_are_refused():
    sensor = SimulatedSensor()
    dark = measure_darks(simulate(sensor, np.zeros((200, 300), np.float32), name="darks"))
    message = "scene 0: has 600 x 400 pixels, but the darks have 300 x 200 pixels; shoot both"
    with pytest.raises(SiddError, match=message):
        calibrated(scenes(sensor), darks=dark)
