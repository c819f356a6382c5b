import numpy as np
import pytest
import scipy.stats

import sidd
from sidd.cameras import BY_CODE
from sidd.offline import noise_physics
from sidd.offline.synthetic import camera_iso_pairs


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
@pytest.mark.parametrize("iso", [100, 800])
def test_shot_and_read_noise_are_the_sensor_s(camera, iso):
    sensor, gain = BY_CODE[camera].sensor, iso / 100
    shot = sensor.shot_factor * sensor.shot * gain
    read = sensor.read_factor * sensor.read * (0.8 + 0.2 * gain**1.5)
    rows = sensor.row**2 * read
    assert noise_physics.true_profile(camera, iso) == pytest.approx((shot, read + rows))
    if iso == 100:  # more noise would be clipped in the dark
        step = 2.0**-noise_physics.BIT_DEPTH
        variances = [flat_noise(camera, iso, level).var() for level in (0.02, 0.2, 0.6)]
        expected = [shot * level + read + rows + step**2 / 12 for level in (0.02, 0.2, 0.6)]
        assert variances == pytest.approx(expected, rel=0.02)
        assert (read + rows) / expected[0] > 0.15, "read noise counts there"


@pytest.mark.parametrize("camera", sidd.CAMERAS)
def test_neighbours_are_correlated_as_the_kernel_says(camera):
    noise = flat_noise(camera, 800, 0.5)
    noise /= noise.std()
    along, across = BY_CODE[camera].sensor.crosstalk
    for actual, leak in (
        ((noise[:, 1:] * noise[:, :-1]).mean(), along),
        ((noise[1:] * noise[:-1]).mean(), across),
    ):
        assert actual == pytest.approx(2 * leak / (1 + 2 * leak**2), abs=0.015)
        assert 0.2 < actual < 0.42
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
    expected = scipy.stats.tukeylambda(-0.1)
    for part in (0.9, 0.99, 0.999):
        quantile = expected.ppf(part) / expected.std()
        assert np.quantile(variates, part) == pytest.approx(quantile, rel=0.02)


def test_values_are_steps_of_the_converter_in_range():
    noisy = flat_noise("N6", 3200, 0.02) + 0.02
    assert noisy.min() == 0 and noisy.max() <= 1
    steps = noisy * 2**noise_physics.BIT_DEPTH
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert np.mean(noisy == 0) > 0.05, "clipped at black"
