import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf

CLEAN = np.random.default_rng(0).uniform(size=(3, 2, 5, 4)).astype(np.float32)


def test_an_nlf_is_given_once():
    """A second one is not passed over in silence."""
    nlf = np.float32([[0.01, 1e-4]] * 3)
    with pytest.raises(ValueError, match="was made with beta1 and beta2; call it without nlf"):
        nf.CameraNLF(0.01, 1e-4)(CLEAN, 100, "S6", nlf=nlf)
    with pytest.raises(ValueError, match=r"call it with nlf=\[\[beta1, beta2\], \.\.\]"):
        nf.CameraNLF()(CLEAN, 100, "S6")
    with pytest.raises(ValueError, match="pass both beta1 and beta2, or neither"):
        nf.CameraNLF(0.01)
    with pytest.raises(
        ValueError, match="beta1 must be one value for all or one for each of the 3"
    ):
        nf.CameraNLF([0.01, 0.02], 1e-4)(CLEAN, 100, "S6")


def test_density_of_each_image():
    noise = np.random.default_rng(1).normal(0, 0.1, CLEAN.shape).astype(np.float32)
    nlf = np.float32([[0.01, 1e-3], [0.02, 4e-3], [0.0, 0.01]])
    variance = nlf[:, 0].reshape(3, 1, 1, 1) * CLEAN + nlf[:, 1].reshape(3, 1, 1, 1)
    expected = -0.5 * np.sum(noise**2 / variance + np.log(2 * np.pi * variance), axis=(1, 2, 3))
    for p in (
        nf.CameraNLF()(CLEAN, 100, "S6", nlf=nlf),
        nf.CameraNLF(nlf[:, 0], nlf[:, 1])(CLEAN, 3200, ["S6", "IP", "G4"]),
    ):
        np.testing.assert_allclose(p.log_prob(noise), expected, rtol=1e-5)
        np.testing.assert_allclose(p[1:].log_prob(noise[1:]), expected[1:], rtol=1e-5)
        np.testing.assert_allclose(p[2].log_prob(noise[2]), expected[2], rtol=1e-5)
    white = nf.GaussianNoise(0.1)(CLEAN, 100, "S6")
    np.testing.assert_allclose(white[2].log_prob(noise[2]), expected[2], rtol=1e-5)
    assert white.sample(seed=1).shape == CLEAN.shape
    np.testing.assert_allclose(white.noise_of(tf.ones_like(CLEAN)), 0.1, rtol=1e-6)
