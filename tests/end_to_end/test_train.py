import csv
import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf import native
from noise_flow_tf.cli import parsing, train
from noise_flow_tf.programs import running
from noise_flow_tf.programs.configs import OFFLINE


def test_release_command_line_leaves_a_whole_run(run_folder):
    folder, told = run_folder
    for name in (
        "settings.json",
        "history.csv",
        "report.md",
        "report.json",
        "checkpoints/best/epoch-2.index",
        "checkpoints/last/step-2.index",
        "saved_model/saved_model.pb",
        "noise_flow.npz",
        "pictures/samples.png",
        "pictures/nll.png",
        "pictures/beta.png",
        "pictures/gain.png",
        "pictures/camera_factor_of_gain.png",
        "tensorboard/validation",
    ):
        assert (folder / name).exists(), name
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["arch"] == "sdn5|unc|unc|unc|unc|gain4|unc|unc|unc|unc"
    assert (settings["schedule"], settings["lr"]) == ("release", 1e-4)
    report = json.loads((folder / "report.json").read_text())
    assert report["seed"] == 0
    (start,) = report["starts"]
    assert start["versions"]["tensorflow"] == tf.__version__
    assert "--epochs" in start["command"]
    assert re.fullmatch("unknown|[0-9a-f]{40}(-dirty)?", start["git_commit"])
    assert len(list(csv.DictReader((folder / "history.csv").open()))) == 2
    assert "| NLL  " in told


def test_report_says_what_the_saved_model_scores(run_folder, dataset):
    folder, _ = run_folder
    report = json.loads((folder / "report.json").read_text())["test"]
    assert set(report) == {"gaussian", "camera_nlf", "noise_flow"}
    model = nf.load(folder / "saved_model")
    frames = sidd.select_frames(sidd.index(dataset), "test")
    batches = sidd.Patches(frames).batches(16, shuffle=False)
    nll = [nll_of(model, batch) for batch in batches]
    assert report["noise_flow"]["nll"] == pytest.approx(np.concatenate(nll).mean(), abs=1e-4)
    assert all(np.isfinite(score["kl"]) for score in report.values())
    weights = native.load(folder / "noise_flow.npz")
    for batch in batches.take(1).as_numpy_iterator():
        given = batch["clean"], batch["iso"], batch["camera"]
        log_prob = weights.log_prob(batch["noise"], *given)
        np.testing.assert_allclose(log_prob, model(*given).log_prob(batch["noise"]), rtol=1e-5)
    text = (folder / "report.md").read_text()
    assert f"{report['camera_nlf']['nll']:.3f}" in text


def nll_of(model, batch):
    p = model(batch["clean"], batch["iso"], batch["camera"])
    return -p.log_prob(batch["noise"]).numpy() / batch["noise"][0].numpy().size


def test_trained_model_inverts_itself_and_treats_each_example_alone(run_folder, dataset):
    model = nf.load(run_folder[0])
    frames = sidd.select_frames(sidd.index(dataset), "test")
    batch = next(iter(sidd.Patches(frames).batches(20)))
    clean, iso, camera, noise = (batch[k] for k in ("clean", "iso", "camera", "noise"))
    latent = model(clean, iso, camera).bijector.inverse(noise)
    again = model(clean, iso, camera).bijector.forward(latent)
    np.testing.assert_allclose(again, noise, atol=1e-4)
    for i in (0, 7, 19):
        one = slice(i, i + 1)
        alone = model(clean[one], iso[one], camera[one]).bijector.inverse(noise[one])
        np.testing.assert_allclose(latent[i], alone[0], atol=1e-4)


def test_offline_dataset_is_used_where_no_other_is_given(monkeypatch, tmp_path, dataset):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(
        sidd, "write_synthetic", lambda root, exist_ok: asked.append(root) or dataset
    )
    run = tmp_path / "run"
    train.main(["--logdir", str(run), "--arch", "S-G", "--epochs", "1"])
    assert set(asked) == {OFFLINE}
    assert "offline stand-in" in (run / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["eq12|unc|eq16|unc", "S-G-CAM"])
