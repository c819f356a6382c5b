"""Each comparison of two noises against its closed form, and what each refuses."""

import numpy as np
import pytest

import noise_flow_tf as nf
from noise_flow_tf import evaluation
from noise_flow_tf.evaluation import banding, by_intensity, metrics
from noise_flow_tf.evaluation.metrics import METRICS, Measured

COMPARISONS = {
    "akld": metrics.akld,
    "spectrum": metrics.spectrum_divergence,
    "ratio": lambda real, synthetic: metrics.variance_ratio(real, synthetic, grey(real)),
    "r2": lambda real, synthetic: metrics.variance_r2(real, synthetic, grey(real)),
    "kurtosis": lambda real, synthetic: metrics.kurtosis_error(real, synthetic, grey(real)),
    "banding": lambda real, synthetic: [metrics.band_correlation(n) for n in (real, synthetic)],
}


def grey(noise):
    return np.full(np.shape(noise), 0.3)


def white(count=20, seed=0, size=32):
    return np.random.default_rng(seed).normal(size=[count, size, size, 4])


def intensities(count=20, size=32):
    """Each patch has all intensities, evenly."""
    return np.random.default_rng(99).uniform(0, 1, [count, size, size, 4])


def packed(planes):
    cells = ((0, 0), (0, 1), (1, 1), (1, 0))
    return np.stack([planes[:, row::2, column::2] for row, column in cells], axis=-1)


def test_kl_both_ways_of_known_histograms():
    """Two bins with p = (3/4, 1/4) and q = (1/2, 1/2)."""
    real, synthetic = np.array([0.0, 0.0, 0.0, 0.05]), np.array([0.0, 0.05])
    forward = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    backward = 0.5 * np.log(2 / 3) + 0.5 * np.log(2)
    assert metrics.marginal_kl(real, synthetic) == pytest.approx(forward)
    assert metrics.reverse_kl(real, synthetic) == pytest.approx(backward)
    assert metrics.symmetric_kl(real, synthetic) == pytest.approx((forward + backward) / 2)


def test_kl_both_ways_of_gaussians():
    """Of N(0, s^2) and N(0, (2s)^2): log 2 - 3/8, and 3/2 - log 2 the other way round."""
    noise = 0.01 * white(200)
    assert metrics.marginal_kl(noise, 2 * noise) == pytest.approx(np.log(2) - 3 / 8, rel=0.03)
    assert metrics.reverse_kl(noise, 1.2 * noise) == pytest.approx(
        (1.44 - 1 - np.log(1.44)) / 2, rel=0.05
    )


def test_akld_of_known_local_variances():
    signs = np.sign(white(2))
    strong, weak = 0.02 * signs, 0.01 * np.sign(white(2, seed=1))
    assert metrics.akld(weak, strong) == pytest.approx((4 - 1 - np.log(4)) / 2)
    assert metrics.akld(strong, weak) == pytest.approx((0.25 - 1 - np.log(0.25)) / 2)
    assert metrics.akld(strong, 0.02 * np.sign(white(2, seed=3))) == pytest.approx(0, abs=1e-12)


def test_akld_floor_of_two_draws_of_white_noise():
    """V is nearly a chi-square of 25 degrees, for which E[F - 1 - log F] / 2 is known."""
    w = 1 / np.square(np.sum(np.square([1, 3.5, 7, 9, 7, 3.5, 1])) / 32**2)
    found = metrics.akld(white(30), white(30, seed=1))
    # E[F] of an F(w, w) variable is w / (w - 2), and its logarithm is symmetric about 0
    assert found == pytest.approx((w / (w - 2) - 1) / 2, rel=0.1)


