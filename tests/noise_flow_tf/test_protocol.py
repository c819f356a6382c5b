"""What is asked of a noise model, and what is done without."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import noise_flow_tf as nf
from noise_flow_tf import protocol

RNG = np.random.default_rng(0)
BATCH = {
    "clean": tf.constant(RNG.uniform(0.1, 0.9, (3, 6, 10, 4)), tf.float32),
    "noise": tf.constant(RNG.normal(0, 0.1, (3, 6, 10, 4)), tf.float32),
    "iso": tf.constant([3200, 100, 800]),
    "camera": tf.constant([4, 0, 2]),
    "nlf": tf.constant([[0.01, 1e-4], [0.04, 9e-4], [0.0, 0.25]]),
}
SEED = (7, 0)


class WithoutLatent:
    """A noise model that somebody else has written."""

    def __call__(self, clean, iso, camera, training=False):
        normal = tfp.distributions.Normal(tf.zeros_like(clean), 2.0 if training else 1.0)
        return tfp.distributions.Independent(normal, 3)


def test_training_reaches_the_model():
    batch, model = BATCH, nf.NoiseFlow("unc", seed=0)
    ours = protocol.distribution(model, batch, training=True).log_prob(batch["noise"])
    theirs = model(batch["clean"], 100, 0, training=True).log_prob(batch["noise"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    scales = [
        protocol.distribution(WithoutLatent(), batch, training=training).distribution.scale
        for training in (False, True)
    ]
    assert [float(scale) for scale in scales] == [1, 2]


def test_each_image_has_its_own_nlf():
    p = protocol.distribution(nf.CameraNLF(), BATCH)
    for i, (beta1, beta2) in enumerate(BATCH["nlf"].numpy()):
        variance = beta1 * BATCH["clean"][i].numpy() + beta2
        found = p.noise_of(tf.ones_like(BATCH["clean"]))[i]
        np.testing.assert_allclose(found, np.sqrt(variance), rtol=1e-5)


def test_images_of_a_batch_have_noise_of_their_own():
    p = nf.GaussianNoise(0.5)(BATCH["clean"], 100, "S6")
    noise = protocol.sample(p, SEED).numpy()
    assert noise.shape == BATCH["clean"].shape
    correlations = np.corrcoef(noise.reshape(3, -1))
    assert np.abs(correlations[np.triu_indices(3, 1)]).max() < 0.3
    np.testing.assert_array_equal(protocol.sample(p, SEED), noise)
    np.testing.assert_allclose(protocol.sample(p, SEED, 0.25), noise / 4, rtol=1e-6)
    assert not np.any(protocol.sample(p, SEED, 0.0))
    for other in ((7, 1), (8, 0)):
        assert not np.array_equal(protocol.sample(p, other), noise)


def test_a_model_without_a_latent_has_no_temperature():
    p = WithoutLatent()(BATCH["clean"], 100, "S6")
    first, again, other = (protocol.sample(p, seed).numpy() for seed in (SEED, SEED, (8, 0)))
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape == BATCH["clean"].shape and not np.array_equal(first, other)
    for temperature in (0.0, 0.5, tf.constant(1.0)):
        with pytest.raises(ValueError, match="has no latent, so its temperature must be 1"):
            protocol.sample(p, SEED, temperature)
    latent, log_prob = protocol.latent_and_log_prob(p, BATCH["noise"])
    assert latent is None
    np.testing.assert_array_equal(log_prob, p.log_prob(BATCH["noise"]))
