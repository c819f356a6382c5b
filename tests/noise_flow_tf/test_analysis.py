import io
import json

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from scipy.ndimage import convolve1d

import noise_flow_tf as nf
from noise_flow_tf import evaluation, plotting
from noise_flow_tf.evaluation import analysis


def white(seed=0, patches=60, size=(24, 28)):
    return np.random.default_rng(seed).normal(size=[patches, *size, 4])


def rms(rho):
    return analysis.correlation_error(rho, np.zeros_like(rho))


def found(*images, max_lag=2):
    correlation = analysis.Correlation(max_lag)
    for noise in images:
        correlation.add(noise)
    return correlation.mean()


def plain(results):
    """As a file of results gives them back."""
    return json.loads(json.dumps(results))


def test_white_noise_has_no_correlation():
    rho = found(white())
    np.testing.assert_allclose(rho[2, 2].diagonal(), 1)
    assert rms(rho) == pytest.approx(1 / np.sqrt(60 * 24 * 28), rel=0.15)


def test_filtered_noise_has_the_correlation_of_its_kernel():
    """n = w * (1, a) along rows and (1, b) down: a / (1 + a^2) and b / (1 + b^2)."""
    a, b = 0.5, 0.2
    noise = convolve1d(convolve1d(white(), [1, a], axis=2), [1, b], axis=1)[:, 1:-1, 1:-1]
    right, down = a / (1 + a**2), b / (1 + b**2)
    lags = np.zeros([5, 5])
    lags[2, 1:4] = right, 1, right
    lags[1], lags[3] = down * lags[2], down * lags[2]
    expected = lags[..., None, None] * np.eye(4)
    np.testing.assert_allclose(found(noise), expected, atol=0.025)


def test_the_lag_leads_from_the_first_channel_to_the_second():
    base = white()
    noise = white(seed=1)
    noise[..., 3] = base[..., 3]
    noise[:, 1:, 2:, 0] = base[:, :-1, :-2, 3]
    rho = found(noise)
    assert rho[3, 4, 3, 0] == rho[1, 0, 0, 3] == pytest.approx(1, abs=0.01)
    rho[3, 4, 3, 0] = rho[1, 0, 0, 3] = 0
    assert rms(rho) < 0.01


def test_images_count_alike_whatever_their_strength():
    related = white(seed=1)
    related[..., 1] = related[..., 0]
    together = found(related, 1000 * white(seed=2), np.zeros([1, 8, 8, 4]))
    assert together[2, 2, 0, 1] == pytest.approx(0.5, abs=0.01)


def test_correlation_error_is_the_rms_but_for_the_ones():
    real = found(white())
    model = real + 0.1
    model[2, 2] -= 0.1 * np.eye(4)
    assert analysis.correlation_error(model, real) == pytest.approx(0.1)


@pytest.mark.parametrize("shape", [[8, 8, 4], [1, 2, 8, 4]])
def test_correlation_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"h and w above 2; got \[.*8"):
        analysis.Correlation().add(np.ones(shape))
    with pytest.raises(ValueError, match="max_lag must not be negative"):
        analysis.Correlation(-1)


@pytest.mark.parametrize("take", [analysis.Correlation().mean, analysis.Calibration().results])
def test_nothing_given_is_an_error(take):
    with pytest.raises(ValueError, match="at least one image"):
        take()


def test_variance_of_a_camera_nlf_lies_on_its_line():
    rng = np.random.default_rng(0)
    bins = analysis.VarianceOverIntensity()
    beta1, beta2 = 0.01, 1e-4
    for _ in range(4):
        clean = rng.uniform(size=[20, 16, 16, 4]) ** 2
        noise = np.sqrt(beta1 * clean + beta2) * rng.normal(size=clean.shape)
        bins.add("S6", clean, {"nlf": noise, "twice": 2 * noise})
    told = plain(bins.results())["S6"]
    assert min(told["count"]) >= 1000
    assert told["clean"][0] < 0.001
    assert told["clean"][-1] > 0.9
    line = beta1 * np.array(told["clean"]) + beta2
    error = line * np.sqrt(2 / np.array(told["count"]))
    assert np.max(np.abs(told["variance"]["nlf"] - line) / error) < 4.5
    np.testing.assert_allclose(told["variance"]["twice"], 4 * np.array(told["variance"]["nlf"]))


def test_bins_with_few_values_are_left_out():
    bins = analysis.VarianceOverIntensity(fewest=30)
    clean = np.array([0.1] * 30 + [1.0] * 10)
    bins.add("S6", clean, {"real": np.arange(40.0)})
    told = bins.results()["S6"]
    assert told["count"] == [30]
    assert told["variance"]["real"] == pytest.approx([np.var(np.arange(30))])


def latent(gain):
    """Noise of a known gain, as a Gaussian of standard deviation 0.1 sees it."""
    calibration = analysis.Calibration()
    for seed, group in enumerate(["S6, ISO 100", "IP, ISO 800"]):
        noise = (0.1 * gain * white(seed)).astype(np.float32)
        p = nf.GaussianNoise(0.1)(np.zeros_like(noise), 100, "S6")
        calibration.add(group, p.bijector.inverse(noise).numpy())
    return plain(calibration.results())


