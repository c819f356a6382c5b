import os
import shutil
import subprocess

import pytest

import sidd
from tests.processes import ROOT, command


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """A working folder that nothing is left in."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A small offline dataset with every camera."""
    root = tmp_path_factory.mktemp("data") / "sidd"
    return sidd.write_synthetic(
        root, size=(128, 128), train_instances=6, test_instances=5, progress=False
    )


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """Runs a script or a command of `noise-flow` in a process of its own, in an empty folder."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(name, *arguments):
        return subprocess.run(
            command(name, *arguments),
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    return run


@pytest.fixture(scope="session")
def run_folder(script, dataset, tmp_path_factory):
    """A trained run, by the release's command line but for its length."""
    folder = tmp_path_factory.mktemp("runs") / "release"
    done = script(
        "train.py",
        *("--logdir", folder, "--arch", "sdn5|unc|unc|unc|unc|gain4|unc|unc|unc|unc"),
        *("--sidd_path", dataset, "--n_train_threads", 16, "--width", 4, "--epochs", 2),
        *("--lr", 0.0001, "--n_batch_train", 138, "--n_batch_test", 138),
        *("--epochs_full_valid", 50, "--n_patches_per_image", 2898, "--patch_height", 32),
        *("--patch_sampling", "uniform", "--start_tr_im_idx", 10, "--end_tr_im_idx", 12),
        *("--start_ts_im_idx", 10, "--end_ts_im_idx", 12),
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="session")
def new_pairs(dataset, tmp_path_factory):
    """A dataset whose S6 scenes are of another maker's camera P9."""
    root = tmp_path_factory.mktemp("new") / "sidd"
    for instance in sidd.index(dataset):
        if instance.camera == "S6":
            folder = root / "Data" / instance.path.name.replace("_S6_", "_P9_")
            shutil.copytree(instance.path, folder)
            for path in folder.glob("*METADATA*"):
                metadata = sidd.read_metadata(path)
                sidd.write_metadata(path, type(metadata)(**vars(metadata) | {"make": "Pear"}))
    return root


@pytest.fixture(scope="module")
def no_gpu():
    """Has the scripts work on the CPU alone."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CUDA_VISIBLE_DEVICES", "-1")
        yield