def test_variance_ratio_and_r2_of_known_variances():
    clean = intensities(60)
    real = white(60) * np.sqrt(0.01 * clean + 0.001)
    same = white(60, seed=1) * np.sqrt(0.01 * clean + 0.001)
    flat = white(60, seed=2) * 0.05
    assert metrics.variance_ratio(real, same, clean) == pytest.approx(1, abs=0.02)
    assert metrics.variance_ratio(real, 1.5 * real, clean) == pytest.approx(2.25)
    assert metrics.variance_r2(real, real, clean) == 1
    assert metrics.variance_r2(real, same, clean) > 0.99
    # of noise k times as strong, 1 - (2 log k)^2 / variance of log v over the values
    log_v = np.log(0.01 * clean + 0.001)
    expected = 1 - (2 * np.log(1.1)) ** 2 / log_v.var()
    assert metrics.variance_r2(real, 1.1 * real, clean) == pytest.approx(expected, abs=0.002)
    # flat noise: bins have a little less variance of log v than values
    expected = 1 - np.mean(np.square(log_v - np.log(0.05**2))) / log_v.var()
    assert metrics.variance_r2(real, flat, clean) == pytest.approx(expected, rel=0.04)


def test_kurtosis_of_known_distributions():
    """Laplace noise has an excess kurtosis of 3, uniform noise of -1.2, normal noise of 0."""
    rng, clean = np.random.default_rng(5), intensities(60)
    scale = 0.05 + 0 * clean
    laplace, uniform = rng.laplace(size=clean.shape) * scale, rng.uniform(-1, 1, clean.shape)
    assert metrics.kurtosis_error(laplace, white(60), clean) == pytest.approx(3, abs=0.3)
    assert metrics.kurtosis_error(white(60), uniform, clean) == pytest.approx(1.2, abs=0.1)
    assert metrics.kurtosis_error(laplace, laplace / 3, clean) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("of", "other"), [("row", "column"), ("column", "row")])
def test_banding_of_known_variance(of, other):
    """Offsets of variance b beside independent noise of variance 1: b / (1 + b)."""
    rng, b = np.random.default_rng(3), 0.25
    offsets = np.sqrt(b) * rng.normal(size=[300, 64])
    offsets = offsets[:, :, None] if of == "row" else offsets[:, None, :]
    noise = packed(rng.normal(size=[300, 64, 64]) + offsets)
    error = 3 * b / (1 + b) * np.sqrt(2 / (300 * 63))
    assert metrics.band_correlation(noise, of) == pytest.approx(b / (1 + b), abs=error)
    assert metrics.band_correlation(noise, other) == pytest.approx(0, abs=0.002)
    sums = {"row": banding.row_sums, "column": banding.column_sums}[of]
    total = sums(metrics.Noises(white(300), noise, noise)).sum(axis=0)
    assert banding.difference_of_sums(total) == pytest.approx(b / (1 + b), abs=error + 0.001)


def test_banding_is_no_correlation_of_neighbours():
    rng = np.random.default_rng(3)
    planes = rng.normal(size=[100, 64, 65])
    assert metrics.band_correlation(packed(planes[..., 1:] + planes[..., :-1])) < 0.005


def test_spectrum_of_a_moving_average():
    """White noise for n_x = w_x + a w_(x-1): P = (1 + a^2 + 2 a cos 2 pi f) / (1 + a^2).

    The division by the local scale takes up to a tenth off.
    """
    a, rng = 0.4, np.random.default_rng(7)
    planes = rng.normal(size=[400, 64, 65])
    noise = packed(planes[..., 1:] + a * planes[..., :-1])
    frequencies = np.abs(np.fft.fftfreq(64))
    power = (1 + a**2 + 2 * a * np.cos(2 * np.pi * frequencies)) / (1 + a**2)
    band = np.minimum((16 * frequencies).astype(int), 7)
    p = np.array([power[band == k].mean() for k in range(8)])
    weights = np.bincount(band) / 64
    as_white = weights @ (p - 1 - np.log(p)) / 2
    assert as_white == pytest.approx(0.5 * np.log(1 + a**2), rel=0.05)
    assert metrics.spectrum_divergence(noise, white(400)) == pytest.approx(as_white, rel=0.1)
    taken = weights @ (1 / p - 1 + np.log(p)) / 2
    assert metrics.spectrum_divergence(white(400), noise) == pytest.approx(taken, rel=0.12)
    assert metrics.spectrum_divergence(noise, 3 * noise) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("which", COMPARISONS)
