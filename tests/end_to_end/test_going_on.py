import json
import random
import shutil
import subprocess
import time

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli import parsing, train
from noise_flow_tf.saving.run_folder import RunFolder, newest_first
from tests.examples import learned
from tests.processes import command, finish, start, start_workers, stop_after, wait_for_step


def training(folder, dataset, *more):
    arguments = ["--logdir", folder, "--sidd_path", dataset, "--n_batch_train", 16]
    return command(
        "train.py", *arguments, "--arch", "sdn5|unc|gain4", "--average_batches", 4, *more
    )


def assert_same_runs(folder, expected, rounding=0.0):
    """Compare runs bit for bit; what was measured in training may differ by `rounding`."""
    for got, want in zip(nf.load(folder).variables, nf.load(expected).variables, strict=True):
        np.testing.assert_array_equal(got, want)
    reports = [json.loads((run / "report.json").read_text()) for run in (folder, expected)]
    assert reports[0]["test"] == reports[1]["test"]
    histories = [
        RunFolder(run).read_history(reports[0]["training"]["epochs"]) for run in (folder, expected)
    ]
    for row, other in zip(*histories, strict=True):
        want = {**other, "seconds": 0}
        assert {**row, "seconds": 0} == (pytest.approx(want, rel=rounding) if rounding else want)


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(start(training(folder, dataset, "--epochs", 8, "--checkpoint_every", 2)))
    return folder


