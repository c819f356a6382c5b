"""Poisson-Gaussian noise with quantisation: an exact mass, known answers, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import noise_flow_tf as nf
from noise_flow_tf import evaluation
from noise_flow_tf.baselines.log_mass import log_mass
from noise_flow_tf.baselines.poisson_gaussian import NotQuantisedError
from noise_flow_tf.evaluation import tables
from noise_flow_tf.sampling import sample_noise
from sidd.offline.known_sensors import PoissonGaussianSensor

CAMERAS = ("S6", "A7")
PAIRS = (("S6", 100), ("S6", 800), ("A7", 400))
KNOWN = nf.PoissonGaussian(
    {
        "log_gain": np.log([[1e-3, 1.0, 8e-3], [1.0, 4e-3, 1.0]]),
        "log_sigma": np.log([[2e-3, 1.0, 6e-3], [1.0, 1e-3, 1.0]]),
        "steps": [1023, 255],
    },
    cameras=CAMERAS,
    iso_levels=(100, 400, 800),
    camera_levels=[(100, 800), (400,)],
)


def drawn(images=3, patches=6, seed=0):
    """Batches of 16 x 16 pixels with noise of `KNOWN`, each of one of `PAIRS`."""
    rng = np.random.default_rng(seed)
    for image in range(images):
        code, iso = PAIRS[image % len(PAIRS)]
        clean = rng.uniform(0, 0.6, (patches, 16, 16, 4)).astype(np.float32) ** 2
        yield {
            "clean": clean,
            "noise": KNOWN(clean, iso, code).sample(seed=(seed, image)).numpy(),
            "iso": np.full(patches, iso, np.int32),
            "camera": np.full(patches, CAMERAS.index(code), np.int32),
            "nlf": np.ones((patches, 2), np.float32),
            "frame": np.full(patches, image, np.int32),
        }


@pytest.fixture(scope="module")
def fitted():
    return nf.PoissonGaussian.fit(list(drawn(6, seed=1)), CAMERAS)


@pytest.mark.parametrize(
    ("clean", "gain", "sigma"),
    [
        (0.0, 1e-3, 2e-3),
        (0.001, 1e-3, 2e-3),
        (0.3, 5e-4, 1e-3),
        (0.3, 2e-3, 1e-4),  # photoelectrons show in the levels
        (0.5, 0.1, 1e-3),  # levels between photoelectrons
        (1.0, 1e-2, 0.1),
        (1.1, 1e-3, 1e-2),
        (-0.05, 1e-3, 1e-2),
        (0.9, 1e-5, 1e-3),
    ],
)
def test_masses_sum_to_one_and_are_those_of_direct_sums(clean, gain, sigma):
    steps = 63
    level = np.arange(steps + 1.0)
    mass = log_mass(level, np.full(steps + 1, clean), gain, sigma, steps).numpy()
    assert abs(special.logsumexp(mass)) < 1e-9

    mean = max(clean, 1e-12) / gain
    reach = 40 * np.sqrt(mean) + 60
    n = np.arange(max(0, int(mean - reach)), int(mean + reach))
    low = np.where(level == 0, -np.inf, (level - 0.5) / steps)[:, None] - gain * n
    high = np.where(level == steps, np.inf, (level + 0.5) / steps)[:, None] - gain * n
    flip = low > 0
    low, high = (np.where(flip, -a, b) / sigma for a, b in ((high, low), (low, high)))
    direct = np.sum(stats.poisson.pmf(n, mean) * (special.ndtr(high) - special.ndtr(low)), axis=1)
    likely = direct > 1e-100
    assert likely.sum() > 1
    np.testing.assert_allclose(mass[likely], np.log(direct[likely]), rtol=1e-9, atol=1e-9)
    assert np.isfinite(mass).all()


@pytest.mark.slow
def test_it_is_the_mass_of_the_known_sensor():
    """Code of its own, which sums over a fixed window, for the same noise."""
    sensor = PoissonGaussianSensor(bits=10)
    gain, read = sensor.gain_and_read("S6", 800)
    model = nf.PoissonGaussian(
        {"log_gain": [[np.log(gain)]], "log_sigma": [[np.log(read) / 2]], "steps": [1024]},
        ["S6"],
        [800],
    )
    clean = np.random.default_rng(0).uniform(size=(3, 16, 16, 4)).astype(np.float32) ** 2
    noise = sensor.draw(clean, "S6", 800, np.random.default_rng(1))
    expected = sensor.log_prob(noise, clean, "S6", 800)
    np.testing.assert_allclose(model(clean, 800, "S6").log_prob(noise), expected, rtol=1e-5)


def test_samples_have_the_probabilities_and_the_scale():
    clean = np.full((1, 128, 128, 4), 0.02, np.float32)
    noise = sample_noise(KNOWN, clean, 400, "A7", seed=3).numpy()
    levels = np.rint((noise + clean) * 255).astype(int)
    np.testing.assert_allclose(noise + clean, levels / 255, atol=1e-6)
    expected = np.exp(log_mass(np.arange(256.0), np.full(256, 0.02), 4e-3, 1e-3, 255).numpy())
    count = np.bincount(levels.ravel(), minlength=256)
    kept = expected * noise.size > 5
    observed = np.append(count[kept], count[~kept].sum())
    theirs = np.append(expected[kept], expected[~kept].sum()) * noise.size
    assert np.sum((observed - theirs) ** 2 / theirs) < stats.chi2.ppf(0.999, kept.sum())
    bright = np.full((1, 96, 96, 4), 0.3, np.float32)
    noise = nf.sample_image(KNOWN, bright[0], 800, "S6", seed=3)
    scale = nf.predicted_scale(KNOWN, bright, 800, "S6").numpy()
    assert np.ptp(scale) == 0 and abs(noise.std() / scale[0, 0, 0, 0] - 1) < 0.015
    with pytest.raises(ValueError, match="has no latent, so its temperature must be 1; got 0.5"):
        nf.sample_image(KNOWN, bright[0], 800, "S6", temperature=0.5)


def test_it_recovers_itself(fitted):
    """Parameters within 3 standard errors of Fisher's information, and the mean log mass."""
    assert fitted.condition_space == KNOWN.condition_space
    np.testing.assert_array_equal(fitted.parameters["steps"], [1023, 255])
    rng = np.random.default_rng(5)
    for code, iso in PAIRS:
        camera, level = CAMERAS.index(code), KNOWN.iso_levels.index(iso)
        true = np.array(
            [float(KNOWN.parameters[n][camera, level]) for n in ("log_gain", "log_sigma")]
        )
        found = np.array(
            [float(fitted.parameters[n][camera, level]) for n in ("log_gain", "log_sigma")]
        )
        clean = rng.uniform(0, 0.6, (1, 32, 32, 4)).astype(np.float32) ** 2
        p = KNOWN(clean, iso, code)
        steps = float(KNOWN.parameters["steps"][camera])
        levels = np.rint((p.sample(seed=(1, level))[0] + clean) * steps)
        moves = 1e-4 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        gain, sigma = np.exp(true + moves).T.reshape(2, 4, 1)
        mass = log_mass(levels.ravel(), clean.ravel(), gain, sigma, steps).numpy()
        scores = np.stack([mass[0] - mass[1], mass[2] - mass[3]]) / 2e-4
        covariance = np.linalg.inv(scores @ scores.T / scores.shape[1] * 8192)
        assert np.all(np.abs(found - true) < 3 * np.sqrt(np.diag(covariance)))

    for batch in drawn(3, patches=8, seed=2):
        code, iso = CAMERAS[batch["camera"][0]], int(batch["iso"][0])
        p, q = (m(batch["clean"], iso, code) for m in (KNOWN, fitted))
        per_image = p.log_prob(batch["noise"]).numpy() / 1024
        error = per_image.std(ddof=1) / np.sqrt(8)
        expected = mean_log_mass(batch["clean"], iso, code)
        assert abs(per_image.mean() - expected) < 3 * error
        of_fit = q.log_prob(batch["noise"]).numpy().mean() / 1024
        assert abs(of_fit - expected) < 3 * error + 1 / 8192


