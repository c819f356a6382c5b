import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf import native
from noise_flow_tf.saving import saved_model

RNG = np.random.default_rng(0)
CLEAN = RNG.uniform(size=(5, 8, 8, 4)).astype(np.float32)
NOISE = (0.02 * RNG.normal(size=CLEAN.shape)).astype(np.float32)
OLD = CLEAN, list(nf.ISO_LEVELS), list(nf.CAMERAS)
ARCHITECTURES = {
    "S-Ax1-G-Ax1-CAM": 3, "sdn6|unc|gain4": 1, "eq12|unc|eq16|unc": 1, "nlf|unc": 10,
}  # fmt: skip


def trained(arch):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


def pairs(camera=("P9",) * 5):
    batch = {"noise": NOISE, "clean": CLEAN, "iso": list(nf.ISO_LEVELS)}
    batch = {name: tf.constant(values) for name, values in batch.items()}
    cameras = (*nf.CAMERAS, "P9")
    index = tf.constant([cameras.index(code) for code in camera])
    return tf.data.Dataset.from_tensors(batch | {"camera": index})


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_learns_its_own_parameters_and_leaves_the_others(arch):
    model = trained(arch)
    before = model(*OLD).log_prob(NOISE).numpy()
    added = model.with_camera("P9")
    assert added.num_parameters == model.num_parameters + ARCHITECTURES[arch]
    assert added.cameras == (*nf.CAMERAS, "P9")
    np.testing.assert_array_equal(added(*OLD).log_prob(NOISE), before)
    for old, new in zip(model.camera_parameters, added.camera_parameters, strict=True):
        np.testing.assert_allclose(new[..., -1], np.mean(old, axis=-1), rtol=1e-6)
    first = np.mean(added(CLEAN, nf.ISO_LEVELS, "P9").log_prob(NOISE))
    nf.fit_camera(added, "P9", pairs(), steps=60)
    assert np.mean(added(CLEAN, nf.ISO_LEVELS, "P9").log_prob(NOISE)) > first + 10
    np.testing.assert_array_equal(added(*OLD).log_prob(NOISE), before)
    np.testing.assert_array_equal(model(*OLD).log_prob(NOISE), before)
    factors = [row for group, row in added.summaries().items() if group.startswith("camera")]
    assert len(factors) == (0 if "nlf" in arch else ARCHITECTURES[arch])
    assert all("P9" in row for row in factors)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_others_stay_with_any_optimizer_and_patches_of_their_own(jit_compile):
    model = trained("S-Ax1-G-Ax1-CAM").with_camera("P9")
    before = [variable.numpy() for variable in model.variables]
    trainer = nf.Trainer(model, "P9")
    assert trainer.num_trained == 3
    trainer.compile(tf_keras.optimizers.AdamW(1e-2, weight_decay=0.1), jit_compile=jit_compile)
    trainer.fit(pairs(["P9", "S6", "P9", "IP", "P9"]), epochs=3, verbose=0)
    for variable, old in zip(model.variables, before, strict=True):
        if variable is model.layers[0].cam_params:
            assert (variable.numpy() != old)[:, 5].all()
            variable, old = variable[:, :5], old[:, :5]
        np.testing.assert_array_equal(variable, old)


def test_saved_with_its_camera(tmp_path):
    added = trained("S-Ax1-G-Ax1-CAM").with_camera("P9")
    nf.fit_camera(added, "P9", pairs(), steps=5)
    saved_model.save(added, tmp_path / "model")
    tf.train.Checkpoint(noise_model=added).write(str(tmp_path / "checkpoint"))
    recipe = saved_model.recipe(added)
    for again in (
        nf.load(tmp_path / "model"),
        saved_model.restore(tmp_path / "checkpoint", **recipe),
    ):
        assert again.cameras[-1] == "P9"
        np.testing.assert_array_equal(
            again(CLEAN, 800, "P9").log_prob(NOISE), added(CLEAN, 800, "P9").log_prob(NOISE)
        )


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_levels_of_its_own_leave_the_others(arch, tmp_path):
    """ISO levels below, between and above the model's: old cameras and levels stay bit by bit."""
    model = trained(arch)
    added = model.with_camera("P9", iso_levels=(64, 400, np.int64(640), 6400))
    assert added.iso_levels == (64, 100, 400, 640, 800, 1600, 3200, 6400)
    np.testing.assert_array_equal(
        added(*OLD).log_prob(NOISE).numpy(), model(*OLD).log_prob(NOISE).numpy()
    )
    model.iso_interpolation = True
    added.iso_interpolation = True
    between = (CLEAN, 640, list(nf.CAMERAS))
    np.testing.assert_array_equal(added(*between).log_prob(NOISE), model(*between).log_prob(NOISE))
    given = (CLEAN[:3], [64, 640, 6400], "P9")
    expected = added(*given).log_prob(NOISE[:3]).numpy()
    assert np.isfinite(expected).all()
    saved_model.save(added, tmp_path / "model")
    np.testing.assert_array_equal(nf.load(tmp_path / "model")(*given).log_prob(NOISE[:3]), expected)
    nf.save_npz(added, tmp_path / "model.npz")
    ours = native.load(tmp_path / "model.npz").log_prob(NOISE[:3], *given)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_levels_follow_the_line_of_the_model_s_own():
    model = nf.NoiseFlow("sdn5|gain4", seed=0)
    (table,) = (table for table, _ in model.iso_parameters)
    table.assign(-5 + 0.5 * np.log(np.float32(nf.ISO_LEVELS)))
    (added,) = (t for t, _ in model.with_camera("P9", [50, 640, 12800]).iso_parameters)
    levels = np.float32([50, 100, 400, 640, 800, 1600, 3200, 12800])
    np.testing.assert_allclose(added, -5 + 0.5 * np.log(levels), rtol=1e-5)


