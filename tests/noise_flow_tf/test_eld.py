"""The ELD baseline: its density against sums over photoelectrons and rows, and known answers."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import noise_flow_tf as nf
from noise_flow_tf.baselines.eld import ELDNoise
from noise_flow_tf.evaluation.banding import band_correlation

CAMERAS = ("S6", "A7")
PAIRS = (("S6", 100), ("S6", 800), ("A7", 400))
KNOWN = nf.ELD(
    {
        "log_gain": np.log([[7e-4, 1.0, 5e-3], [1.0, 1.5e-3, 1.0]]),
        "read_offset": [-2.0, -2.8],
        "read_slope": [0.6, 0.5],
        "row_offset": [-2.6, -3.2],
        "row_slope": [0.6, 0.5],
        "tukey_lambda": [-0.15, 0.05],
        "steps": [1023, 0],
    },
    cameras=CAMERAS,
    iso_levels=(100, 400, 800),
    camera_levels=[(100, 800), (400,)],
)


def drawn(patches, size=16, seed=0, of=KNOWN):
    """Batches with noise of a model, one for each of `PAIRS`."""
    rng = np.random.default_rng(seed)
    for code, iso in PAIRS:
        light = rng.uniform(0, 0.6, (patches, 1, 1, 4)) ** 2
        clean = (light * rng.uniform(0.2, 1, (patches, size, size, 1))).astype(np.float32)
        yield {
            "clean": clean,
            "noise": of(clean, iso, code).sample(seed=(seed, iso)).numpy(),
            "iso": np.full(patches, iso, np.int32),
            "camera": np.full(patches, CAMERAS.index(code), np.int32),
        }


def tukey(shape):
    """Return the density and the distribution function, by inversion of the quantile function."""
    log_odds = np.linspace(-50, 50, 100_001)
    u, v = special.log_expit(log_odds), special.log_expit(-log_odds)
    grid = stats.tukeylambda.std(shape)
    x = (np.exp(shape * u) - np.exp(shape * v)) / shape / grid
    density = grid / (np.exp((shape - 1) * u) + np.exp((shape - 1) * v))
    return (
        lambda at: np.interp(at, x, density, 0, 0),
        lambda at: np.interp(at, x, np.exp(u), 0, 1),
    )


def exact_log_prob(noise, clean, gain, read, row, shape, steps, rows):
    """Sum over photoelectrons, and average over `rows`, offsets of a row that were drawn."""
    density, cdf = tukey(shape)
    total = 0.0
    for y, channels in np.ndindex(len(noise), 2):
        log_density = np.zeros(len(rows))
        pair = slice(2 * channels, 2 * channels + 2)
        for x, c in zip(noise[y, :, pair].ravel(), clean[y, :, pair].ravel(), strict=True):
            mean = max(c, 0.0) / gain
            n = np.arange(max(0, int(mean - 9 * mean**0.5) - 9), int(mean + 9 * mean**0.5) + 12)
            signal = gain * n + row * rows[:, np.newaxis]
            if steps:
                level = np.rint((x + c) * steps)
                low = (level - 0.5) / steps if level > 0 else -np.inf
                high = (level + 0.5) / steps if level < steps else np.inf
                each = steps * (cdf((high - signal) / read) - cdf((low - signal) / read))
            else:
                each = density((x + c - signal) / read) / read
            log_density += np.log(each @ stats.poisson.pmf(n, mean))
        total += special.logsumexp(log_density) - np.log(len(rows))
    return total


# Read noise in photoelectrons, its shape, photoelectrons, steps, and the limit in nats; of the
# limits, 0.003 to 0.01 are for the spread of the mean over 192 values.
CASES = [
    pytest.param(2.0, -0.1, 3.0, 0, 0.01, id="density"),
    pytest.param(2.0, 0.14, 0.02, 1000, 0.01, id="clipped"),
    pytest.param(5.0, -0.3, 20.0, 0, 0.005, marks=pytest.mark.slow),
    pytest.param(1.0, -0.2, 1.0, 2000, 0.02, marks=pytest.mark.slow),
    pytest.param(0.7, -0.1, 3.0, 0, 0.03, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("read", "shape", "mean", "steps", "limit"), CASES)
def test_the_density_is_near_that_of_direct_sums(read, shape, mean, steps, limit):
    """Of the model's own noise, the mean difference in nats per dimension."""
    gain = 1e-3
    rng = np.random.default_rng(0)
    clean = (gain * mean * rng.uniform(0.3, 1.7, (2, 2, 12, 4))).astype(np.float32)
    numbers = {"gain": gain, "read": read * gain, "row": 0.3 * read * gain}
    numbers |= {"tukey_lambda": shape, "steps": steps}
    p = ELDNoise(clean, **{name: np.full(2, x, np.float32) for name, x in numbers.items()})
    noise = p.sample(seed=3).numpy()
    rows = rng.normal(size=500)
    exact = [
        exact_log_prob(*pair, *numbers.values(), rows)
        for pair in zip(noise.astype(float), clean.astype(float), strict=True)
    ]
    difference = (np.array(exact) - p.log_prob(noise).numpy()) / clean[0].size
    assert np.all(np.abs(difference) < limit), difference


