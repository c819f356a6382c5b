"""Several devices train the noise model that one would, with all that train.py does beside it."""

import json

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli import train
from noise_flow_tf.saving.run_folder import RunFolder
from tests.processes import command, finish, interrupt_and_resume, start, start_workers

TWO = ("--strategy", "mirrored", "--replicas", 2)
EPOCHS = 2


@pytest.fixture(scope="module")
def training(dataset, no_gpu, tmp_path_factory):
    """The command line of a short training.

    The last batch of an epoch and that of the test set have one patch, so that a second device has
    none.
    """
    cache = tmp_path_factory.mktemp("cache")

    def line(folder, *more):
        flags = ["--logdir", folder, "--sidd_path", dataset, "--cache", cache, "--epochs", EPOCHS]
        flags += ["--n_patches_per_image", 3, "--n_batch_train", 5, "--n_batch_test", 14]
        flags += ["--end_ts_im_idx", 11, "--arch", "sdn5|unc|gain4", "--average_batches", 8]
        return command("train.py", *flags, *more)

    return line


@pytest.fixture(scope="module")
def one_device(training, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_device") / "run"
    finish(start(training(folder, "--strategy", "none")))
    return folder


def assert_as_one_device(folder, one_device):
    got, expected = (RunFolder(run).read_history(EPOCHS) for run in (folder, one_device))
    for row, other in zip(got, expected, strict=True):
        assert row.keys() == other.keys()
        assert np.isfinite(list(row.values())).all()
        assert row["nll"] == pytest.approx(other["nll"], abs=1e-4)
        assert row["val_nll"] == pytest.approx(other["val_nll"], abs=1e-3)
    got, expected = (
        json.loads((run / "report.json").read_text())["test"]["noise_flow"]["nll"]
        for run in (folder, one_device)
    )
    assert got == pytest.approx(expected, abs=1e-3)
    assert files(folder) == files(one_device)
    assert nf.load(folder / "saved_model").arch == "sdn5|unc|gain4"


def files(folder):
    """All files of a run; of numbered ones, checkpoints on the way and curves, the folders."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {path.parent if path.name.startswith(("events", "step-")) else path for path in found}


def test_mirrored_run_that_is_interrupted_and_goes_on(training, one_device, tmp_path):
    folder = tmp_path / "run"
    told = interrupt_and_resume(training(folder, *TWO), "train.py", folder)
    assert "on 2 devices" in told
    assert_as_one_device(folder, one_device)


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_multiworker(training, one_device, tmp_path, count):
    line = training(tmp_path / "run", "--strategy", "multiworker")
    assert f"on {count} device" in finish(*start_workers(line, count))
    assert_as_one_device(tmp_path / "run", one_device)


@pytest.mark.slow
def test_mirrored_new_camera(training, one_device, new_pairs, dataset, tmp_path):
    flags = ["--new_camera", "P9", "--from", one_device, "--sidd_path", new_pairs, "--epochs", 3]
    flags += ["--lr", 0.1, "--n_batch_train", 3, "--cache", tmp_path / "cache", "--logdir"]
    told = finish(start(command("train.py", *flags, tmp_path / "two", *TWO)))
    assert "3 parameters to train, on 2 devices" in told
    train.main(list(map(str, [*flags, tmp_path / "one", "--strategy", "none"])))
    got, expected = (RunFolder(tmp_path / name).read_history(3) for name in ("two", "one"))
    for row, other in zip(got, expected, strict=True):
        assert row["nll"] == pytest.approx(other["nll"], abs=1e-4)
        assert row["val_nll"] == pytest.approx(other["val_nll"], abs=1e-3)
    assert got[-1]["val_nll"] < got[0]["val_nll"]

    before, after = nf.load(one_device), nf.load(tmp_path / "two")
    frame = sidd.select_frames(sidd.index(dataset), "test", cameras=["S6"])[0]
    pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
    for camera in before.cameras:
        ours, theirs = (
            model(pair.clean[None], pair.iso, camera).log_prob(pair.noise[None])
            for model in (after, before)
        )
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("saved", "flags", "expected"),
    [
        ({"strategy": "mirrored", "replicas": 2}, [], ("mirrored", 2)),
        ({"strategy": "mirrored", "replicas": 2}, ["--replicas", "3"], ("mirrored", 3)),
        ({"strategy": "mirrored", "replicas": 2}, ["--strategy", "none"], ("none", None)),
        ({"strategy": "mirrored"}, [], ("mirrored", None)),  # of a time before the flag
        ({"strategy": "none"}, ["--strategy", "auto", "--replicas", "2"], ("auto", 2)),
        ({"strategy": "none"}, ["--replicas", "2"], ("none", 2)),  # which is then refused
    ],
)
def test_a_run_may_go_on_with_other_devices(tmp_path, saved, flags, expected):
    line = ["--logdir", str(tmp_path / "run")]
    settings = vars(train.parse(line)) | {"versions": {}}
    del settings["replicas"]
    RunFolder(tmp_path / "run").create(settings | saved)
    args = train.parse([*line, "--resume", *flags])
    assert (args.strategy, args.replicas) == expected
