import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf


def noise_flow(arch, stddev):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, stddev, variable.shape))
    return model


MODELS = {
    "camera_nlf": lambda: nf.CameraNLF(0.01, 1e-4),
    "signal_and_gain": lambda: noise_flow("S-G-CAM", 0.3),
    "paper_signal_and_gain": lambda: noise_flow("eq12|eq16", 0.3),
    "fresh": lambda: nf.NoiseFlow("S-Ax4-G-Ax4-CAM", seed=0),
    "moved": lambda: noise_flow("S-Ax4-G-Ax4-CAM", 0.1),
    "paper_moved": lambda: noise_flow("eq12|unc|eq16|unc", 0.1),
    "unconditional": lambda: noise_flow("Ax4", 0.1),
}


_LONG = ("fresh", "paper_moved", "unconditional")  # "moved" has all that they have


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in _LONG else []) for n in MODELS]
)
def test_is_the_standard_deviation_of_draws(name):
    """1000 draws; pixels of one channel and one of 3 intensities together, off the border."""
    model = MODELS[name]()
    clean = np.empty((2, 36, 42, 4), np.float32)
    clean[:, :, :14], clean[:, :, 14:28], clean[:, :, 28:] = 0.0, 0.2, 0.9
    conditions = clean, [100, 800], ["GP", "S6"]
    scale = nf.predicted_scale(model, *conditions).numpy()

    @tf.function(reduce_retracing=True)
    def draw(seed):
        p = model(*conditions)
        return p.bijector.forward(tf.random.stateless_normal(clean.shape, [0, seed]))

    draws = [draw(tf.constant(seed)).numpy().astype(np.float64) for seed in range(1000)]
    variance = np.var(draws, axis=0)
    reach = getattr(model, "receptive_field", 0)
    for part in (slice(0, 14), slice(14, 28), slice(28, 42)):
        columns = [c for c in range(42)[part] if reach <= c < 42 - reach]
        if columns:
            inside = np.s_[:, reach : 36 - reach, columns]
            found = np.sqrt(variance[inside].mean(axis=(1, 2)))
            np.testing.assert_allclose(found, scale[inside].mean(axis=(1, 2)), rtol=0.02)


def test_exact_where_nothing_mixes_pixels():
    clean = np.random.default_rng(0).uniform(size=(2, 3, 5, 4)).astype(np.float32)
    scale = nf.predicted_scale(nf.CameraNLF(0.01, 1e-4), clean, [100, 800], 1)
    np.testing.assert_allclose(scale, np.sqrt(0.01 * clean + 1e-4), rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_of_no_image(name):
    clean = np.empty((0, 3, 5, 4), np.float32)
    if not hasattr(MODELS[name](), "beta1"):  # whose betas are for so many images
        assert nf.predicted_scale(MODELS[name](), clean, 100, "S6").shape == clean.shape


@pytest.mark.parametrize("arch", ["eq12|unc|eq16|unc", "eq12|eq16|unc"])
def test_the_papers_layers_share_the_gain_of_each_image(arch):
    """Fresh flow steps turn the channels, which leaves white noise of one gain as it is."""
    model = nf.NoiseFlow(arch, seed=0)
    signal, gain = model.layers[0], model.layers[arch.split("|").index("eq16")]
    signal.b1.assign(-2.0)
    signal.b2.assign(-3.0)
    gain.v.assign(np.log(np.float32([0.02, 0.01, 0.004, 0.003, 0.001])))
    gain.log_psi.assign(np.log(np.float32([1, 2, 3, 4, 5])))
    clean = np.random.default_rng(0).uniform(size=(3, 3, 5, 4)).astype(np.float32)
    gamma = np.reshape([0.02 * 100 * 3, 0.001 * 3200 * 1, 0.004 * 800 * 5], (3, 1, 1, 1))
    expected = np.sqrt(np.exp(-2) * clean / gamma + np.exp(-3)) * gamma
    scale = nf.predicted_scale(model, clean, [100, 3200, 800], ["S6", "IP", "G4"])
    np.testing.assert_allclose(scale, expected, rtol=0.02)


def test_refuses_a_scale_that_depends_on_the_surroundings():
    with pytest.raises(ValueError, match="flow step on the data side of its signal layer"):
        nf.predicted_scale(nf.NoiseFlow("unc|sdn5|gain4"), np.zeros((1, 2, 2, 4)), 100, "S6")
    for arch, has_scale in (("unc|sdn5|gain4", False), ("sdn5|unc|eq16", True), ("unc", True)):
        assert nf.NoiseFlow(arch).has_scale is has_scale
