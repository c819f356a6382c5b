import csv
import json
import shutil

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.cli import denoise, evaluate_denoiser, parsing, train_denoiser
from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.programs import evaluate_denoiser as evaluate_denoisers
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.training.interruption import Interrupted, Interruption

OF_THE_PAPER = [name for name in SOURCES if name not in BASELINES]


@pytest.fixture(scope="module")
def noise_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("noise_model") / "saved_model"
    saved_model.save(nf.NoiseFlow("S-G", seed=0), path)
    return path


@pytest.fixture(scope="module")
def begin(dataset, noise_model):
    """Trains a tiny denoiser."""

    def train(noise, folder, *more):
        flags = ["--noise", noise, "--logdir", folder, "--sidd_path", dataset, "--depth", 3]
        flags += ["--width", 4, "--stride", 32, "--n_batch_train", 4, "--steps", 12]
        flags += ["--n_test_patches", 20, "--noise_scale", 0.03, "--average_batches", 2]
        flags += ["--model", noise_model] if noise == "noise_flow" else []
        train_denoiser.main(list(map(str, [*flags, *more])))
        return denoising.DenoiserRun(folder)

    return train


@pytest.fixture(scope="module")
def runs(begin, tmp_path_factory):
    """A run of each noise, interrupted within its second epoch and resumed."""
    root, found = tmp_path_factory.mktemp("runs"), {}
    for noise in OF_THE_PAPER:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Interruption, "wanted", lambda self, step=0: step == 8)
            with pytest.raises(Interrupted, match="epoch 2, after step 2"):
                begin(noise, root / noise)
        if noise == "real":
            begin(noise, root / noise, "--resume")
        else:
            train_denoiser.main(["--logdir", str(root / noise), "--resume"])
        found[noise] = denoising.DenoiserRun(root / noise)
    return found


@pytest.mark.parametrize("noise", OF_THE_PAPER)
def test_each_variant_trains_and_resumes(runs, noise):
    run = runs[noise]
    rows = run.read_history(2)
    assert all(np.isfinite([row["loss"], row["val_psnr"]]).all() for row in rows)
    assert len(run.read_settings()["starts"]) == 2
    best = max(row["val_psnr"] for row in rows)
    assert json.loads(run.report.read_text())["best"]["psnr_of_test_patches"] == best
    noisy = np.random.default_rng(0).uniform(size=(1, 12, 14, 4)).astype(np.float32)
    saved = tf.saved_model.load(str(run.saved_model)).signatures["denoise"](noisy=noisy)
    np.testing.assert_allclose(saved["denoised"], np.clip(run.load()(noisy), 0, 1), atol=1e-6)
    assert {path.name for path in run.pictures.iterdir()} == {"psnr.png", "denoised.png"}
    assert list(run.tensorboard.rglob("events*"))


def test_a_resumed_run_is_as_if_undisturbed(begin, runs, tmp_path):
    run = begin("noise_flow", tmp_path / "run")
    resumed = runs["noise_flow"]
    for got, want in zip(resumed.load().variables, run.load().variables, strict=True):
        np.testing.assert_array_equal(got, want)
    for row, other in zip(resumed.read_history(2), run.read_history(2), strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}


def test_best_weights_are_those_of_the_highest_psnr(runs, dataset):
    run = runs["real"]
    frames = sidd.select_frames(sidd.index(dataset), "test")
    patches = sidd.Patches(frames, sampling="random", patches_per_image=2, progress=False)
    batches = denoising.noisy_batches(patches.batches(128, shuffle=False), denoising.real)
    network = run.load()
    psnr = [denoising.psnr(clean, network(noisy)).numpy() for noisy, clean in batches]
    best = max(row["val_psnr"] for row in run.read_history(2))
    np.testing.assert_allclose(np.concatenate(psnr).mean(), best, atol=1e-3)


def test_evaluation_writes_the_table_by_camera_and_iso(runs, dataset, tmp_path, capsys):
    shutil.copytree(runs["gauss"].path, tmp_path / "again")
    again = denoising.DenoiserRun(tmp_path / "again")
    again.write_settings({**again.read_settings(), "seed": 1})
    out = tmp_path / "out"
    folders = [str(run.path) for run in (*runs.values(), again)]
    evaluate_denoiser.main([*folders, "--sidd_path", str(dataset), "--out", str(out)])
    assert "DnCNN-CamNLF" in capsys.readouterr().out
    found = json.loads((out / "report.json").read_text())
    assert found["count"] == 10
    assert {name: score["runs"] for name, score in found["scores"].items()} == {
        "noisy": 1, "gauss": 2, "camera_nlf": 1, "noise_flow": 1, "real": 1,
    }  # fmt: skip
    assert set(found["margins"]) == {"gauss", "camera_nlf", "real"}
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 * 6
    frame = sidd.select_frames(sidd.index(dataset), "test")[0]
    pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
    psnr = -10 * np.log10(np.mean(np.square(pair.noise)))
    assert rows[0]["noise"] == "noisy" and rows[0]["camera"] == frame.camera
    np.testing.assert_allclose(float(rows[0]["psnr"]), psnr, atol=1e-3)
    text = (out / "report.md").read_text()
    assert "48.52" in text and "| camera |" in text and "| iso " in text
    assert text.count("the noise of its training pairs is simulated") == 1
    with Image.open(out / "denoised.png") as picture:
        assert picture.width > picture.height / 2


