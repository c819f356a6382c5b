import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from sidd.errors import SiddError
from sidd.offline.known_sensors import GaussianSensor, PoissonGaussianSensor, dequantise


def patches(count=4, size=8, low=0.02, high=0.9):
    return np.random.default_rng(1).uniform(low, high, [count, size, size, 4])


@pytest.mark.parametrize("correlated", [False, True])
def test_gaussian_likelihood_is_that_of_the_covariance(correlated):
    """The covariance of 2 x 2 packed pixels, from the sensor's own linear map of basis vectors."""
    sensor, clean = GaussianSensor(correlated), patches(3, 2)

    class Basis:
        def __init__(self, number):
            self.number = number

        def standard_normal(self, shape):
            z = np.zeros(shape)
            z.reshape(shape[0], -1)[:, self.number] = 1
            return z

    columns = np.stack([sensor.draw(clean, "GP", 800, Basis(i)) for i in range(16)], axis=-1)
    noise = sensor.draw(clean, "GP", 800, np.random.default_rng(2))
    found = sensor.log_prob(noise, clean, "GP", 800)
    for patch in range(3):
        factor = columns[patch].reshape(16, 16).astype(float)
        expected = multivariate_normal(cov=factor @ factor.T).logpdf(noise[patch].ravel())
        assert found[patch] == pytest.approx(expected, abs=1e-4)
        assert (abs(factor - np.diag(np.diag(factor))).max() > 1e-4) == correlated


@pytest.mark.parametrize("correlated", [False, True])
def test_gaussian_likelihood_is_minus_the_entropy_on_average(correlated):
    sensor, clean = GaussianSensor(correlated), patches(100)
    noise = sensor.draw(clean, "S6", 1600, np.random.default_rng(0))
    surprise = -sensor.log_prob(noise, clean, "S6", 1600)
    error = np.std(surprise - sensor.entropy(clean, "S6", 1600)) / 10
    assert error == pytest.approx(np.sqrt(8 * 8 * 4 / 2) / 10, rel=0.3)
    assert np.mean(surprise - sensor.entropy(clean, "S6", 1600)) == pytest.approx(0, abs=3 * error)


@pytest.mark.parametrize("correlated", [False, True])
def test_gaussian_variance_is_as_stated_inside_of_patches(correlated):
    sensor, clean = GaussianSensor(correlated), np.full([1, 301, 301, 4], 0.3)
    noise = sensor.draw(clean, "G4", 400, np.random.default_rng(0))[:, 1:, 1:]
    known = sensor.variance(clean, "G4", 400)[0, 0, 0]
    np.testing.assert_allclose(noise.var(axis=(0, 1, 2)), known, rtol=0.02)


@pytest.mark.parametrize(
    ("camera", "iso", "y"), [("IP", 100, 0.02), ("GP", 3200, 0.0), ("S6", 800, 1.0)]
)
def test_masses_of_all_levels_sum_to_1_and_have_the_right_moments(camera, iso, y):
    sensor = PoissonGaussianSensor(10)
    levels = np.arange(1025)
    clean = np.full([1025, 1, 1, 4], y)
    noise = np.broadcast_to((levels / 1024 - y)[:, None, None, None], clean.shape)
    mass = np.exp(sensor.log_prob(noise, clean, camera, iso) / 4)
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    if 0 < y < 1:
        mean = mass @ levels / 1024
        assert mean == pytest.approx(y, abs=1e-5)
        variance = mass @ np.square(levels / 1024 - mean)
        known = sensor.variance(np.array(y), camera, iso) + 1 / 1024**2 / 12
        assert variance == pytest.approx(known, rel=1e-3)


def test_masses_are_the_frequencies_of_draws():
    sensor, clean = PoissonGaussianSensor(8), np.full([1, 300, 300, 4], 0.05)
    noise = sensor.draw(clean, "G4", 1600, np.random.default_rng(3))
    levels, counts = np.unique(np.rint((clean + noise) * 256), return_counts=True)
    here = (levels / 256 - 0.05)[:, None, None, None] * np.ones([1, 1, 1, 4])
    log_mass = sensor.log_prob(here, np.full(here.shape, 0.05), "G4", 1600) / 4
    expected = np.exp(log_mass) * noise.size
    often = expected > 20
    chi2 = np.sum(np.square(counts - expected)[often] / expected[often])
    assert often.sum() > 10 and chi2 < often.sum() + 4 * np.sqrt(2 * often.sum())


@pytest.mark.slow
def test_a_density_of_dequantised_noise_bounds_its_mass():
    """Theis et al.: mean of -log(d q(x + u)) >= -log of the mass that q has in the step."""
    sensor, clean, step = PoissonGaussianSensor(6), patches(200), 2.0**-6
    noise = sensor.draw(clean, "IP", 100, np.random.default_rng(0))
    q = norm(scale=np.sqrt(sensor.variance(clean, "IP", 100) + step**2 / 12))
    mass = np.mean(np.log(q.cdf(noise + step / 2) - q.cdf(noise - step / 2)))
    density = np.mean(q.logpdf(dequantise(noise, 6, np.random.default_rng(1)))) + np.log(step)
    truth = sensor.log_prob(noise, clean, "IP", 100).sum() / noise.size
    assert density + 0.02 < mass < truth - 0.02 and truth < 0


@pytest.mark.parametrize("sensor", [GaussianSensor(True), PoissonGaussianSensor()])
def test_what_a_sensor_cannot_take_is_refused(sensor):
    clean, random = patches(1), np.random.default_rng(0)
    for bad, message in (
        (clean + 1, "outside"), (-clean, "outside"), (clean * np.nan, "or NaN"),
        (clean[0], r"\[B, h, w, 4\]; got \[8, 8, 4\]"), (clean[:0], "packed"),
        (np.ones([1, 8, 8, 4], int), "floating point"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sensor.draw(bad, "S6", 100, random)
    with pytest.raises(ValueError, match="ISO must be positive; got 0"):
        sensor.draw(clean, "S6", 0, random)
    with pytest.raises(SiddError, match="no made-up sensor for camera X9"):
        sensor.draw(clean, "X9", 100, random)
    noise = sensor.draw(clean, "S6", 100, random)
    with pytest.raises(ValueError, match="noise is"):
        sensor.log_prob(noise[:, 1:], clean, "S6", 100)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        sensor.log_prob(noise * np.nan, clean, "S6", 100)


def test_noise_between_levels_has_no_mass():
    sensor, clean = PoissonGaussianSensor(), patches(1)
    noise = sensor.draw(clean, "S6", 100, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"not on the sensor's levels, 0 to 2\^10"):
        sensor.log_prob(dequantise(noise, 10, np.random.default_rng(0)), clean, "S6", 100)
    with pytest.raises(ValueError, match="empty or holds NaN"):
        dequantise(noise * np.nan, 10, np.random.default_rng(0))


def test_impossible_sensors_are_refused():
    with pytest.raises(ValueError, match=r"leak must be from 0 to below 0.5; got 0.5"):
        GaussianSensor(True, leak=0.5)
    with pytest.raises(ValueError, match="neighbours must be finite"):
        GaussianSensor(True, neighbours=np.nan)
    with pytest.raises(ValueError, match="bits must be from 4 to 16; got 2"):
        PoissonGaussianSensor(2)
