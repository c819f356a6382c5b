"""The linear-Gaussian baseline: a normalised density with the correlation that it was given."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import noise_flow_tf as nf
from noise_flow_tf.baselines.linear_gaussian import LinearGaussian
from noise_flow_tf.bijectors.causal_filter import CausalFilter, neighbours


def filter_of(seed=0, strength=0.04, reach=2):
    rng = np.random.default_rng(seed)
    own = np.diag(np.exp(rng.normal(0, 0.05, 4))) + np.triu(rng.normal(0, 0.1, (4, 4)), 1)
    others = strength * rng.normal(size=(len(neighbours(reach)), 4, 4))
    return own, others


OWN, OTHERS = filter_of()
KNOWN = LinearGaussian(
    {
        "log_beta1": [[np.log(2e-3)]],
        "log_beta2": [[np.log(1e-4)]],
        "log_own": np.log(np.diag(OWN))[None, None],
        "within": OWN[np.triu_indices(4, 1)][None, None],
        "others": OTHERS[None, None],
    },
    ["S6"],
    [400],
)


def drawn(count, size=16, seed=0):
    clean = np.random.default_rng(seed).uniform(0, 0.5, (count, size, size, 4)).astype(np.float32)
    noise = KNOWN(clean, 400, "S6").sample(seed=(seed, 1)).numpy()
    return {"clean": clean, "noise": noise, "iso": np.full(count, 400), "camera": ["S6"] * count}


@pytest.mark.parametrize(
    ("reach", "shape"),
    [(1, (3, 5)), (2, (4, 3)), pytest.param(3, (1, 6), marks=pytest.mark.slow), (2, (5, 1))],
)
def test_both_directions_and_the_determinant(reach, shape):
    """The Jacobian of the inverse, written out, gives the log-det and solves for the forward."""
    own, others = filter_of(1, 0.1, reach)
    layer = CausalFilter(np.float32(own)[None], np.float32(others)[None])
    size = int(np.prod(shape)) * 4
    units = np.eye(size, dtype=np.float32).reshape(size, *shape, 4)
    matrix = layer.inverse(units).numpy().reshape(size, size)
    np.testing.assert_allclose(
        layer.inverse_log_det_jacobian(units[:1], 3), np.linalg.slogdet(matrix)[1], rtol=1e-4
    )
    x = np.random.default_rng(2).normal(size=(2, *shape, 4)).astype(np.float32)
    expected = np.linalg.solve(matrix.T, x.reshape(2, size).T).T.reshape(x.shape)
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-3, atol=1e-4)
    dynamic = tf.function(layer.forward, input_signature=[tf.TensorSpec([None, None, None, 4])])
    np.testing.assert_allclose(dynamic(x), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="others must be of 4, 12 or 24 neighbours; got 5"):
        CausalFilter(np.float32(own)[None], np.zeros((1, 5, 4, 4), np.float32))


def test_the_density_is_that_of_its_covariance():
    """Of a small image, by the multivariate normal of scipy with the covariance written out."""
    clean = np.random.default_rng(3).uniform(size=(1, 3, 4, 4)).astype(np.float32)
    p = KNOWN(clean, 400, "S6")
    units = np.eye(48, dtype=np.float32).reshape(48, 3, 4, 4)
    rows = KNOWN(np.repeat(clean, 48, 0), 400, "S6").noise_of(units).numpy()
    covariance = rows.reshape(48, 48).astype(float).T @ rows.reshape(48, 48).astype(float)
    noise = p.sample(5, seed=1).numpy()
    expected = stats.multivariate_normal.logpdf(noise.reshape(5, 48), np.zeros(48), covariance)
    for one, value in zip(noise, expected, strict=True):
        np.testing.assert_allclose(p.log_prob(one), [value], rtol=1e-4)


def test_it_recovers_itself():
    """Coefficients within 4 standard errors in all, entropy within 3."""
    model = LinearGaussian.fit([drawn(80), drawn(80, seed=1)], ["S6"])
    count = 160 * 16 * 16
    others = model.parameters["others"].numpy()[0, 0]
    # About 1 / sqrt(pixels) of a coefficient in units of both standard deviations.
    error = np.sqrt(np.mean(np.square(others - OTHERS))) * np.sqrt(count)
    assert 0.5 < error < 1.5
    assert np.all(np.abs(others - OTHERS) * np.sqrt(count) < 6)
    held_out = drawn(60, seed=2)
    dims = 16 * 16 * 4
    known, fitted = (
        -m(held_out["clean"], 400, "S6").log_prob(held_out["noise"]).numpy() / dims
        for m in (KNOWN, model)
    )
    entropy = 0.5 * np.log(2 * np.pi * np.e) - np.log(np.diag(OWN)).mean()
    entropy += np.mean(0.5 * np.log(2e-3 * held_out["clean"] + 1e-4, dtype=float))
    error = np.sqrt(0.5 / (60 * dims))
    assert abs(known.mean() - entropy) < 3 * error
    assert abs(fitted.mean() - entropy) < 3 * error + 204 / (2 * count)
    white = nf.FittedNLF.fit([drawn(80)], ["S6"])(held_out["clean"], 400, "S6")
    assert fitted.mean() < (-white.log_prob(held_out["noise"]).numpy() / dims).mean() - 0.01


def test_whole_images_and_their_scale():
    """One draw for any tile; the standard deviation away from the border is the predicted one."""
    clean = np.full((96, 80, 4), 0.2, np.float32)
    noise = nf.sample_image(KNOWN, clean, 400, "S6", seed=3)
    np.testing.assert_array_equal(noise, nf.sample_image(KNOWN, clean, 400, "S6", seed=3, tile=16))
    scale = nf.predicted_scale(KNOWN, clean[None], 400, "S6").numpy()[0]
    measured = noise[8:, 8:-8].std(axis=(0, 1))
    np.testing.assert_allclose(measured, scale[0, 0], rtol=0.05)
    half = nf.sample_image(KNOWN, clean, 400, "S6", seed=3, temperature=0.5)
    np.testing.assert_allclose(half, noise / 2, atol=1e-6)


def test_noise_without_a_correlation_to_fit_is_refused():
    batch = drawn(4)
    batch["clean"] = np.full_like(batch["clean"], 0.3)
    batch["noise"][..., 2] = batch["noise"][..., 0]
    with pytest.raises(ValueError, match="camera S6 at ISO 400 has no stationary correlation"):
        LinearGaussian.fit([batch], ["S6"])