def mean_log_mass(clean, iso, code):
    """The expectation of the log mass per value: a sum over all levels."""
    camera, level = CAMERAS.index(code), KNOWN.iso_levels.index(iso)
    gain, sigma = (
        float(tf.exp(KNOWN.parameters[n][camera, level])) for n in ("log_gain", "log_sigma")
    )
    steps = int(KNOWN.parameters["steps"][camera])
    some = clean.ravel()[::97]
    middle = np.rint(some * steps)[:, None]
    reach = int(8 * steps * np.sqrt(gain * 0.36 + sigma**2)) + 2
    levels = middle + np.arange(-reach, reach + 1)
    masses = log_mass(np.clip(levels, 0, steps), some[:, None], gain, sigma, steps).numpy()
    masses = np.where((levels >= 0) & (levels <= steps), masses, -np.inf)
    np.testing.assert_allclose(np.exp(masses).sum(axis=1), 1, atol=1e-6)
    entropy = -np.sum(np.exp(masses) * np.where(np.isfinite(masses), masses, 0), axis=1)
    # Regression on the intensity's square root takes the mean from `some` to all values.
    fit = np.polynomial.Polynomial.fit(np.sqrt(some), -entropy, 8)
    return fit(np.sqrt(clean.ravel())).mean()


def test_files_give_the_same_model(fitted, tmp_path):
    nf.save_baseline(fitted, tmp_path / "a")
    again = nf.load(tmp_path / "a")
    assert type(again) is nf.PoissonGaussian and again.num_parameters == 8
    for batch in drawn(3):
        p, q = (m(batch["clean"], batch["iso"], batch["camera"]) for m in (fitted, again))
        np.testing.assert_array_equal(p.log_prob(batch["noise"]), q.log_prob(batch["noise"]))
        np.testing.assert_array_equal(p.sample(seed=(1, 2)), q.sample(seed=(1, 2)))
    arguments = KNOWN.arguments()
    for name, value, message in (
        ("steps", [1023, 0.5], "steps of poisson_gaussian must be whole numbers from 1 to 65536"),
        ("log_gain", np.full((2, 3), -20.0), "log_gain of poisson_gaussian must be from -11.5"),
        ("log_sigma", np.full((2, 3), 9.0), "log_sigma of poisson_gaussian must be from -14.1"),
    ):
        changed = arguments | {"parameters": arguments["parameters"] | {name: value}}
        with pytest.raises(ValueError, match=message):
            nf.PoissonGaussian(**changed)