@pytest.fixture(scope="module")
def fitted():
    return nf.ELD.fit(list(drawn(30, seed=1)), CAMERAS)


def test_it_finds_conditions_and_the_entropy(fitted):
    """On other noise of the model, what was fitted costs about parameters / (2 pixels) nats."""
    assert fitted.condition_space == KNOWN.condition_space
    assert fitted.num_parameters == 3 + 2 * 6
    np.testing.assert_array_equal(fitted.parameters["steps"], [1023, 0])
    for batch in drawn(20, seed=2):
        known, found = (
            m(batch["clean"], batch["iso"], batch["camera"]).log_prob(batch["noise"]) / 1024
            for m in (KNOWN, fitted)
        )
        assert -1e-3 < np.mean(known - found) < 1e-3


@pytest.mark.slow
def test_it_recovers_its_parameters():
    """Within 3 standard errors, which are the spread of fits to different noise."""
    names = [name for name in KNOWN.parameters if name != "steps"]
    fits = [nf.ELD.fit(list(drawn(60, seed=10 + i)), CAMERAS) for i in range(8)]
    at = {code: [KNOWN.iso_levels.index(i) for c, i in PAIRS if c == code] for code in CAMERAS}

    def numbers(model, camera):
        """Gains, then read and row noise at each level, then the shape."""
        of = {name: model.parameters[name].numpy()[camera] for name in names}
        gains = of["log_gain"][at[CAMERAS[camera]]]
        lines = [of[f"{n}_offset"] + of[f"{n}_slope"] * gains for n in ("read", "row")]
        return np.concatenate([gains, *lines, [of["tukey_lambda"]]])

    for camera in (0, 1):
        true = numbers(KNOWN, camera)
        found = np.array([numbers(model, camera) for model in fits])
        spread = found.std(axis=0, ddof=1)
        t = (found.mean(axis=0) - true) / (spread / np.sqrt(len(fits)))
        assert np.all(np.abs(t) < stats.t.ppf(0.9999, len(fits) - 1)), t
        assert np.all(np.abs(found[0] - true) < 3 * spread + 0.01), (found[0] - true) / spread
        assert np.all(spread < 0.2), spread


def test_rows_have_their_part_of_the_variance():
    """Also in whole images, which tiles would cut."""
    clean = np.full((8, 64, 64, 4), 0.3, np.float32)
    p = KNOWN(clean, 400, "A7")
    row = np.exp(-3.2) * np.sqrt(1.5e-3)
    part = row**2 / p.stddev().numpy()[0, 0, 0, 0].astype(float) ** 2
    # The covariance of half rows' means has the error of a product, over 8 * 127 rows.
    error = (part + (1 - part) / 64) / np.sqrt(8 * 127)
    assert abs(band_correlation(p.sample(seed=1).numpy()) - part) < 3 * error
    assert abs(band_correlation(p.sample(seed=1).numpy(), of="column")) < 3 / 64 / np.sqrt(8 * 127)

    parameters = KNOWN.arguments()["parameters"] | {"row_offset": [3.0, 3.0]}
    banded = nf.ELD(**KNOWN.arguments() | {"parameters": parameters})
    noise = nf.sample_image(banded, np.full([3, 50, 4], 0.3), 400, "A7", seed=2, tile=8)
    offsets = np.stack([noise[..., :2].mean(axis=(1, 2)), noise[..., 2:].mean(axis=(1, 2))])
    left = np.stack([noise[:, :25, :2].mean(axis=(1, 2)), noise[:, :25, 2:].mean(axis=(1, 2))])
    assert np.std(offsets) > 0.1 and np.abs(left - offsets).max() < 0.01  # 50 pixels of 0.02
    with pytest.raises(ValueError, match="has no latent, so its temperature must be 1"):
        nf.sample_image(KNOWN, clean[0], 400, "A7", temperature=0.5)


