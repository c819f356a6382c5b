"""The study of gaps to known sensors: its decomposition where the answer is known, untrained."""

import numpy as np
import pytest

import noise_flow_tf as nf
from sidd.offline.known_sensors import GaussianSensor, PoissonGaussianSensor
from studies.known_sensors import noise, tables
from studies.known_sensors.gaps import gaps


@pytest.fixture
def few(monkeypatch):
    """Two conditions alone, of many patches each."""
    monkeypatch.setattr(noise, "camera_iso_pairs", lambda: [("IP", 100), ("GP", 3200)])


def gap_of(sensor, model, count=40):
    random = np.random.default_rng(0)
    clean = random.uniform(0.02, 0.8, [count, 32, 32, 4]).astype(np.float32)
    return gaps(sensor, model, noise.draws(sensor, clean, random), seed=0)


def test_the_truth_has_no_gap(few):
    found = gap_of(GaussianSensor(), nf.CameraNLF())
    assert found["gap"] == pytest.approx(0, abs=1e-5)
    assert found["marginal"] == pytest.approx(0, abs=1e-3) and found["dequantisation"] == 0
    assert [(row["camera"], row["iso"]) for row in found["by_condition"]] == [
        ("IP", 100), ("GP", 3200),
    ]  # fmt: skip


def test_correlation_that_a_model_leaves_out_is_its_gap(few):
    """With the right variances, white noise is above by -log |det A| / 4 per dimension."""
    sensor = GaussianSensor(correlated=True)
    found = gap_of(sensor, nf.CameraNLF())
    clean = np.full([1, 32, 32, 4], 0.5)
    white = 0.5 * np.log(2 * np.pi * np.e * sensor.variance(clean, "IP", 100)).mean()
    expected = white - sensor.entropy(clean, "IP", 100)[0] / clean.size
    assert expected > 0.1
    assert found["gap"] == pytest.approx(expected, rel=0.03)
    assert found["correlation"] == pytest.approx(expected, rel=0.04)
    assert found["marginal"] == pytest.approx(0, abs=0.002)


def test_wrong_strength_is_a_gap_of_the_marginal(few):
    """Twice the variance: (log 2 + 1 / 2 - 1) / 2."""

    class Strong(nf.CameraNLF):
        def __call__(self, clean, iso, camera, training=False, nlf=None):
            return super().__call__(clean, iso, camera, training, 2 * nlf)

    found, expected = gap_of(GaussianSensor(), Strong()), (np.log(2) + 0.5 - 1) / 2
    assert found["gap"] == pytest.approx(expected, rel=0.02)
    assert found["marginal"] == pytest.approx(expected, rel=0.05)
    assert found["correlation"] == pytest.approx(0, abs=0.005)


def test_steps_cost_a_density_something_that_is_no_correlation(few):
    found = gap_of(PoissonGaussianSensor(7), nf.CameraNLF(), count=6)
    assert found["gap"] > 0.003 and found["dequantisation"] > 0.001
    assert found["marginal"] > 0.001
    assert abs(found["correlation"]) < 0.05 * found["gap"]
    text = tables.table({"models": {"nlf": found}})
    assert "| NLF of the true variance |" in text and f"{found['gap']:.5f} ± " in text