def test_tables_keep_mass_apart(fitted):
    batches = list(drawn(3))
    scores = evaluation.evaluate(
        {"gaussian": nf.GaussianNoise(0.02), "noise_flow": fitted}, batches
    )
    of_fit = scores["noise_flow"]
    assert of_fit["nll"] is None and scores["gaussian"]["log_mass"] is None
    expected = [
        fitted(b["clean"][::5], b["iso"][::5], b["camera"][::5]).log_prob(b["noise"][::5]) / 1024
        for b in batches
    ]
    assert abs(of_fit["log_mass"] - np.mean(expected)) < 1e-5
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in tables.table(scores).splitlines())
    }
    assert rows["NLL"][1] == "-" and "%" not in rows["NLL"][0]
    assert rows["Log mass (no density)"][0] == "-"
    assert not {"*", "%"} & {*rows["Log mass (no density)"][1]}
    assert "Log mass (no density), in nats per dimension" in tables.explained("Noise Flow")


def test_noise_without_these_levels_is_refused():
    (batch,) = drawn(1)
    continuous = nf.GaussianNoise(0.01)(batch["clean"], 100, "S6").sample(seed=1).numpy()
    other = batch | {"noise": continuous}
    with pytest.raises(NotQuantisedError, match="values of camera S6.* are not on levels from 0"):
        nf.PoissonGaussian.fit([other], ["S6"])
    negative = batch | {"noise": batch["noise"] - np.float32(1 / 1023)}
    with pytest.raises(NotQuantisedError, match="they are not quantised and clipped"):
        nf.PoissonGaussian.fit([negative], ["S6"])
    with pytest.raises(ValueError, match="the noise is not on the levels of one, which has the"):
        evaluation.evaluate({"one": KNOWN}, [other])
    p = KNOWN(batch["clean"], 100, "S6")
    assert np.all(p.log_prob(continuous).numpy() == -np.inf)
    assert np.isnan(p.log_prob(np.full_like(continuous, np.nan))).all()
    with pytest.raises(ValueError, match="noise must have the height, width and channels of the"):
        p.log_prob(batch["noise"][:, :8])
    with pytest.raises(TypeError, match="noise must be floating-point noise"):
        p.log_prob(tf.zeros(batch["noise"].shape, tf.int32))
    with pytest.raises(ValueError, match="camera S6 has no ISO 400"):
        KNOWN(batch["clean"], 400, "S6")