@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (lambda n: 0 * n, "is the same everywhere, 0: no noise"),
        (lambda n: np.where(n > 2, np.nan, n), "holds NaN or infinity"),
        (lambda n: n * np.inf, "holds NaN or infinity"),
        (lambda n: n[:0], "is empty"),
        (lambda n: n[0], r"packed patches \[B, h, w, 4\]; got \[32, 32, 4\]"),
        (lambda n: n[..., :3], r"packed patches \[B, h, w, 4\]; got \[20, 32, 32, 3\]"),
        (lambda n: (100 * n).astype(int), "of type int64; give floating-point raw intensities"),
    ],
)
def test_what_is_no_noise_is_refused(which, damaged, message):
    compare, noise = COMPARISONS[which], white()
    with pytest.raises(ValueError, match=message) as refused:
        compare(damaged(noise), noise)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=message.replace("20", r"\d+")):
        compare(noise, damaged(noise))


@pytest.mark.parametrize("which", [name for name in COMPARISONS if name != "banding"])
def test_other_shapes_and_few_pixels_are_refused(which):
    with pytest.raises(ValueError, match="give both for the same patches"):
        COMPARISONS[which](white(), white(19))
    with pytest.raises(ValueError, match=r"give (patches of|more or other)"):
        COMPARISONS[which](white(2, size=1), white(2, seed=1, size=1))


def test_banding_of_one_pixel_and_of_diagonals_is_refused():
    with pytest.raises(ValueError, match="1 x 1 packed pixels; give patches of 2 x 2 at least"):
        metrics.band_correlation(white(2, size=1))
    with pytest.raises(ValueError, match="banding is of row or column; got 'diagonal'"):
        metrics.band_correlation(white(), "diagonal")


def test_clean_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"clean images are of shape \[19, 32, 32, 4\]"):
        metrics.variance_ratio(white(), white(), white(19))


def test_r2_needs_three_bins():
    with pytest.raises(ValueError, match="fewer than 3 bins of the clean intensity have 100"):
        metrics.variance_r2(white(), white(), 0.5 + 0 * white())


def test_r2_needs_a_variance_that_depends_on_intensity():
    with pytest.raises(ValueError, match="does not depend on intensity: no R2"):
        metrics.variance_r2(white(), white(), intensities())


def batch_of(noise, clean):
    count = len(noise)
    return {
        "noise": noise.astype(np.float32), "clean": clean.astype(np.float32),
        "iso": np.full(count, 100), "camera": np.zeros(count, int), "nlf": np.ones([count, 2]),
        "frame": np.zeros(count, int),
    }  # fmt: skip


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.every_5th_patch])
def test_images_have_the_value_of_their_patches(metric):
    """In two batches as in one call for all of every fifth patch; floors compare two samples."""
    clean = intensities(50)
    scale = 0.1 * np.sqrt(clean + 0.02)
    noise, sample, again = scale * white(50), 1.2 * scale * white(50, seed=1), scale * white(50, 2)
    log_mass = -np.linspace(3, 4, 10)  # of every 5th patch
    scores = evaluation.ImageScores()
    for half, fifths in ((slice(0, 25), slice(0, 5)), (slice(25, 50), slice(5, 10))):
        measured = Measured(None, None, sample[half], again[half][::5], log_mass[fifths])
        scores.add(batch_of(noise[half], clean[half]), {"m": measured})
    (row,) = scores.rows()
    first, second = (sample, again) if metric.is_floor else (noise, sample)
    first, second, clean = first[::5], second[::5], clean[::5]
    first = first.astype(np.float32).astype(float) if not metric.is_floor else first
    pairs = list(zip(first, second, strict=True))
    expected = {
        "log_mass": lambda: -3.5,
        "kl": lambda: np.mean([metrics.marginal_kl(*pair) for pair in pairs]),
        "kl_reverse": lambda: np.mean([metrics.reverse_kl(*pair) for pair in pairs]),
        "kl_symmetric": lambda: np.mean([metrics.symmetric_kl(*pair) for pair in pairs]),
        "akld": lambda: metrics.akld(first, second),
        "variance_r2": lambda: metrics.variance_r2(first, second, clean),
        "variance_ratio": lambda: metrics.variance_ratio(first, second, clean),
        "row_correlation": lambda: (
            metrics.band_correlation(second) - metrics.band_correlation(first)
        ),
        "column_correlation": lambda: (
            metrics.band_correlation(second, "column") - metrics.band_correlation(first, "column")
        ),
        "kurtosis_error": lambda: metrics.kurtosis_error(first, second, clean),
        "spectrum": lambda: metrics.spectrum_divergence(first, second),
    }[metric.name.removesuffix("_floor")]()
    assert row["scores"]["m"][metric.name] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    summary = evaluation.summarise([row, {**row, "instance": 7}])["m"]
    assert summary[f"{metric.name}_stderr"] == pytest.approx(0, abs=1e-12)


