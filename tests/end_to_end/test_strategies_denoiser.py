"""Several devices train the denoiser that one would, with all that the command does."""

import json

import numpy as np
import pytest

from noise_flow_tf import denoising
from noise_flow_tf.programs import train_denoiser
from tests.processes import command, finish, interrupt_and_resume, start, start_workers

TWO = ("--strategy", "mirrored", "--replicas", 2)
EPOCHS = 2


@pytest.fixture(scope="module")
def training(dataset, no_gpu, tmp_path_factory):
    """The command line of a short training, whose batches are not to be divided evenly.

    The last batch of the test set has one patch, so that a second device has none.
    """
    cache = tmp_path_factory.mktemp("cache")

    def line(folder, *more):
        flags = ["--logdir", folder, "--sidd_path", dataset, "--cache", cache, "--noise", "real"]
        flags += ["--depth", 4, "--width", 4, "--stride", 32, "--noise_scale", 0.03]
        flags += ["--n_batch_train", 3, "--n_batch_test", 19, "--n_test_patches", 20]
        flags += ["--epochs", EPOCHS, "--average_batches", 3]
        return command("train-denoiser", *flags, *more)

    return line


@pytest.fixture(scope="module")
def one_device(training, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_device") / "run"
    finish(start(training(folder, "--strategy", "none")))
    return folder


def assert_as_one_device(folder, one_device):
    """Two devices differ by 2e-7 of the value; batch norm of each part alone would by 6e-3."""
    runs = [denoising.DenoiserRun(path) for path in (folder, one_device)]
    for row, other in zip(*(run.read_history(EPOCHS) for run in runs), strict=True):
        assert row.keys() == other.keys()
        for name in ("loss", "psnr"):
            assert row[name] == pytest.approx(other[name], rel=1e-5)
            assert row[f"val_{name}"] == pytest.approx(other[f"val_{name}"], rel=1e-4)
    got, expected = (json.loads(run.report.read_text())["best"] for run in runs)
    assert got == pytest.approx(expected, rel=1e-4)
    assert {path.name for path in folder.iterdir()} == {path.name for path in one_device.iterdir()}
    noisy = np.random.default_rng(0).uniform(size=(1, 16, 16, 4)).astype(np.float32)
    denoised = denoising.load(folder / "saved_model")(noisy)
    np.testing.assert_allclose(denoised, runs[0].load()(noisy), atol=1e-6)


def test_mirrored_run_that_is_interrupted_and_goes_on(training, one_device, tmp_path):
    folder = tmp_path / "run"
    told = interrupt_and_resume(training(folder, *TWO), "train-denoiser", folder)
    assert "on 2 devices" in told
    assert_as_one_device(folder, one_device)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_multiworker(training, one_device, tmp_path, count):
    line = training(tmp_path / "run", "--strategy", "multiworker")
    assert f"on {count} device" in finish(*start_workers(line, count))
    assert_as_one_device(tmp_path / "run", one_device)


def test_a_batch_needs_a_patch_for_each_device():
    train_denoiser.check_shares(2, 2)
    with pytest.raises(ValueError, match="1 leaves some of the 2 devices without a patch"):
        train_denoiser.check_shares(1, 2)