def test_the_latent_of_the_true_model_is_standard_normal():
    told = latent(gain=1)
    n = 2 * 60 * 24 * 28 * 4
    for one, count in [(told["all"], n), *((group, n / 2) for group in told["groups"].values())]:
        assert abs(one["mean"]) < 4 / np.sqrt(count)
        assert abs(one["variance"] - 1) < 4 * np.sqrt(2 / count)
        assert abs(one["excess_kurtosis"]) < 4 * np.sqrt(24 / count)
    assert told["all"]["whiteness"] < 1.2 / np.sqrt(n / 4)
    normal, quantiles = np.transpose(told["all"]["quantiles"])
    inner = abs(normal) <= 3
    np.testing.assert_allclose(quantiles[inner], normal[inner], atol=0.06)


def test_the_latent_of_a_wrong_gain_is_not():
    told = latent(gain=1.1)["all"]
    assert told["variance"] == pytest.approx(1.21, abs=0.01)
    normal, quantiles = np.transpose(told["quantiles"])
    np.testing.assert_allclose(quantiles[10:-10], 1.1 * normal[10:-10], atol=0.02)


def test_heavy_tails_show_as_kurtosis():
    calibration = analysis.Calibration()
    calibration.add("S6", np.random.default_rng(0).laplace(size=[200, 32, 32, 4]))
    told = calibration.results()["all"]
    assert told["excess_kurtosis"] == pytest.approx(3, abs=0.15)
    assert told["quantiles"][0][1] < -6


def test_the_kl_of_an_exact_model_is_lowest_at_temperature_1():
    traced = []

    def model(clean, iso, camera):
        traced.append(clean.shape)
        return nf.GaussianNoise(0.03)(clean, iso, camera)

    batches = [
        {
            "noise": np.float32(0.03 * white(seed, patches=20)),
            "clean": np.zeros([20, 24, 28, 4], np.float32),
            "iso": np.full(20, 100, np.int32),
            "camera": np.full(20, 2, np.int32),
            "nlf": np.full([20, 2], 1e-4, np.float32),
        }
        for seed in (0, 1)
    ]
    temperature = analysis.KLOverTemperature({"exact": model}, seed=3)
    for batch in batches:
        temperature.add(batch)
    assert len(traced) == 1
    kl = dict(zip(analysis.TEMPERATURES, plain(temperature.results())["exact"], strict=True))
    assert list(kl) == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
    assert min(kl, key=kl.get) == 1.0
    tensors = [{name: tf.constant(a) for name, a in batch.items()} for batch in batches]
    scores = evaluation.evaluate({"exact": model}, tensors, seed=3)
    assert kl[1.0] == pytest.approx(scores["exact"]["kl"], rel=0.5)
    assert kl[0.4] > kl[0.7] > 3 * kl[1.0]


def correlation_maps():
    rho = found(white() + white(seed=1)[..., :1])
    return plotting.correlation_maps({"Real": rho, "Noise Flow": rho}, {"Noise Flow": 0.0123})


def variance_grid():
    bins = analysis.VarianceOverIntensity(100)
    clean = np.random.default_rng(0).uniform(size=[8, 16, 16, 4])
    groups = {("IP", 800): "a", ("S6", 100): "b", ("S6", 800): "c"}
    for group in groups.values():
        bins.add(group, clean, {"real": clean - 0.5, "ours": 0.5 - clean})
    told = plain(bins.results())
    return plotting.variance_grid(
        {key: told[group] for key, group in groups.items()},
        dict.fromkeys(groups, (0.01, 1e-4)),
        "real",
        "ours",
        ("real", "NLF", "Noise Flow"),
    )


def latent_quantiles():
    models = {"Camera NLF": latent(1.3), "Noise Flow": latent(1.0)}
    return plotting.latent_quantiles(models, "Noise Flow")


def charts():
    nll = plotting.Chart(
        {"training": ([1, 2, 3], [-2.0, -2.5, -2.7]), "test": ([1, 3], [-2.0, -2.6])},
        title="NLL",
        xlabel="epoch",
        ylabel="NLL (nats per dimension)",
        levels={"Gaussian": -2.2, "Camera NLF": -2.6},
        marked={"best": (3, -2.6)},
    )
    slope = plotting.Chart({"S6": ([100, 3200], [1e-4, 3e-3])}, "NLF", "ISO", "beta1", loglog=True)
    return plotting.charts(nll, slope)


@pytest.mark.parametrize("draw", [correlation_maps, variance_grid, latent_quantiles, charts])
def test_every_axis_is_labelled_and_the_figure_can_be_written(draw):
    figure = draw()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    assert imread(file).std() > 0.02
    of_all = figure.get_supxlabel() and figure.get_supylabel()
    for axis in figure.axes:
        if axis.get_label() == "<colorbar>":
            assert axis.get_ylabel() == "correlation coefficient"
        elif axis.axison:
            assert axis.get_title() or axis.get_xlabel()
            above = axis.get_subplotspec().colspan.start
            assert of_all or (axis.get_xlabel() and (axis.get_ylabel() or above))


def test_figures_tell_errors_conditions_and_levels():
    titles = [axis.get_title() for axis in correlation_maps().axes]
    assert "Noise Flow\nerror 0.0123" in titles
    shown = [axis.get_title() for axis in variance_grid().axes if axis.axison]
    assert shown == ["IP, ISO 800", "S6, ISO 100", "S6, ISO 800"]
    left, right = charts().axes
    legend = [text.get_text() for text in left.get_legend().get_texts()]
    assert legend == ["training", "test", "Gaussian", "Camera NLF", "best"]
    assert (right.get_xscale(), right.get_yscale()) == ("log", "log")
