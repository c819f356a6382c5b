import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf.saving import saved_model

RNG = np.random.default_rng(0)
CLEAN = RNG.uniform(size=(5, 8, 8, 4)).astype(np.float32)
NOISE = (0.02 * RNG.normal(size=CLEAN.shape)).astype(np.float32)
OLD = CLEAN, list(nf.ISO_LEVELS), list(nf.CAMERAS)
ARCHITECTURES = {"S-Ax1-G-Ax1-CAM": 3, "sdn6|unc|gain4": 1, "eq12|unc|eq16|unc": 1}


def trained(arch):
    model = nf.NoiseFlow(arch, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


def pairs():
    batch = {"noise": NOISE, "clean": CLEAN, "iso": list(nf.ISO_LEVELS)}
    batch = {name: tf.constant(values) for name, values in batch.items()}
    return tf.data.Dataset.from_tensors(batch | {"camera": tf.constant(["P9"] * 5)})


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_learns_its_own_parameters_and_leaves_the_others(arch):
    model = trained(arch)
    before = model(*OLD).log_prob(NOISE).numpy()
    added = nf.add_camera(model, "P9")
    assert added.num_parameters == ARCHITECTURES[arch]
    first = np.mean(added(CLEAN, nf.ISO_LEVELS, "P9").log_prob(NOISE))
    nf.fit_camera(added, pairs(), steps=60)
    assert np.mean(added(CLEAN, nf.ISO_LEVELS, "P9").log_prob(NOISE)) > first + 10
    plain = nf.settled(added)
    assert plain.num_parameters == model.num_parameters + ARCHITECTURES[arch]
    for known in (added, plain):
        assert known.cameras == (*nf.CAMERAS, "P9")
        np.testing.assert_array_equal(known(*OLD).log_prob(NOISE), before)
        assert "P9" in " ".join(known.curves())
    expected = added(CLEAN, nf.ISO_LEVELS, 5).log_prob(NOISE)
    np.testing.assert_array_equal(plain(CLEAN, nf.ISO_LEVELS, "P9").log_prob(NOISE), expected)
    np.testing.assert_array_equal(model(*OLD).log_prob(NOISE), before)


def test_saved_with_its_camera(tmp_path):
    added = nf.add_camera(trained("S-Ax1-G-Ax1-CAM"), "P9")
    added.layers[0].added.assign([0.1, 0.2, 0.3])
    saved_model.save(added, tmp_path / "model")
    tf.train.Checkpoint(noise_model=added).write(str(tmp_path / "checkpoint"))
    recipe = saved_model.recipe(added)
    for again in (
        nf.load(tmp_path / "model"),
        saved_model.restore(**recipe, prefix=tmp_path / "checkpoint"),
    ):
        assert again.cameras[-1] == "P9"
        np.testing.assert_array_equal(
            again(CLEAN, 800, "P9").log_prob(NOISE), added(CLEAN, 800, "P9").log_prob(NOISE)
        )


def test_two_cameras_one_after_the_other():
    model = nf.add_camera(nf.add_camera(trained("S-G-CAM"), "P9"), "X20")
    assert model.cameras[-2:] == ("P9", "X20")
    assert model.num_parameters == 3


@pytest.mark.parametrize(
    ("arch", "name", "message"),
    [
        ("S-G", "P9", "no parameters of a camera's own"),
        ("Ax4", "P9", "no parameters of a camera's own"),
        ("S-G-CAM", "S6", "camera S6 is there already; the model knows IP, GP, S6, N6, G4"),
        ("S-G-CAM", "p9", "two or more capitals and digits, such as S6; got 'p9'"),
        ("S-G-CAM", "P", "two or more capitals and digits"),
    ],
)
def test_refuses(arch, name, message):
    with pytest.raises(ValueError, match=message):
        nf.add_camera(nf.NoiseFlow(arch), name)


def test_training_refuses_what_has_no_new_camera():
    with pytest.raises(ValueError, match="add_camera"):
        nf.fit_camera(trained("S-G-CAM"), pairs())
    with pytest.raises(ValueError, match="has no batch"):
        nf.fit_camera(nf.add_camera(trained("S-G-CAM"), "P9"), pairs().take(0))
