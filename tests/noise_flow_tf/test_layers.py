"""What layers say of themselves is so, and is all that others need."""

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf import architecture, bijectors, layers
from noise_flow_tf.native import use
from noise_flow_tf.saving import saved_model

RNG = np.random.default_rng(0)
CLEAN = tf.constant(RNG.uniform(0.1, 0.9, size=(2, 12, 14, 4)), tf.float32)
LATENT = tf.constant(RNG.normal(size=CLEAN.shape), tf.float32)


def model_of(arch):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    return model


def noise(model, clean=CLEAN, iso=(100, 800), camera=("S6", "IP"), latent=LATENT):
    return model(clean, list(iso), list(camera)).noise_of(latent).numpy()


@pytest.mark.parametrize("code", architecture.CODES)
def test_declarations(code):
    model = model_of(code)
    (layer,) = model.layers
    assert layer.code == code and code in layer.codes
    before = noise(model)
    ratio = before / LATENT
    is_pointwise = np.all(ratio > 0) and np.allclose(
        ratio, noise(model, latent=2 * LATENT) / (2 * LATENT)
    )
    assert layer.pointwise == is_pointwise
    changes = {
        "clean": {"clean": CLEAN * 0.5},
        "iso": {"iso": (400, 3200)},
        "camera": {"camera": ("GP", "N6")},
    }
    for name, change in changes.items():
        if not np.array_equal(noise(model, **change), before):
            assert name in layer.depends_on
    pixel = np.zeros(CLEAN.shape, np.float32)
    pixel[:, 6, 7] = 1
    moved = np.argwhere(np.any(noise(model, latent=LATENT + pixel) != before, axis=(0, 3)))
    assert np.abs(moved - [6, 7]).max() == layer.receptive_field


def test_a_layer_must_declare_itself():
    with pytest.raises(TypeError, match="layer Silent must declare pointwise, depends_on"):

        class Silent(layers.Layer):
            codes = ("silent",)
            receptive_field = 0


@pytest.fixture
def iso_gain(monkeypatch):
    """A layer code of a newcomer: one file for the layer, one line in the table of codes."""

    class IsoGain(layers.Layer):
        codes = ("isogain",)
        pointwise = True
        depends_on = frozenset({"iso"})
        receptive_field = 0

        def __init__(self, space):
            super().__init__(name="iso_gain")
            self._levels = space.iso_levels
            self.log_gain = tf.Variable(np.float32([-4, -3, -2, -1, 0]), name="log_gain")

        @classmethod
        def build(cls, code, options):
            return cls(options.space)

        def bijectors(self, conditions, training):
            gain = layers.live(
                lambda: tf.exp(conditions.at_iso(self.log_gain)), self.log_gain, conditions
            )
            return [bijectors.Gain(gain)]

        def summaries(self):
            gains = tf.unstack(tf.exp(self.log_gain))
            labels = [f"ISO {iso}" for iso in self._levels]
            return {"gain by ISO": dict(zip(labels, gains, strict=True))}

    line = architecture.Code("one learned gain for each ISO level", "gain", "gain")
    monkeypatch.setitem(architecture.CODES, "isogain", line)
    return "isogain"


@pytest.mark.parametrize(
    "arch", ["sdn5|unc|isogain|unc", "isogain|unc", "sdn4|isogain", "unc|isogain"]
)
def test_the_scale_of_a_new_layer_is_right(iso_gain, arch):
    model = model_of(arch)
    clean = tf.fill([5, 40, 40, 4], 0.4)
    scale = nf.predicted_scale(model, clean, list(nf.ISO_LEVELS), "S6").numpy()
    p = model(clean, list(nf.ISO_LEVELS), "S6")
    measured = p.sample(60, seed=3).numpy()[:, :, 8:-8, 8:-8].std(axis=(0, 2, 3))
    np.testing.assert_allclose(scale[:, 20, 20], measured, rtol=0.03)
    assert scale[4].mean() / scale[0].mean() > 20


def test_a_new_layer_is_saved_shown_and_refused_by_the_release(iso_gain, tmp_path):
    model = model_of("sdn5|unc|isogain")
    saved_model.save(model, tmp_path / "model")
    again = nf.load(tmp_path / "model")
    np.testing.assert_array_equal(noise(again), noise(model))
    assert list(again.summaries()["gain by ISO"]) == [f"ISO {iso}" for iso in nf.ISO_LEVELS]
    assert "isogain" in architecture.table()
    with pytest.raises(ValueError, match="layer isogain of architecture .* is not in the release"):
        nf.release.variables(model)


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("training", [False, True])
def test_a_graph_for_any_number_of_images_takes_none(width, training):
    """As a replica does whose part of a small batch is empty."""
    model = nf.NoiseFlow("sdn5|unc|unc", width, seed=0)

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 5, 4])] * 2, autograph=False)
    @use.without_core()
    def compute(clean, noise):
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            log_prob = model(clean, 800, "S6", training=training).log_prob(noise)
        return log_prob, tape.gradient(log_prob, variables, unconnected_gradients="zero")

    log_prob, gradients = compute(tf.zeros([0, 6, 5, 4]), tf.zeros([0, 6, 5, 4]))
    assert log_prob.shape == [0]
    assert [g.shape for g in gradients] == [v.shape for v in model.trainable_variables]
    assert np.isfinite(compute(tf.zeros([2, 6, 5, 4]), tf.zeros([2, 6, 5, 4]))[0]).all()
