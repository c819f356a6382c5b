"""Pairs of bursts: their noise, and what becomes of masked pixels."""

import numpy as np
import pytest

import sidd
from sidd.raw.pairs import BurstPairs, write_pairs
from sidd.raw.simulated import SimulatedSensor, textured_scene
from sidd.scenes import SceneName
from tests.simulated_bursts import calibrated, scenes, simulate


def pairs_of(result, bursts, number=0):
    one = result.bursts[number]
    return BurstPairs.of(bursts[number], one.gain, result.calibration.level, one.statistics)


def test_noise_has_the_variance_of_the_sensor():
    sensor = SimulatedSensor()
    bursts = scenes(sensor, frames=4)
    pairs = pairs_of(calibrated(bursts), bursts)
    noise = np.stack([pairs.noisy(n) for n in range(4)]) - pairs.clean
    assert np.isfinite(noise).all()
    expected = sensor.slope * textured_scene((400, 600), 0) * 0.08 + sensor.offset
    assert np.mean(noise**2) / expected.mean() == pytest.approx(1, abs=0.01)
    assert pairs.clean.min() >= 0 and pairs.clean.max() <= 1


def test_noise_near_a_clipping_level_is_not_selected():
    """What is kept within 3 to 6 standard deviations of black has the whole variance."""
    sensor = SimulatedSensor(black=0, clips_at_black=True)
    ramp = np.linspace(0, 1, 600, dtype=np.float32) * np.ones((400, 1), np.float32)
    cleans = [ramp * np.float32(top) for top in (0.03, 0.3, 0.9)]
    bursts = [simulate(sensor, clean, seed=k) for k, clean in enumerate(cleans)]
    pairs = pairs_of(calibrated(bursts), bursts)
    noise = pairs.noisy(3) - pairs.clean
    expected = sensor.slope * cleans[0] + sensor.offset
    distance = cleans[0] / np.sqrt(expected)
    assert np.isnan(noise[distance < 2]).all()
    near = (distance > 3) & (distance < 6) & ~np.isnan(noise)
    assert near.sum() > 1000
    assert np.mean(noise[near] ** 2) / expected[near].mean() == pytest.approx(1, abs=0.04)
    assert not np.isnan(noise[distance > 6]).any()


def test_isolated_pixels_are_drawn_and_areas_are_lost():
    sensor = SimulatedSensor(blinking=1e-3)
    bursts = scenes(sensor)
    for number, frame in enumerate(bursts[0].levels):
        frame[200:264, 200:264] = 1000 + 400 * (number % 3)
    pairs = pairs_of(calibrated(bursts), bursts)
    noisy = pairs.noisy(0)
    assert np.isnan(noisy[208:256, 208:256]).all()
    assert np.isnan(noisy).mean() == pytest.approx(pairs.shares.lost, abs=1e-6)
    assert 5e-4 < pairs.shares.filled < 2e-3
    assert 0 < pairs.shares.patches_lost < 0.4
    filled = pairs._filled
    noise = (noisy - pairs.clean)[filled]
    expected = pairs.level.of_image(pairs.clean)[filled]
    assert np.mean(noise**2 / expected) == pytest.approx(1, abs=0.3)
    np.testing.assert_array_equal(noisy, pairs.noisy(0))
    assert not np.array_equal(noisy[filled], pairs.noisy(0, seed=1)[filled])


def test_a_flash_in_one_frame_is_left_out_of_the_mean():
    sensor = SimulatedSensor()
    bursts = scenes(sensor)
    bursts[0].levels[3, 41, 53] = sensor.white
    pairs = pairs_of(calibrated(bursts), bursts)
    others = np.delete(bursts[0].intensities(slice(0, 400))[:, 41, 53], 3)
    assert pairs.clean[41, 53] == pytest.approx(np.median(others), abs=1e-3)
    assert pairs.noisy(3)[41, 53] < 0.05
    assert pairs._filled[41, 53]


def test_pairs_are_written_in_the_layout_of_sidd(tmp_path, metadata):
    sensor = SimulatedSensor()
    bursts = scenes(sensor, (96, 128), 4)
    pairs = pairs_of(calibrated(bursts), bursts)
    from dataclasses import replace

    name = SceneName(1, 1, "A7C2", 100, 60, 5500, "L")
    metadata = replace(metadata, camera="A7C2", iso=100, unclipped=True)
    assert len(list(write_pairs(tmp_path / "Data", name, pairs, metadata, [0, 3]))) == 2
    (instance,) = sidd.index(tmp_path)
    assert [frame.number for frame in instance.frames] == [10, 11]
    pair = sidd.read_pair(*instance.frames[1].files, camera="A7C2")
    np.testing.assert_array_equal(pair.clean, sidd.pack(pairs.clean.T))
    np.testing.assert_allclose(pair.noise, sidd.pack((pairs.noisy(3) - pairs.clean).T), atol=1e-7)
    assert (sidd.read_raw(instance.frames[1].noisy) < 0).any()