def test_damaged_frames_are_left_out_and_told(runs, begin, dataset, tmp_path, capsys):
    damaged = tmp_path / "sidd"
    shutil.copytree(dataset, damaged)
    train, test = (
        sidd.select_frames(sidd.index(damaged), split)[-1].noisy for split in ("train", "test")
    )
    for path in (train, test):
        path.write_bytes(path.read_bytes()[:3000])
    out = tmp_path / "out"
    flags = ["--sidd_path", str(damaged), "--out", str(out)]
    evaluate_denoiser.main([str(runs["gauss"].path), *flags])
    found = json.loads((out / "report.json").read_text())
    assert found["count"] == 9
    (reason,) = found["left_out"]
    assert reason.startswith(str(test))
    assert f"Left out: {test}" in (out / "report.md").read_text()

    run = begin("gauss", tmp_path / "run", "--sidd_path", damaged, "--end_tr_im_idx", 12)
    reasons = json.loads(run.report.read_text())["left_out"]
    assert [reason.partition(":")[0] for reason in reasons] == [str(train), str(test)]


def test_runs_of_other_settings_are_not_two_seeds(runs, tmp_path):
    shutil.copytree(runs["gauss"].path, tmp_path / "other")
    other = denoising.DenoiserRun(tmp_path / "other")
    other.write_settings({**other.read_settings(), "seed": 1, "lr": 0.5})
    with pytest.raises(ValueError, match="not two seeds of one training: --lr is 0.001 and 0.5"):
        evaluate_denoiser.main([str(runs["gauss"].path), str(other.path)])


@pytest.mark.parametrize(("flags", "count"), [(["--release_exclusions"], 2), ([], 6)])
def test_validation_blocks_are_scored(runs, tmp_path, flags, count):
    random = np.random.default_rng(0)
    clean = random.uniform(0.2, 0.8, size=(3, 2, 32, 32)).astype(np.float32)
    paths = [tmp_path / f"Validation{kind}BlocksRaw.mat" for kind in ("Noisy", "Gt")]
    for path, array in zip(paths, (clean + np.float32(0.01), clean), strict=True):
        scipy.io.savemat(path, {path.stem: array})
    out = tmp_path / "out"
    blocks = ["--blocks", *map(str, paths), *flags]
    evaluate_denoiser.main([str(runs["real"].path), *blocks, "--out", str(out)])
    found = json.loads((out / "report.json").read_text())
    assert found["count"] == count
    np.testing.assert_allclose(found["scores"]["noisy"]["psnr"]["mean"], 40, atol=1e-3)
    assert "by_camera" not in found
    assert not (out / "denoised.png").exists()
    text = (out / "report.md").read_text()
    assert f"over {count} blocks" in text and "its training pairs is simulated" in text


def test_tiles_and_cameras_reach_the_scoring(runs, dataset, tmp_path, monkeypatch):
    tiles = []

    def denoised(network, noisy, tile):
        tiles.append(tile)
        return noisy

    monkeypatch.setattr(evaluate_denoisers, "denoise_image", denoised)
    flags = ["--sidd_path", str(dataset), "--out", str(tmp_path), "--cam", "S6", "--tile", "24"]
    evaluate_denoiser.main([str(runs["gauss"].path), *flags, "--start_ts_im_idx", "11"])
    assert tiles == [24]
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["count"] == 1 and [row["camera"] for row in found["by_camera"]] == ["S6"] * 2
    text = (tmp_path / "report.md").read_text()
    assert "(simulated noise)" in text and "its training pairs" not in text


def test_denoise_writes_raw_and_srgb_in_the_form_given(runs, dataset, tmp_path, capsys):
    frame = sidd.select_frames(sidd.index(dataset), "test")[0]
    out = tmp_path / "out"
    flags = ["--model", str(runs["real"].path), "--out", str(out), "--tile", "20"]
    denoise.main([*flags, "--noisy", str(frame.noisy), "--formats", "npy", "mat", "png"])
    assert "PSNR" in capsys.readouterr().out
    stem = frame.noisy.stem
    pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
    noisy = np.clip(pair.clean + pair.noise, 0, 1)
    expected = denoising.denoise_image(runs["real"].load(), noisy)
    np.testing.assert_allclose(sidd.read_packed(out / f"{stem}_denoised.MAT"), expected, atol=1e-5)
    bayer = np.load(out / f"{stem}_denoised.npy", allow_pickle=False)
    np.testing.assert_allclose(bayer, sidd.unpack(expected), atol=1e-5)
    for name in ("denoised", "noisy"):
        with Image.open(out / f"{stem}_{name}_srgb.png") as picture:
            assert (picture.height, picture.width) == bayer.T.shape


