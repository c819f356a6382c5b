import os
import pty
import sys

import pytest
import tensorflow as tf
import tf_keras

from noise_flow_tf.training.progress import Progress


def fit(epochs=4, done=0, steps=2, metric="nll"):
    """Trains one weight; the test set is scored after the second and the last epoch."""
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(1,))])
    name = tf_keras.metrics.MeanMetricWrapper(lambda y, p: tf.ones_like(y), name=metric)
    model.compile(loss="mse", metrics=[name])
    data = tf.data.Dataset.from_tensors((tf.ones([2, 1]), tf.ones([2, 1]))).repeat(steps)
    model.fit(
        data.repeat(),
        steps_per_epoch=steps,
        validation_data=data,
        validation_freq=[2, epochs],
        epochs=epochs,
        initial_epoch=done // steps,
        verbose=0,
        callbacks=[Progress(epochs, steps, done)],
    )


def test_a_log_file_has_a_line_for_each_evaluation(capfd):
    fit()
    out, err = capfd.readouterr()
    assert "training" not in err and "\r" not in out
    first, last = out.splitlines()
    assert first.startswith("epoch 2/4, step 4/8: NLL 1.000, test 1.000 nats per dimension; 00:0")
    assert first.endswith(" left")
    assert last == "epoch 4/4, step 8/8: NLL 1.000, test 1.000 nats per dimension"


def test_a_long_epoch_has_lines_of_its_own(capfd, monkeypatch):
    monkeypatch.setattr("noise_flow_tf.training.progress._SECONDS_BETWEEN_LINES", 0)
    fit(epochs=1, steps=3, metric="psnr")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "epoch 1/1, step 1/3: PSNR 1.00 dB"
    assert [line.split(":")[0][-3:] for line in lines] == ["1/3", "2/3", "3/3", "3/3"]


def test_a_resumed_run_counts_all_steps(capfd):
    fit(done=4)
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("epoch 4/4, step 8/8: ")


def test_a_terminal_has_one_bar(monkeypatch, capfd):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        fit(done=2)
        terminal.flush()
        shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "training:  25%" in shown and "2/8" in shown
    assert capfd.readouterr().out.count("epoch") == 2


@pytest.mark.parametrize("closed", [False, True])
def test_closing_twice_or_early_does_nothing(closed):
    progress = Progress(1, 1)
    if closed:
        progress.set_model(None)
        progress.on_train_begin()
        progress.close()
    progress.close()
