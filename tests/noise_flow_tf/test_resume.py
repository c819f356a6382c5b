import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf.saving.run_folder import RunFolder, newest_first
from noise_flow_tf.training import callbacks, interruption
from noise_flow_tf.training.checkpoints import BestWeights, CheckpointCallback, Checkpoints
from noise_flow_tf.training.interruption import Interrupted, Interruption
from tests.examples import make_batches

_ARCH = "sdn5|unc|gain4"
_STEPS = 3
_EPOCHS = 4


class _Ending(tf_keras.callbacks.Callback):
    """Does something at a step, counted over the whole run from 1."""

    def __init__(self, checkpoints, step, act):
        super().__init__()
        self._checkpoints, self._step, self._act = checkpoints, step, act

    def on_train_batch_end(self, batch, logs=None):
        if self._checkpoints.step == self._step:
            self._act()


class _Killed(Exception):
    pass


def train(run, ending=None, every=2, stream=None):
    """Trains to the end, or to the ending: (step, what happens then); returns weights and rows."""
    trainer = nf.Trainer(nf.NoiseFlow(_ARCH, seed=0))
    trainer.compile(tf_keras.optimizers.Adam(1e-2, epsilon=1e-8))
    checkpoints = Checkpoints(trainer, run.last, _STEPS)
    checkpoints.restore(run.last)
    rows = run.read_history(checkpoints.position[0])
    history = callbacks.History(run.history, trainer.noise_model, rows)
    stream = make_batches().repeat() if stream is None else stream
    with Interruption() as interrupted:
        kept = [
            callbacks.ReestimateAverages(make_batches(seed=2).repeat(3)),
            BestWeights(run.best, checkpoints),
            history,
        ]
        kept += [_Ending(checkpoints, *ending)] if ending else []
        kept += [CheckpointCallback(checkpoints, interrupted, every)]
        trainer.fit(
            stream.skip(checkpoints.step),
            steps_per_epoch=_STEPS,
            validation_data=make_batches(seed=1),
            epochs=_EPOCHS,
            verbose=0,
            callbacks=kept,
        )
    return [variable.numpy() for variable in trainer.variables], history.rows


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create({"arch": _ARCH, "width": 4})
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("undisturbed") / "run")
    folder.create({"arch": _ARCH, "width": 4})
    return (*train(folder), nf.load(folder.path))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("killed") / "run")
    folder.create({"arch": _ARCH, "width": 4})
    with pytest.raises(_Killed):
        train(folder, (11, raise_killed))
    return folder


def assert_same(run, got, undisturbed):
    weights, rows, best = undisturbed
    for value, expected in zip(got[0], weights, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert without_time(got[1]) == without_time(rows)
    for variable, expected in zip(nf.load(run.path).variables, best.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


def raise_killed():
    raise _Killed


def test_two_runs_with_one_seed_are_the_same(run, undisturbed):
    assert_same(run, train(run), undisturbed)


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), 6, pytest.param(7, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_bit_for_bit(run, undisturbed, step):
    with pytest.raises(_Killed):
        train(run, (step, raise_killed))
    assert_same(run, train(run), undisturbed)


@pytest.mark.parametrize(("name", "step"), [("SIGTERM", 4), ("SIGINT", 6)])
def test_a_signal_saves_the_step_and_leaves(run, undisturbed, name, step):
    number = signal.Signals[name]
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"stopped by {name}.*--resume") as stopped:
        train(run, (step, lambda: os.kill(os.getpid(), number)), every=100)
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is handler
    assert newest_first(run.last)[0].name == f"step-{step}"
    assert_same(run, train(run), undisturbed)


def test_a_second_signal_leaves_at_once():
    with Interruption() as interrupted:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted.wanted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".data-00000-of-00001", _cut),
        (".data-00000-of-00001", _flip),
        (".index", _cut),
        (".index", lambda path: path.write_bytes(b"")),
        (".data-00000-of-00001", lambda path: path.unlink()),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path, killed, undisturbed, capsys, suffix, damage
):
    run = RunFolder(shutil.copytree(killed.path, tmp_path / "run"))
    newest, before = newest_first(run.last)
    damage(newest.with_name(newest.name + suffix))
    (run.last / "checkpoint").write_text("damaged too")
    got = train(run)
    told = capsys.readouterr().out
    assert f"{newest} is damaged" in told
    assert f"resuming from checkpoint {before}" in told
    assert_same(run, got, undisturbed)


def test_all_checkpoints_damaged(tmp_path, killed):
    run = RunFolder(shutil.copytree(killed.path, tmp_path / "run"))
    for path in run.last.glob("*.data-*"):
        _cut(path)
    with pytest.raises(ValueError, match="none of the 2 checkpoints .* can be read"):
        train(run)


def test_nan_names_its_place_and_keeps_the_last_good_checkpoint(run):
    def poison(number, batch):
        noise = tf.where(number == 7, batch["noise"] * np.nan, batch["noise"])
        keep = tf.range(tf.shape(noise)[0]) != 2
        noise = tf.where(keep[:, None, None, None], batch["noise"], noise)
        return {**batch, "noise": noise}

    clean = make_batches().repeat()
    poisoned = clean.enumerate().map(poison)
    victim = next(iter(clean.skip(7)))
    expected = (
        rf"epoch 3, step 2, in 1 of 8 patches, of ISO {victim['iso'][2]} and camera "
        rf"{victim['camera'][2]};"
    )
    with pytest.raises(ValueError, match=expected):
        train(run, stream=poisoned)
    assert newest_first(run.last)[0].name == "step-6"
    assert all(np.isfinite(value).all() for value in nf.load(run.path).variables)


def test_a_full_disk_is_an_error_that_keeps_what_was_saved(run, monkeypatch, undisturbed):
    save = tf.train.CheckpointManager.save

    def full(self, checkpoint_number):
        if checkpoint_number == 6:
            (run.last / "step-6_temp").mkdir()
            raise tf.errors.ResourceExhaustedError(None, None, "step-6; No space left on device")
        return save(self, checkpoint_number=checkpoint_number)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", full)
    with pytest.raises(OSError, match=r"No space left on device; kept there: step-4, step-3"):
        train(run)
    assert not list(run.last.glob("*_temp"))
    monkeypatch.undo()
    assert_same(run, train(run), undisturbed)


def test_workers_agree_when_one_is_told_to_stop(monkeypatch):
    class Cluster:
        def run(self, function):
            return function()

        def reduce(self, how, value, axis):
            return value + 1.0

    monkeypatch.setattr(interruption.strategies, "num_workers", lambda strategy: 2)
    together = Interruption(Cluster())
    assert not together.wanted(step=11)
    assert together.wanted(step=20)