def test_other_architectures_and_dashed_flags(tmp_path, dataset, arch):
    run = tmp_path / "run"
    arguments = ["--logdir", run, "--sidd-path", dataset, "--arch", arch, "--epochs", 1]
    arguments += ["--batching", "release", "--n-batch-train", 5, "--cam", "S6", "GP"]
    arguments += ["--patch-sampling", "random", "--n-patches-per-image", 7]
    train.main(list(map(str, arguments)))
    assert nf.load(run).arch == "|".join(nf.architecture.parse(arch))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sidd_path", "{tmp}/nowhere"], "nowhere: no such folder"),
        (["--sidd_path", "{tmp}"], "no scene instance found"),
        (["--sidd_path", "{data}", "--arch", "sdn1|unc"], "abandoned experiment"),
        (["--sidd_path", "{data}", "--cam", "XX"], "unknown camera XX; allowed: IP"),
        (["--sidd_path", "{data}", "--iso", "200"], "unknown ISO 200; allowed: 100"),
        (["--sidd_path", "{data}", "--start_tr_im_idx", "11", "--end_tr_im_idx", "11"], "first"),
        (["--sidd_path", "{data}", "--start_ts_im_idx", "12", "--end_ts_im_idx", "20"], "no test"),
        (["--sidd_path", "{data}", "--patch_height", "1000"], "1000"),
        (["--epochs", "0"], "argument --epochs: invalid positive whole number value: '0'"),
        (["--lr", "-1"], "argument --lr: invalid positive number value: '-1'"),
        (["--what"], "unrecognized arguments: --what"),
        (["--sidd_path", "{data}", "--logdir", "{tmp}"], "holds other files than a run"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    monkeypatch, capsys, tmp_path, tmp_path_factory, dataset, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    arguments = [text.format(tmp=tmp_path, data=dataset) for text in arguments]
    arguments += ["--cache", str(tmp_path_factory.mktemp("cache"))]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(lambda: train.main(arguments))
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_unknown_flag_in_a_process_of_its_own(script):
    done = script("train.py", "--epoch", 3)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["train.py: unrecognized arguments: --epoch 3"]


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _damage_pixels(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)


def _other_iso(path):
    sidd.write_metadata(path, dataclasses.replace(sidd.read_metadata(path), iso=51))


@pytest.mark.parametrize(
    ("kind", "damage", "message"),
    [
        ("METADATA", lambda path: path.write_bytes(b"damaged"), "not a readable MATLAB v5 file"),
        ("METADATA", _other_iso, "is of GP at ISO 51, but its folder's name says GP at ISO 400"),
        ("GT", _cut, "not a readable MATLAB v7.3 (HDF5) file, or a damaged one"),
        ("NOISY", _cut, "not a readable MATLAB v7.3 (HDF5) file, or a damaged one"),
        ("NOISY", _damage_pixels, "the compressed "),
        ("GT", lambda path: sidd.write_raw(path, np.zeros((64, 64))), "does not fit"),
    ],
)
def test_broken_file_is_one_line_and_leaves_nothing(
    capsys, tmp_path, dataset, kind, damage, message
):
    shutil.copytree(dataset, tmp_path / "sidd")
    victim = next((tmp_path / "sidd").glob(f"Data/*/0011_{kind}_RAW_010.MAT"))
    damage(victim)
    arguments = ["--sidd_path", str(tmp_path / "sidd"), "--logdir", str(tmp_path / "run")]
    arguments += ["--cache", str(tmp_path / "cache"), "--strict"]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(lambda: train.main(arguments))
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(victim) in told
    assert message in told
    assert not (tmp_path / "run").exists()


def test_diverged_training_is_one_line(capsys, tmp_path, dataset):
    arguments = ["--sidd_path", str(dataset), "--logdir", str(tmp_path / "run"), "--lr", "1e30"]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(lambda: train.main([*arguments, "--arch", "S-Ax1-G-Ax1-CAM"]))
    assert stopped.value.code == 2
    assert "training diverged" in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_installed_package_does_not_take_the_commit_of_a_repository_around_it(
    tmp_path, monkeypatch
):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    inside = tmp_path / "lib" / "noise_flow_tf" / "programs" / "running.py"
    monkeypatch.setattr(running, "__file__", str(inside))
    start = running.start()
    assert start["git_commit"] == "unknown"
    assert start["versions"]["noise_flow_tf"] == nf.__version__


def test_packages_agree_on_cameras_and_iso_levels():
    assert nf.CAMERAS == sidd.CAMERAS
    assert nf.ISO_LEVELS == sidd.ISO_LEVELS