@pytest.mark.parametrize("levels", [[0], [-100], [640.5]])
def test_refuses_levels_that_are_none(levels):
    with pytest.raises(ValueError, match="iso_levels must be rising whole numbers"):
        nf.NoiseFlow("S-G-CAM").with_camera("P9", levels)


def test_two_cameras_one_after_the_other():
    model = trained("S-G-CAM").with_camera("P9").with_camera("X20")
    assert model.cameras[-2:] == ("P9", "X20")
    assert nf.Trainer(model, "P9").num_trained == 3


def test_a_model_of_another_make_stays_what_it_is():
    """Width, cameras, levels and ISO values between them."""
    own = {"cameras": ("A7", "B8"), "iso_levels": (50, 800, 6400), "iso_interpolation": True}
    model = nf.NoiseFlow("sdn5|unc|eq16", width=6, seed=0, **own)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign_add(rng.uniform(0.01, 0.1, variable.shape))
    added = model.with_camera("P9")
    assert (added.width, added.cameras) == (6, ("A7", "B8", "P9"))
    assert (added.iso_levels, added.iso_interpolation) == (own["iso_levels"], True)
    given = CLEAN[:3, :, :5], [50, 100, 6400], ["B8", "A7", "A7"]
    noise = NOISE[:3, :, :5]
    np.testing.assert_array_equal(added(*given).log_prob(noise), model(*given).log_prob(noise))


def test_trains_a_camera_that_is_not_the_last():
    model, column = trained("S-G-CAM"), 2
    before = [variable.numpy() for variable in model.variables]
    batch = next(iter(pairs())) | {"camera": tf.fill([5], column)}
    nf.fit_camera(model, "S6", tf.data.Dataset.from_tensors(batch), steps=3)
    for variable, old in zip(model.variables, before, strict=True):
        moved = np.argwhere(variable.numpy() != old)
        if variable is model.layers[0].cam_params:
            assert moved.tolist() == [[row, column] for row in range(3)]
        else:
            assert not len(moved)


def test_takes_the_steps_and_the_rate_that_are_asked_for():
    """Adam's first step has the length of the rate; half a cosine over 2 steps halves the second.

    The gradient of one camera on one batch hardly changes over so little.
    """
    model = trained("sdn6|gain4")
    table, read = model.layers[0].cam_params, []
    batch = next(iter(pairs())) | {"camera": tf.fill([5], 1)}

    def one_batch():
        read.append(1)
        yield batch

    signature = {name: tf.TensorSpec(v.shape, v.dtype) for name, v in batch.items()}
    batches = tf.data.Dataset.from_generator(one_batch, output_signature=signature)
    for steps, length in ((1, 1e-3), (2, 1.5e-3)):
        before = table.numpy()
        read.clear()
        assert nf.fit_camera(model, "GP", batches, steps, learning_rate=1e-3) is model
        np.testing.assert_allclose(abs(table - before)[0, 1], length, rtol=0.01)
        assert 1 + steps <= len(read) <= 6 + steps  # one to look, a few ahead


@pytest.mark.parametrize(
    ("arch", "name", "message"),
    [
        ("S-G", "P9", "no camera parameters"),
        ("Ax4", "P9", "no camera parameters"),
        ("S-G-CAM", "S6", "the model has camera S6 already: IP, GP, S6, N6, G4"),
        ("S-G-CAM", "p9", "two to eight capitals and digits, such as S6; got 'p9'"),
        ("S-G-CAM", "SONYALPHA", "two to eight capitals and digits, such as S6; got 'SONYALPHA'"),
        ("S-G-CAM", "P", "two to eight capitals and digits"),
    ],
)
def test_refuses(arch, name, message):
    with pytest.raises(ValueError, match=message):
        nf.NoiseFlow(arch).with_camera(name)


def test_training_refuses_what_it_cannot_train():
    with pytest.raises(ValueError, match="unknown camera P9"):
        nf.fit_camera(trained("S-G-CAM"), "P9", pairs())
    with pytest.raises(ValueError, match="no camera parameters"):
        nf.fit_camera(trained("S-G"), "S6", pairs())
    with pytest.raises(ValueError, match="has no batch"):
        nf.fit_camera(trained("S-G-CAM").with_camera("P9"), "P9", pairs().take(0))
