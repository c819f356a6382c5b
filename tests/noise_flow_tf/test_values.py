"""Clean images that are not normalised raw intensities, at each entry to a model."""

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf import conditions
from noise_flow_tf.denoising import sources
from noise_flow_tf.saving import saved_model

SHAPE = (2, 6, 8, 4)
COUNTS = np.random.default_rng(0).uniform(0, 1023, SHAPE).astype(np.float32)


def _with_nan():
    clean = np.full(SHAPE, 0.5, np.float32)
    clean[1, 2, 3, 0] = np.nan
    return clean


REFUSED = {
    "NaN": (_with_nan(), r"1 NaN among 384 values"),
    "counts": (COUNTS, r"got .* to 10\d\d"),
    "0 to 255": (COUNTS / 4, "got .* to 25"),
    "far below 0": (-COUNTS / 1023, "got -0.99"),
    "infinite": (np.full(SHAPE, np.inf, np.float32), "got inf to inf"),
    "uint8": (COUNTS.astype(np.uint8), "floating-point raw intensities.*got uint8"),
    "uint16": (COUNTS.astype(np.uint16), "floating-point raw intensities.*got uint16"),
    "bool": (COUNTS > 500, "got bool"),
}
NORMALISE = r"\(raw - black level\) / \(white level - black level\)"
MODELS = {
    "Noise Flow": lambda: nf.NoiseFlow("sdn5|unc|gain4", seed=0),
    "Gaussian": lambda: nf.GaussianNoise(0.1),
    "camera NLF": lambda: nf.CameraNLF(0.01, 1e-4),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


ENTRIES = {
    "model": lambda model, clean: model(clean, 800, "S6"),
    "sample_image": lambda model, clean: nf.sample_image(model, clean[1], 800, "S6"),
    "predicted_scale": lambda model, clean: nf.predicted_scale(model, clean, 800, "S6"),
    "source of noise": lambda model, clean: sources.ModelNoise(model, [("S6", 800)])(
        {"clean": tf.constant(clean)}, tf.constant([0, 1])
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", REFUSED)
def test_each_entry_refuses_them_and_says_how_to_normalise(model, entry, name):
    clean, message = REFUSED[name]
    message = message.replace("384", "192") if entry == "sample_image" else message
    with pytest.raises(ValueError, match=f"(?s)clean must be .*{message}.*{NORMALISE}") as caught:
        ENTRIES[entry](model, clean)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["NaN", "counts", "far below 0"])
def test_graphs_refuse_them_when_they_run(model, name):
    @tf.function
    def log_prob(clean):
        return model(clean, 800, "S6").log_prob(tf.zeros(SHAPE))

    assert np.isfinite(log_prob(tf.fill(SHAPE, 0.5))).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="clean must be raw intensities"):
        log_prob(tf.constant(REFUSED[name][0]))


@pytest.mark.parametrize("name", ["uint8", "uint16"])
def test_graphs_refuse_integers_when_they_are_made(model, name):
    function = tf.function(lambda clean: model(clean, 800, "S6").log_prob(tf.zeros(SHAPE)))
    with pytest.raises(ValueError, match="floating-point raw intensities"):
        function(tf.constant(REFUSED[name][0]))


def test_xla_makes_them_nan_image_by_image(model):
    @tf.function(jit_compile=True)
    def compute(clean):
        p = model(clean, 800, "S6")
        return p.log_prob(tf.zeros(SHAPE)), p.noise_of(tf.ones(SHAPE))

    log_prob, noise = compute(tf.constant(_with_nan()))
    assert np.isfinite(log_prob).tolist() == [True, False]
    counts = np.full(SHAPE, 0.5, np.float32)
    counts[0] *= 100
    log_prob, _ = compute(tf.constant(counts))
    assert np.isfinite(log_prob).tolist() == [False, True]


@pytest.mark.parametrize("arch", ["S-Ax1-G-Ax1-CAM", "eq12|unc|eq16", "Ax4"])
@pytest.mark.parametrize("unknown", [{"iso": [100, 200]}, {"camera": [0, 7]}, {"camera": [0, -1]}])
def test_xla_makes_unknown_conditions_nan(arch, unknown):
    model = nf.NoiseFlow(arch, seed=0)

    @tf.function(jit_compile=True)
    def compute(iso, camera):
        p = model(tf.fill(SHAPE, 0.5), iso, camera)
        return p.log_prob(tf.zeros(SHAPE)), p.sample(seed=(0, 1))

    given = {"iso": [100, 800], "camera": [0, 4]}
    for log_prob in compute(**{name: tf.constant(value) for name, value in given.items()}):
        assert np.isfinite(log_prob).all()
    log_prob, noise = compute(**{k: tf.constant(v) for k, v in (given | unknown).items()})
    assert np.isfinite(log_prob).tolist() == [True, False]
    assert np.isfinite(noise[0]).all()
    if arch != "Ax4":  # which looks at nothing but its latent
        assert not np.isfinite(noise[1]).any()


def test_xla_gives_no_density_to_what_it_draws_for_unknown_conditions():
    model = nf.NoiseFlow("unc", seed=0)

    @tf.function(jit_compile=True)
    def log_prob(camera):
        return model(tf.fill(SHAPE, 0.5), 100, camera).experimental_sample_and_log_prob(
            seed=(0, 1)
        )[1]

    assert np.isfinite(log_prob(tf.constant([0, 7]))).tolist() == [True, False]


def test_slightly_below_zero_has_the_noise_of_zero(model):
    """As black level subtraction leaves it."""
    dark, black = np.zeros((2, *SHAPE), np.float32)
    dark[0, :3], dark[1, 0, 0, 0] = -0.03, -0.4
    noise = tf.constant(np.random.default_rng(1).normal(0, 0.05, SHAPE), tf.float32)
    ours, zero = model(dark, 800, "S6"), model(black, 800, "S6")
    np.testing.assert_array_equal(ours.log_prob(noise), zero.log_prob(noise))
    np.testing.assert_array_equal(ours.noise_of(noise), zero.noise_of(noise))
    of_image = [nf.sample_image(model, clean[0], 800, "S6", seed=3) for clean in (dark, black)]
    np.testing.assert_array_equal(*of_image)
    scales = [nf.predicted_scale(model, clean, 800, "S6") for clean in (dark, black)]
    np.testing.assert_array_equal(*scales)


@pytest.mark.parametrize("end", [0, 1])
def test_the_range_is_the_one_that_is_stated(model, end):
    bound = conditions.CLEAN_RANGE[end]
    outside = np.nextafter(np.float32(bound), np.float32(10 * bound))
    assert np.isfinite(model(np.full(SHAPE, bound), 800, "S6").log_prob(tf.zeros(SHAPE))).all()
    with pytest.raises(ValueError, match=r"-0\.5 to 1\.5 is accepted"):
        model(np.full(SHAPE, outside), 800, "S6")


def test_images_without_pixels_are_refused(model):
    with pytest.raises(ValueError, match=r"clean has no pixels.*\[2, 0, 8, 4\]"):
        model(np.zeros((2, 0, 8, 4), np.float32), 800, "S6")


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "saved_model"
    saved_model.save(nf.NoiseFlow("sdn5|unc|gain4", seed=0), path)
    return tf.saved_model.load(str(path)).signatures


GIVEN = {"iso": tf.constant([800]), "camera": tf.constant([2])}
EXTRA = {
    "sample": {"temperature": tf.constant(1.0), "seed": tf.constant(0)},
    "log_prob": {"noise": tf.zeros(SHAPE)},
    "scale": {},
}


@pytest.mark.parametrize("signature", EXTRA)
@pytest.mark.parametrize("name", ["NaN", "counts", "far below 0"])
def test_saved_models_refuse_them(signatures, signature, name):
    with pytest.raises(tf.errors.InvalidArgumentError, match="clean must be raw intensities"):
        signatures[signature](clean=tf.constant(REFUSED[name][0]), **GIVEN, **EXTRA[signature])


def test_saved_models_take_what_lies_slightly_below_zero(signatures):
    for signature, extra in EXTRA.items():
        (result,) = signatures[signature](clean=tf.fill(SHAPE, -0.01), **GIVEN, **extra).values()
        assert np.isfinite(result).all()


def test_saved_models_refuse_noise_of_another_size(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="height, width and channels"):
        signatures["log_prob"](clean=tf.fill([2, 1, 1, 4], 0.5), **GIVEN, **EXTRA["log_prob"])


def test_an_iso_may_be_a_tensor(model):
    clean = np.full(SHAPE[1:], 0.5, np.float32)
    expected = nf.sample_image(model, clean, 800, "S6", seed=1)
    for iso, camera in ((tf.constant(800), tf.constant("S6")), (np.int64(800), tf.constant(2))):
        found = nf.sample_image(model, clean, iso, camera, seed=tf.constant(1))
        np.testing.assert_array_equal(found, expected)
    for wrong in (tf.constant([800]), [800, 100]):
        with pytest.raises(ValueError, match="iso must be one value for the image"):
            nf.sample_image(model, clean, wrong, "S6")