def test_images_without_noise_have_no_value_where_it_is_undefined():
    """A burnt-out image: no noise at all, which only some metrics can compare."""
    scores = evaluation.ImageScores()
    sample = 0.01 * white(5)
    measured = Measured(None, None, sample, sample[:1])
    scores.add(batch_of(np.zeros([5, 32, 32, 4]), np.ones([5, 32, 32, 4])), {"m": measured})
    found = scores.rows()[0]["scores"]["m"]
    undefined = ("nll", "variance_ratio", "variance_r2", "kurtosis_error", "spectrum",
                 "row_correlation", "column_correlation")  # fmt: skip
    assert all(found[name] is None for name in undefined)
    assert found["akld"] > 100 and found["kl"] is not None
    assert evaluation.summarise(scores.rows())["m"]["spectrum"] is None


def test_the_frames_of_a_scene_are_one_sample():
    rows = [
        {"instance": instance, "patches": 1, "kl_patches": 1, "scores": {"m": {"nll": value}}}
        for instance, value in ((4, 1.0), (4, 1.0), (9, 3.0), (9, 3.0))
    ]
    found = evaluation.summarise(rows)["m"]
    assert (found["nll"], found["nll_stderr"]) == (2.0, pytest.approx(1.0))
    alone = [{**row, "instance": number} for number, row in enumerate(rows)]
    assert evaluation.summarise(alone)["m"]["nll_stderr"] == pytest.approx(np.sqrt(1 / 3))
    assert evaluation.summarise(rows[:2])["m"]["nll_stderr"] is None


def test_a_true_model_is_at_the_floor_of_each_metric():
    """Samples of the model that made the noise differ from it as two samples do."""
    model = nf.CameraNLF(2e-3, 1e-4)
    batches = []
    for image in range(12):
        clean = intensities(10)[np.random.default_rng(image).permutation(10)].astype(np.float32)
        noise = model(clean, 100, 0).sample(seed=(5, image)).numpy()
        batches.append(batch_of(noise, clean) | {"frame": np.full(10, image)})
    wrong = nf.GaussianNoise(0.05)
    scores = evaluation.evaluate({"true": model, "wrong": wrong}, batches)
    for name, metric in METRICS.items():
        floor = METRICS.get(f"{name}_floor")
        if floor is None:
            continue
        found = scores["true"]
        error = np.hypot(found[f"{name}_stderr"], found[f"{name}_floor_stderr"])
        assert abs(found[name] - found[f"{name}_floor"]) < 4 * error, name
        if metric.lower_is_better is not None and name not in ("kurtosis_error", "spectrum"):
            worse = scores["wrong"][name] - found[name]
            assert (worse > 0) == metric.lower_is_better and abs(worse) > 5 * error, name
    assert found["variance_ratio"] == pytest.approx(1, abs=0.01)
    assert by_intensity.EDGES[0] == 0 and by_intensity.EDGES[-1] == 1