def test_sigterm_saves_and_leaves_and_the_run_goes_on(dataset, tmp_path, undisturbed):
    folder = tmp_path / "run"
    first = training(folder, dataset, "--epochs", 8, "--checkpoint_every", 2)
    errors = stop_after(start(first), folder, 4)
    assert "train.py: stopped by SIGTERM" in errors.strip().splitlines()[-1]
    assert "Traceback" not in errors
    assert not (folder / "report.md").exists()

    refused = subprocess.run(first, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds a run already" in refused.stderr.splitlines()[-1]

    told = finish(start(command("train.py", "--logdir", folder, "--resume")))
    assert "resuming from checkpoint" in told
    assert_same_runs(folder, undisturbed)


def test_a_complete_run_is_scored_again(capsys, dataset, tmp_path, undisturbed):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    (folder / "report.json").unlink()
    train.main(["--logdir", str(folder), "--continue_training"])
    assert ", step " not in capsys.readouterr().out
    assert_same_runs(folder, undisturbed)


@pytest.mark.slow
def test_a_complete_run_that_has_not_changed_is_left_alone(capsys, tmp_path, undisturbed):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    resume = ["--logdir", str(folder), "--resume"]

    def state():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = state()
    train.main(resume)
    assert "run: trained, exported and reported already; nothing has" in capsys.readouterr().out
    assert state() == before
    for damaged in ("saved_model/variables/variables.index", "pictures/nll.png", "noise_flow.npz"):
        (folder / damaged).write_bytes(b"")
        train.main(resume)
        assert "nothing has changed" not in capsys.readouterr().out
        assert (folder / damaged).stat().st_size
    for got, want in zip(
        nf.load(folder / "saved_model").variables, nf.load(undisturbed).variables, strict=True
    ):
        np.testing.assert_array_equal(got, want)
    assert (folder / "history.csv").read_text() == (undisturbed / "history.csv").read_text()
    train.main(resume)
    assert "nothing has changed" in capsys.readouterr().out


@pytest.mark.slow
def test_names_that_tensorflow_takes_for_patterns(dataset, tmp_path, undisturbed):
    """A new run is refused before it trains; what is there already can be read."""
    line = training(tmp_path / "run[1]", dataset, "--epochs", 1)
    refused = subprocess.run(line, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "run[1]: TensorFlow takes [ ] in a path for a pattern" in refused.stderr
    assert not (tmp_path / "run[1]").exists()
    moved = shutil.copytree(undisturbed, tmp_path / "[old] run*")
    for path in (moved, moved / "saved_model"):
        for got, want in zip(nf.load(path).variables, nf.load(undisturbed).variables, strict=True):
            np.testing.assert_array_equal(got, want)
    refused = subprocess.run(
        command("train.py", "--logdir", moved, "--resume"), capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "choose another name" in refused.stderr.splitlines()[-1]


@pytest.mark.slow
def test_more_epochs_of_a_constant_rate_are_kept_for_the_next_resume(dataset, tmp_path):
    folder = tmp_path / "run"
    basic = ["--logdir", folder, "--resume"]
    first = [*basic, "--sidd_path", dataset, "--arch", "S-G", "--schedule", "release"]
    train.main(list(map(str, [*first, "--epochs", 1])))
    train.main(list(map(str, [*basic, "--epochs", 3])))
    settings = RunFolder(folder).read_settings()
    assert settings["epochs"] == 3
    assert len(settings["starts"]) == 2
    assert len(RunFolder(folder).read_history(3)) == 3
    with pytest.raises(ValueError, match="has been trained for 3 epochs, more than 2"):
        train.main(list(map(str, [*basic, "--epochs", 2])))


def test_two_processes_do_not_write_one_run(dataset, tmp_path, undisturbed):
    with RunFolder(undisturbed).locked(), pytest.raises(ValueError, match="another process is"):
        train.main(["--logdir", str(undisturbed), "--resume"])


def test_runs_of_an_earlier_version_cannot_be_resumed(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create({"arch": "sdn4|gain4", "width": 4})
    with pytest.raises(ValueError, match="made by an earlier version: its settings lack baselines"):
        train.main(["--logdir", str(folder.path), "--resume"])


@pytest.mark.slow
def test_resume_begins_where_there_is_no_run(dataset, tmp_path):
    arguments = ["--logdir", tmp_path / "run", "--sidd_path", dataset, "--arch", "S-G"]
    train.main(list(map(str, [*arguments, "--epochs", 1, "--resume"])))
    assert nf.load(tmp_path / "run").arch == "sdn4|gain4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "0.5"], "--lr 0.5 does not go with --resume: the run in {run} has 0.01;"),
        (["--arch", "S-G"], "--arch sdn4|gain4 does not go with --resume"),
        (["--epochs", "9"], "--epochs 9 does not go with --resume"),
        (["--overwrite"], "--resume and --overwrite exclude each other"),
        (["--sidd_path", "{other}"], "frames of {other} are not those that the run in {run} began"),
    ],
)
def test_resume_with_other_settings(capsys, dataset, tmp_path, undisturbed, arguments, message):
    other = tmp_path / "other"
    sidd.write_synthetic(
        other, size=(128, 192), train_instances=2, test_instances=1, progress=False
    )
    names = {"run": undisturbed, "other": other}
    arguments = ["--logdir", str(undisturbed), "--resume", *(a.format(**names) for a in arguments)]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(lambda: train.main(arguments))
    assert stopped.value.code == 2
    assert message.format(**names) in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_damaged_frames_are_left_out_and_reported(dataset, tmp_path):
    root = shutil.copytree(dataset, tmp_path / "sidd")
    victim = next(root.glob("Data/*/0011_NOISY_RAW_010.MAT"))
    victim.write_bytes(victim.read_bytes()[:1000])
    folder = tmp_path / "run"
    arguments = ["--logdir", folder, "--sidd_path", root, "--arch", "S-G", "--epochs", 1]
    train.main(list(map(str, arguments)))
    left_out = json.loads((folder / "report.json").read_text())["left_out"]
    assert len(left_out) == 1
    assert left_out[0].startswith(str(victim))
    assert f"Left out: {victim}" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_killed_ten_times_at_random_moments(dataset, tmp_path):
    """Five times while it trains, five times anywhere between its start and its first steps."""
    settings = ["--epochs", 120, "--checkpoint_every", 2]
    expected = tmp_path / "undisturbed"
    finish(start(training(expected, dataset, *settings)))
    folder = tmp_path / "run"
    going_on = training(folder, dataset, *settings, "--resume")
    moments = random.Random(0)
    steps = []
    for turn in range(10):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(going_on, **silent) as process:
            if turn % 2:
                wait_for_step(process, folder, steps[-1] + 1)
                time.sleep(moments.uniform(0, 1))
            else:
                time.sleep(moments.uniform(0, 12))
            assert process.poll() is None, "it was not to end before it is killed"
            process.kill()
        saved = newest_first(RunFolder(folder).last)
        steps.append(int(saved[0].name.rpartition("-")[2]) if saved else 0)
    print("killed at steps", steps)
    assert 0 < steps[1] < steps[-1] < 360
    finish(start(going_on))
    assert_same_runs(folder, expected)


@pytest.mark.slow
def test_two_workers_train_the_same_model_as_one_process(dataset, tmp_path):
    settings = ["--epochs", 3]
    finish(start(training(tmp_path / "one", dataset, *settings)))
    together = training(tmp_path / "two", dataset, *settings, "--strategy", "multiworker")
    finish(*start_workers(together, 2))
    one, two = (RunFolder(tmp_path / name).read_history(3) for name in ("one", "two"))
    for row, expected in zip(two, one, strict=True):
        assert row["nll"] == pytest.approx(expected["nll"], abs=1e-4)
        assert row["val_nll"] == pytest.approx(expected["val_nll"], abs=1e-3)
    got, expected = (learned(nf.load(tmp_path / name)) for name in ("two", "one"))
    for name, value in expected.items():
        # Adam's first steps amplify rounding: 1.7e-4 on one processor, below 1e-4 on another.
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=4e-4, err_msg=name)


TOGETHER = ("--epochs", 30, "--checkpoint_every", 2, "--strategy", "multiworker")


@pytest.fixture(scope="module")
def undisturbed_workers(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed_workers") / "run"
    finish(*start_workers(training(folder, dataset, *TOGETHER), 2))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_leaves_one_line_and_a_run_that_goes_on(
    dataset, tmp_path, undisturbed_workers, victim
):
    folder = tmp_path / "run"
    workers = start_workers(training(folder, dataset, *TOGETHER), 2)
    wait_for_step(workers[0], folder, 20)
    workers[victim].kill()
    workers[victim].communicate()
    _, errors = workers[1 - victim].communicate(timeout=120)
    assert workers[1 - victim].returncode == 75
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("train.py: another worker is gone, or not at the same step (")
    assert "start all workers again, with --resume" in last
    finish(*start_workers(command("train.py", "--logdir", folder, "--resume"), 2))
    # Each worker sums for itself; a checkpoint has the sum over them, rounded once more.
    assert_same_runs(folder, undisturbed_workers, rounding=1e-6)