def test_samples_have_levels_tails_and_the_scale():
    clean = np.full((2, 64, 64, 4), 0.1, np.float32)
    noise = KNOWN(clean, 100, "S6").sample(seed=1).numpy()
    levels = (noise + clean) * 1023
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    assert noise.min() + 0.1 >= -1e-6
    scale = nf.predicted_scale(KNOWN, clean, 100, "S6").numpy()
    assert abs(noise.std() / scale[0, 0, 0, 0] - 1) < 0.02
    of_reads = ELDNoise(
        np.zeros((1, 200, 200, 4), np.float32), gain=[1e-9], read=[0.01], row=[1e-9],
        tukey_lambda=[-0.2], steps=[0],
    ).sample(seed=4).numpy().ravel()  # fmt: skip
    _, cdf = tukey(-0.2)
    assert stats.kstest(of_reads / 0.01, cdf).pvalue > 1e-3


def test_values_that_noise_cannot_have():
    clean = np.full((1, 4, 6, 4), 0.2, np.float32)
    quantised, plain = KNOWN(clean, 100, "S6"), KNOWN(clean, 400, "A7")
    assert np.all(quantised.log_prob(np.full_like(clean, -0.3)).numpy() == -np.inf)
    assert np.all(np.isfinite(plain.log_prob(np.full_like(clean, -0.3))))
    assert np.all(np.isfinite(plain.log_prob(np.full_like(clean, 0.9))))
    one = np.zeros_like(clean)
    one[0, 1, 2, 3] = np.nan
    for p in (quantised, plain):
        assert np.isnan(p.log_prob(one)).all()
        inside = tf.function(p.log_prob)(np.zeros_like(clean))
        np.testing.assert_allclose(inside, p.log_prob(np.zeros_like(clean)), rtol=1e-6)
    both = KNOWN(np.repeat(clean, 2, 0), [100, 400], ["S6", "A7"]).log_prob(np.zeros_like(clean))
    each = [p.log_prob(np.zeros_like(clean)).numpy()[0] for p in (quantised, plain)]
    np.testing.assert_allclose(both, each, rtol=1e-6)
    four = KNOWN(np.repeat(clean, 2, 0), [100, 400], ["S6", "A7"])
    noise = four.sample(4, seed=1)
    np.testing.assert_allclose(
        four.log_prob(noise), [four.log_prob(one) for one in noise], rtol=1e-5, atol=1e-2
    )
    np.testing.assert_allclose(
        four[1].log_prob(noise[0, 1]), four.log_prob(noise[0])[1], rtol=1e-5, atol=1e-2
    )
    with pytest.raises(ValueError, match="noise must have the height, width and channels of the"):
        plain.log_prob(one[:, :2])
    negative = KNOWN(clean - 0.3, 400, "A7")
    np.testing.assert_allclose(
        negative.log_prob(np.zeros_like(clean)),
        KNOWN(clean * 0, 400, "A7").log_prob(np.zeros_like(clean)),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="camera S6 has no ISO 400"):
        KNOWN(clean, 400, "S6")


def test_files_and_wrong_parameters(tmp_path):
    nf.save_baseline(KNOWN, tmp_path / "a")
    again = nf.load(tmp_path / "a")
    assert type(again) is nf.ELD and again.arguments() == KNOWN.arguments()
    arguments = KNOWN.arguments()
    for name, value, message in (
        ("steps", [1023, 0.5], "steps of eld must be whole numbers from 0 to 65536"),
        ("log_gain", np.full((2, 3), -20.0), "log_gain of eld must be from -14 to 3"),
        ("tukey_lambda", [0.1, -0.6], "tukey_lambda of eld must be from -0.4 to 0.14"),
    ):
        with pytest.raises(ValueError, match=message):
            nf.ELD(**arguments | {"parameters": arguments["parameters"] | {name: value}})


def test_noise_without_a_row_to_measure_is_refused():
    batch = next(drawn(4))
    dark = np.zeros_like(batch["clean"])
    noise = KNOWN(dark, 100, "S6").sample(seed=1).numpy()
    with pytest.raises(ValueError, match="camera S6 has no row of pixels that is not clipped"):
        nf.ELD.fit([batch | {"clean": dark, "noise": noise}], ["S6"])
