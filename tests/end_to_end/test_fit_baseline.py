"""Fitted baselines from the command line: fit, score beside a flow, sample, train a denoiser."""

import json

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli.main import command
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.saved_model import save


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Flags for a small dataset with two of SIDD's cameras, and the folder of what is written."""
    folder = tmp_path_factory.mktemp("baselines")
    root = sidd.write_synthetic(
        folder / "sidd", size=(64, 64), train_instances=6, test_instances=6, progress=False
    )
    flags = ["--sidd_path", str(root), "--cache", str(folder / "cache"), "--cam", "G4", "IP"]
    return folder, flags


@pytest.fixture(scope="module")
def fitted(data):
    folder, flags = data
    command("fit-baseline", ["--out", str(folder / "baselines"), *flags])
    return folder / "baselines"


def test_all_are_written_for_the_cameras_of_the_frames(fitted):
    assert {path.name for path in fitted.iterdir()} == {*BASELINES}
    for name in BASELINES:
        model = nf.load(fitted / name)
        assert model.kind == name and model.cameras == ("IP", "G4")
        assert model.condition_space.levels_of("IP") == (100, 400)
        assert model.condition_space.levels_of("G4") == (400,)


@pytest.mark.slow
def test_they_are_scored_beside_a_flow(data, fitted, capsys):
    folder, flags = data
    flow = folder / "flow"
    save(nf.NoiseFlow(seed=0), flow)
    models = [*(str(fitted / name) for name in BASELINES), str(flow)]
    out = folder / "evaluation"
    command("evaluate", ["--model", *models, "--out", str(out), "--scores_only", *flags])
    results = json.loads((out / "evaluation.json").read_text())
    names = ["gaussian", "camera_nlf", *BASELINES, "noise_flow"]
    assert list(results["titles"]) == names and results["ours"] == "noise_flow"
    scores = results["summaries"]["all"]["all"]["scores"]
    assert scores["fitted_nlf"]["nll"] < scores["camera_nlf"]["nll"]
    assert results["models"]["shared_nlf"]["parameters"] == 6
    table = capsys.readouterr().out
    heads = [line for line in table.splitlines() if "Fitted NLF" in line]
    assert [cell.strip() for cell in heads[-1].split("|")[2:-1]] == [
        "Gaussian", "Camera NLF", *(kind.title for kind in BASELINES.values()), "Noise Flow",
    ]  # fmt: skip
    rows = [line for line in table.splitlines() if line.startswith("| NLL in the paper")]
    cells = [cell.strip() for cell in rows[-1].split("|")[2:-1]]
    assert cells == ["-2.831 (99.4%)", "-3.105 (51.6%)", *["-"] * len(BASELINES), "**-3.521**"]


def test_frames_that_they_were_not_fitted_on_are_refused(data, fitted, capsys):
    folder, flags = data
    flags = [*flags[:-2], "S6"]
    out = str(folder / "refused")
    with pytest.raises(SystemExit) as ended:
        command("evaluate", ["--model", str(fitted / "fitted_nlf"), "--out", out, *flags])
    assert ended.value.code == 2
    assert "the test frames have S6" in capsys.readouterr().err


@pytest.mark.parametrize("name", BASELINES)
def test_each_is_sampled(name, data, fitted, tmp_path):
    clean = np.full((16, 16, 4), 0.3, np.float32)
    np.save(tmp_path / "clean.npy", clean)
    flags = ["--model", str(fitted / name), "--clean", str(tmp_path / "clean.npy")]
    flags += ["--camera", "G4", "--iso", "400", "--pictures", "none", "--orientation", "file"]
    command("sample", [*flags, "--out", str(tmp_path / "out")])
    noise = np.load(tmp_path / "out" / "clean_noise.npy")
    assert noise.shape == clean.shape and 0.2 < noise.std() / 0.0127 < 5
    again = nf.sample_image(nf.load(fitted / name), clean, 400, "G4", seed=0)
    np.testing.assert_array_equal(noise, again)
    with pytest.raises(SystemExit):
        command("sample", [*flags, "--iso", "800", "--out", str(tmp_path / "other")])


@pytest.mark.parametrize("name", BASELINES)
def test_each_is_a_noise_source(name, data, fitted, tmp_path, capsys):
    _, flags = data
    common = [*flags, "--depth", "2", "--width", "2", "--stride", "32", "--n_batch_train", "2"]
    common += ["--steps", "1", "--n_test_patches", "3"]
    run = str(tmp_path / "run")
    command(
        "train-denoiser",
        ["--noise", name, "--model", str(fitted / name), "--logdir", run, *common],
    )
    command("evaluate-denoiser", [run, *flags[:2], *flags[4:], "--out", str(tmp_path / "out")])
    assert f"DnCNN-{BASELINES[name].title}" in capsys.readouterr().out
    other = next(one for one in BASELINES if one != name)
    with pytest.raises(SystemExit):
        command("train-denoiser", ["--noise", name, "--model", str(fitted / other), *common])
    assert f"--noise {name} needs the --model that noise-flow" in capsys.readouterr().err