@pytest.mark.parametrize("shape", [(10, 34), (6, 16, 4), (2, 2)])
def test_denoise_takes_arrays_of_any_even_size(runs, tmp_path, shape):
    image = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    flags = ["--noisy", str(tmp_path / "image.npy"), "--out", str(tmp_path / "out")]
    denoise.main([*flags, "--model", str(runs["gauss"].saved_model), "--camera", "S6"])
    denoised = np.load(tmp_path / "out" / "image_denoised.npy", allow_pickle=False)
    assert denoised.shape == shape
    assert denoised.min() >= 0 and denoised.max() <= 1


@pytest.mark.parametrize("orientation", ["file", "upright"])
def test_denoise_flags(runs, dataset, tmp_path, monkeypatch, capsys, orientation):
    """Each flag by its effect: orientation, clean image, colours, tile."""
    tiles, denoise_image = [], denoising.denoise_image

    def recorded(network, noisy, tile):
        tiles.append(tile)
        return denoise_image(network, noisy, tile)

    monkeypatch.setattr(denoising, "denoise_image", recorded)
    clean = np.random.default_rng(0).uniform(0.2, 0.6, size=(22, 40)).astype(np.float32)
    np.save(tmp_path / "clean.npy", clean)
    np.save(tmp_path / "noisy.npy", clean + np.float32(0.1))
    flags = ["--model", str(runs["real"].path), "--noisy", str(tmp_path / "noisy.npy")]
    flags += ["--orientation", orientation, "--tile", "8"]
    rendered = {}
    metadata = [f.metadata for f in sidd.select_frames(sidd.index(dataset), "test")]
    for name, more in {
        "typical": ["--clean", str(tmp_path / "clean.npy")],
        "S6": ["--camera", "S6"],
        "metadata": ["--metadata", str(metadata[-1])],
    }.items():
        denoise.main([*flags, *more, "--out", str(tmp_path / name)])
        with Image.open(tmp_path / name / "noisy_noisy_srgb.png") as picture:
            rendered[name] = np.asarray(picture).astype(int)
    text = capsys.readouterr().out
    assert "PSNR: noisy 20.00 dB, denoised " in text
    assert text.count("removed a standard deviation of") == 2
    assert tiles == [8] * 3
    upright = orientation == "upright"
    packed = sidd.pack((clean + np.float32(0.1)).T if upright else clean + np.float32(0.1))
    expected = sidd.unpack(denoise_image(runs["real"].load(), packed))
    found = np.load(tmp_path / "typical" / "noisy_denoised.npy", allow_pickle=False)
    np.testing.assert_allclose(found.T if upright else found, expected, atol=1e-5)
    assert rendered["typical"].shape[:2] == (clean.shape if upright else clean.T.shape)
    for name in ("S6", "metadata"):
        assert np.abs(rendered[name] - rendered["typical"]).mean() > 1, name


@pytest.mark.parametrize(
    ("main", "arguments", "told"),
    [
        (train_denoiser.main, [], "--noise is needed"),
        (train_denoiser.main, ["--noise", "noise_flow"], "go together"),
        (train_denoiser.main, ["--noise", "real", "--model", "m"], "go together"),
        (train_denoiser.main, ["--noise", "real", "--gauss_mix", "2"], "gauss_mix"),
        (train_denoiser.main, ["--noise", "real", "--steps", "1", "--epochs", "1"], "exclude"),
        (train_denoiser.main, ["--noise", "real", "--stride", "0"], "stride"),
        (train_denoiser.main, ["--noise", "real", "--depth", "1"], "at least 2"),
        (evaluate_denoiser.main, ["none"], "none is not a run folder of noise-flow train-denoiser"),
        (evaluate_denoiser.main, ["none", "--release_exclusions"], "goes with --blocks"),
        (denoise.main, ["--model", "none", "--noisy", "n.npy"], "holds no denoiser"),
    ],
)
def test_bad_input_is_told_in_one_line(main, arguments, told, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit) as ended:
        parsing.run(lambda: main(arguments))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line


def test_a_run_goes_on_only_as_it_began(runs, begin, dataset, noise_model, tmp_path):
    folder = str(runs["noise_flow"].path)
    with pytest.raises(ValueError, match="--depth 5 does not go with --resume"):
        train_denoiser.main(["--logdir", folder, "--resume", "--depth", "5"])
    other = tmp_path / "other"
    saved_model.save(nf.NoiseFlow("S-G-CAM", seed=1), other)
    with pytest.raises(ValueError, match="is not the noise model that the run"):
        train_denoiser.main(["--logdir", folder, "--resume", "--model", str(other)])
    with pytest.raises(ValueError, match="holds a run already"):
        begin("noise_flow", folder)
    with pytest.raises(ValueError, match="make no batch of 1000"):
        begin("real", tmp_path / "run", "--n_batch_train", 1000)
    with pytest.raises(ValueError, match="both trained on real with seed 0"):
        evaluate_denoiser.main([str(runs["real"].path)] * 2)
