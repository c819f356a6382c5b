"""A `Trainer` used by Keras' own ways: saving, single batches, other optimizers, XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf.training.trainer import DivergedError
from tests.examples import make_batches

ARCH = "sdn5|unc|gain4"


def _trainer(seed=0, **options):
    trainer = nf.Trainer(nf.NoiseFlow(ARCH, seed=seed))
    trainer.compile(tf_keras.optimizers.Adam(1e-2, epsilon=1e-8), **options)
    return trainer


def _weights(trainer):
    return [variable.numpy() for variable in trainer.noise_model.variables]


def _assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def batches():
    return make_batches()


@pytest.fixture(scope="module")
def trained(batches):
    trainer = _trainer()
    trainer.fit(batches, epochs=2, verbose=0)
    return trainer


def test_keras_files_hold_the_model_and_its_optimizer(trained, batches, tmp_path):
    trained.save(tmp_path / "x.keras")
    loaded = tf_keras.models.load_model(tmp_path / "x.keras")
    _assert_same(_weights(loaded), _weights(trained))
    assert loaded.noise_model.arch == trained.noise_model.arch
    _assert_same(
        [v.numpy() for v in loaded.optimizer.variables],
        [v.numpy() for v in trained.optimizer.variables],
    )
    told = [t.evaluate(batches, verbose=0, return_dict=True) for t in (loaded, trained)]
    assert told[0] == told[1]


def test_models_with_conditions_of_their_own_are_kept(tmp_path):
    model = nf.NoiseFlow("sdn5", cameras=("A7", "B8"), iso_levels=(50, 64), iso_interpolation=True)
    trainer = nf.Trainer(model.with_camera("P9"), "P9")
    trainer.save(tmp_path / "x.keras")
    loaded = tf_keras.models.load_model(tmp_path / "x.keras")
    assert loaded.noise_model.condition_space == trainer.noise_model.condition_space
    assert loaded.camera == "P9" and loaded.num_trained == 3
    _assert_same(_weights(loaded), _weights(trainer))


@pytest.mark.parametrize("name", ["x.weights.h5", "checkpoint"])
def test_weights_come_back(trained, name, tmp_path):
    trained.save_weights(tmp_path / name)
    other = _trainer(seed=1)
    other.load_weights(tmp_path / name)
    _assert_same(_weights(other), _weights(trained))


@pytest.mark.parametrize("weights_only", [False, True])
def test_model_checkpoint(batches, weights_only, tmp_path):
    path = str(tmp_path / ("x.weights.h5" if weights_only else "x.keras"))
    keep = tf_keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
    trainer = _trainer()
    trainer.fit(batches, verbose=0, callbacks=[keep])
    if weights_only:
        loaded = _trainer(seed=1)
        loaded.load_weights(path)
    else:
        loaded = tf_keras.models.load_model(path)
    _assert_same(_weights(loaded), _weights(trainer))


def test_weights_of_another_model_are_refused(trained, tmp_path):
    trained.save_weights(tmp_path / "x.weights.h5")
    other = nf.Trainer(nf.NoiseFlow("sdn5|gain4"))
    with pytest.raises(ValueError, match="weights of another noise model"):
        other.load_weights(tmp_path / "x.weights.h5")


@pytest.mark.parametrize("name", ["x.h5", "folder"])
def test_formats_that_would_leave_the_weights_out_are_refused(trained, name, tmp_path):
    with pytest.raises(ValueError, match="a Trainer is saved as .keras"):
        trained.save(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["x.h5", "x.hdf5", "x.keras"])
def test_weights_formats_that_would_leave_them_out_are_refused(trained, name, tmp_path):
    for use in (trained.save_weights, trained.load_weights):
        with pytest.raises(ValueError, match=r"in a file x\.weights\.h5"):
            use(tmp_path / name)


def test_trainers_of_baselines_are_not_saved_without_their_values(tmp_path):
    with pytest.raises(ValueError, match="only a NoiseFlow can be saved.*GaussianNoise"):
        nf.Trainer(nf.GaussianNoise(0.1)).save(tmp_path / "x.keras")


def test_single_batches_and_arrays(batches):
    batch = {name: tensor.numpy() for name, tensor in next(iter(batches)).items()}
    one, other = _trainer(), _trainer()
    by_hand = one.train_on_batch(batch, return_dict=True)
    by_fit = other.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert by_hand["nll"] == by_fit["nll"][0]
    _assert_same(_weights(one), _weights(other))
    told = one.test_on_batch(batch, return_dict=True)
    assert told == other.evaluate(batch, batch_size=len(batch["iso"]), verbose=0, return_dict=True)


def test_targets_are_refused(batches):
    batch = {name: tensor.numpy() for name, tensor in next(iter(batches)).items()}
    with pytest.raises(ValueError, match="leave targets and sample weights out"):
        _trainer().train_on_batch(batch, batch["iso"])


def test_optimizers_of_the_other_keras_are_named():
    message = r"keras\.src\.optimizers\.adam\.Adam.*pass one of tf_keras, such as tf_keras\.opt"
    with pytest.raises(TypeError, match=message):
        nf.Trainer(nf.NoiseFlow(ARCH)).compile(keras.optimizers.Adam())


def test_a_loss_is_refused():
    with pytest.raises(ValueError, match="leave loss out"):
        nf.Trainer(nf.NoiseFlow(ARCH)).compile("adam", loss="mse")


BAD = {
    "noise": lambda batch: {"noise": batch["noise"] * np.nan},
    "ISO": lambda batch: {"iso": tf.fill(batch["iso"].shape, 101)},
    "camera": lambda batch: {"camera": tf.fill(batch["camera"].shape, 7)},
    "clean": lambda batch: {"clean": batch["clean"] * 1000},
}


@pytest.mark.parametrize(
    "what", ["noise", *(pytest.param(w, marks=pytest.mark.slow) for w in BAD if w != "noise")]
)
def test_xla_stops_at_a_bad_batch_and_moves_nothing_by_it(batches, what):
    good = next(iter(batches))
    trainer = _trainer(jit_compile=True)
    trainer.fit(tf.data.Dataset.from_tensors(good), epochs=2, verbose=0)
    before = _weights(trainer)
    with pytest.raises(
        DivergedError, match="not finite at step 3, in 8 of 8 .*; no weight has been"
    ):
        trainer.fit(tf.data.Dataset.from_tensors({**good, **BAD[what](good)}), verbose=0)
    _assert_same(_weights(trainer), before)
    history = trainer.fit(tf.data.Dataset.from_tensors(good), verbose=0).history
    assert np.isfinite(history["loss"][0])


def test_xla_trains_as_without(batches):
    trainers = [_trainer(jit_compile=jit) for jit in (False, True)]
    losses = [t.fit(batches, epochs=3, verbose=0).history["nll"] for t in trainers]
    np.testing.assert_allclose(*losses, atol=2e-5)
    averages = [
        np.concatenate([v.numpy() for v in t.noise_model.variables if v.name.startswith("var")])
        for t in trainers
    ]
    np.testing.assert_allclose(*averages, rtol=0.02)
    assert averages[0].max() < 0.5  # of the 1 that they begin at


def test_a_bad_batch_moves_neither_weights_nor_averages(batches):
    good = next(iter(batches))
    trainer = _trainer()
    trainer.fit(tf.data.Dataset.from_tensors(good), verbose=0)
    before = _weights(trainer)
    with pytest.raises(DivergedError, match="the noise or the clean image there is not finite"):
        trainer.fit(tf.data.Dataset.from_tensors({**good, **BAD["noise"](good)}), verbose=0)
    _assert_same(_weights(trainer), before)


@pytest.mark.slow
def test_xla_on_one_mirrored_device(batches):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        trainer = _trainer(jit_compile=True)
    expected = _trainer().fit(batches, verbose=0).history["nll"]
    np.testing.assert_allclose(trainer.fit(batches, verbose=0).history["nll"], expected, atol=2e-5)
