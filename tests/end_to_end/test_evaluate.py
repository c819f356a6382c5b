import csv
import dataclasses
import json
import shutil

import matplotlib.image
import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting
from noise_flow_tf.cli import evaluate, paper
from noise_flow_tf.programs import paper as papers
from noise_flow_tf.programs import pictures
from noise_flow_tf.saving import saved_model
from noise_flow_tf.training.interruption import Interrupted, Interruption
from sidd.offline import synthetic

FIGURES = ("correlation", "latent", "samples", "temperature", "variance")


@pytest.fixture(scope="module")
def results(run_folder, dataset, tmp_path_factory):
    """The folder of an evaluation of the trained run."""
    out = tmp_path_factory.mktemp("evaluations") / "one"
    run, _ = run_folder
    evaluate.main(["--model", str(run), "--sidd_path", str(dataset), "--out", str(out)])
    return out


def test_results_agree_with_the_run_and_among_each_other(results, run_folder, dataset):
    told = json.loads((results / "evaluation.json").read_text())
    of_run = json.loads((run_folder[0] / "report.json").read_text())["test"]
    scores = told["summaries"]["all"]["all"]["scores"]
    assert list(scores) == ["gaussian", "camera_nlf", "noise_flow"]
    for name, score in scores.items():
        assert score == pytest.approx(of_run[name], rel=1e-6, abs=1e-6)
    frames = sidd.select_frames(sidd.index(dataset), "test")
    assert [(row["instance"], row["number"]) for row in told["images"]] == [
        (frame.instance, frame.number) for frame in frames
    ]
    with (results / "images.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(frames)
    of_one = [float(line["nll"]) for line in lines if line["model"] == "noise_flow"]
    assert np.mean(of_one) == pytest.approx(scores["noise_flow"]["nll"], abs=1e-6)
    with (results / "scores.csv").open() as file:
        groups = list(csv.DictReader(file))
    cameras = [line for line in groups if line["by"] == "camera" and line["model"] == "gaussian"]
    assert {line["group"] for line in cameras} == {frame.camera for frame in frames}
    assert sum(int(line["images"]) for line in cameras) == len(frames)
    text = (results / "evaluation.md").read_text()
    assert "whose sensors are made up" in text
    assert f"{scores['noise_flow']['nll']:.3f} ±" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| KL in the paper (SIDD) ")]
    assert row.split("|")[2].strip() == "0.394 (97.9%)"


def test_what_kl_does_not_see(results):
    found = json.loads((results / "evaluation.json").read_text())["properties"]
    assert set(found["correlation"]) == {"real", "camera_nlf", "noise_flow"}
    frames = found["real_against_real"]
    assert 0.03 < frames["akld"] < 0.08 and frames["variance_ratio"] == pytest.approx(1, abs=0.2)
    assert frames["spectrum"] < 0.03 and "akld_stderr" in frames
    assert not {"nll", "akld_floor"} & frames.keys()
    assert "## Two frames of one scene" in (results / "evaluation.md").read_text()
    errors = found["correlation_error"]
    assert errors["camera_nlf"] > 0.03
    groups = [
        [(group["camera"], group["iso"]) for group in records]
        for records in (found["variance"], found["nlf"], found["latent"]["noise_flow"]["groups"])
    ]
    assert groups[0] == groups[1] == groups[2]
    assert ("IP", 100) in groups[0]
    assert found["temperatures"] == pytest.approx(np.arange(0.4, 1.25, 0.1))
    assert {len(kl) for kl in found["kl_over_temperature"].values()} == {9}


def test_figures_are_drawn_from_what_was_saved(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    shutil.rmtree(copy / "figures")
    evaluate.main(["--draw", "--out", str(copy)])
    for name in FIGURES:
        drawn, before = (
            matplotlib.image.imread(folder / "figures" / f"{name}.png")
            for folder in (copy, results)
        )
        np.testing.assert_array_equal(drawn, before)


def test_damaged_results_are_told(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    told = json.loads((copy / "evaluation.json").read_text())
    for damaged in ({}, {**told["properties"], "variance": {"S6, ISO 100": {}}}):
        (copy / "evaluation.json").write_text(json.dumps({**told, "properties": damaged}))
        with pytest.raises(ValueError, match="lacks what the figures show.*without --draw"):
            evaluate.main(["--draw", "--out", str(copy)])
    shutil.copy(results / "evaluation.json", copy)
    (copy / "examples.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="examples.npz: holds no pictures"):
        evaluate.main(["--draw", "--out", str(copy)])


def test_pictures_are_kept_whatever_their_titles(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    row = {"/runs/a": plotting.Picture(image, 0.25), "Real": plotting.Picture(image + 1)}
    pictures.save(tmp_path / "examples.npz", {"S6, ISO 100": row})
    back = pictures.load(tmp_path / "examples.npz")["S6, ISO 100"]
    assert [(title, picture.kl) for title, picture in back.items()] == [
        ("/runs/a", 0.25),
        ("Real", None),
    ]
    np.testing.assert_array_equal(back["Real"].image, image + 1)


def test_several_models_side_by_side(run_folder, dataset, results, tmp_path, capsys):
    run = str(run_folder[0])
    shutil.copytree(results, tmp_path / "two")
    evaluate.main([
        "--model", run, f"{run}/saved_model", "--sidd_path", str(dataset), "--scores_only",
        "--gaussian_stddev", "0.05", "--cam", "S6", "--out", str(tmp_path / "two"),
    ])  # fmt: skip
    told = json.loads((tmp_path / "two" / "evaluation.json").read_text())
    scores = told["summaries"]["all"]["all"]["scores"]
    assert scores[run] == pytest.approx(scores[f"{run}/saved_model"])
    assert (told["gaussian_stddev"], told["ours"]) == (0.05, f"{run}/saved_model")
    assert set(told["summaries"]["camera"]) == {"S6"}
    assert "properties" not in told
    for name in ("figures", "examples.npz"):  # of the results that were there before
        assert (results / name).exists() and not (tmp_path / "two" / name).exists()
    said = capsys.readouterr().out
    assert "\nreport  " in said and "\nfigures  " not in said
    frames = sidd.select_frames(sidd.index(dataset), "test", cameras=["S6"])
    noise = [sidd.read_pair(f.noisy, f.clean, f.metadata).noise.astype(float) for f in frames]
    nll = np.mean(np.square(noise)) / (2 * 0.05**2) + np.log(0.05 * np.sqrt(2 * np.pi))
    assert scores["gaussian"]["nll"] == pytest.approx(nll, abs=1e-4)


@pytest.mark.slow
def test_each_flag_reaches_the_measurement(run_folder, dataset, results, tmp_path):
    def evaluated(*flags):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        evaluate.main([
            "--model", str(run_folder[0]), "--sidd_path", str(dataset), "--scores_only",
            "--out", str(out), *flags,
        ])  # fmt: skip
        return json.loads((out / "evaluation.json").read_text())

    before = json.loads((results / "evaluation.json").read_text())
    assert {(row["patches"], row["kl_patches"]) for row in before["images"]} == {(4, 1)}
    other = evaluated("--n_batch_test", "2", "--seed", "3", "--iso", "100", "800")
    assert {(row["patches"], row["kl_patches"]) for row in other["images"]} == {(4, 2)}
    assert set(other["summaries"]["ISO"]) == {"100", "800"}
    small = evaluated("--patch_height", "16", "--iso", "100", "800")
    assert small["patch_size"] == 16 and {row["patches"] for row in small["images"]} == {16}
    again = evaluated("--n_batch_test", "2", "--iso", "100", "800")
    name = "noise_flow"
    for row, same in zip(other["images"], again["images"], strict=True):
        assert row["scores"][name]["nll"] == pytest.approx(same["scores"][name]["nll"], abs=1e-6)
        assert row["scores"][name]["kl"] != same["scores"][name]["kl"]


def test_noise_of_the_offline_dataset_is_called_simulated(results, run_folder):
    rows = pictures.load(results / "examples.npz")
    assert [list(row) for row in rows.values()] == [
        ["Gaussian", "Camera NLF", "Noise Flow", "Simulated", "Clean"]
    ] * len(rows)
    text = (results / "evaluation.md").read_text() + (run_folder[0] / "report.md").read_text()
    assert text.count("(simulated noise)") >= 3
    assert "real noise" not in text
    events = "".join(
        path.read_bytes().decode(errors="ignore")
        for path in (run_folder[0] / "tensorboard" / "pictures").iterdir()
    )
    assert "clean, simulated, sampled/" in events and "real" not in events


@pytest.mark.slow
def test_noise_of_sidd_is_called_real(run_folder, dataset, tmp_path):
    copy = tmp_path / "sidd"
    shutil.copytree(dataset, copy)
    (copy / synthetic.MANIFEST).unlink()
    out = tmp_path / "out"
    evaluate.main(["--model", str(run_folder[0]), "--sidd_path", str(copy), "--out", str(out)])
    assert "Real" in next(iter(pictures.load(out / "examples.npz").values()))
    text = (out / "evaluation.md").read_text()
    assert "simulated" not in text and "made up" not in text
    assert "divergence to the real noise" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--draw", "--out", "nowhere"],
            "nowhere/evaluation.json: no such file",
        ),
        (["--model", "RUN", "RUN"], "names the same model twice"),
        (["--model", "RUN", "--cam", "XX"], "unknown camera XX"),
        (["--model", "RUN", "--start_ts_im_idx", "90", "--end_ts_im_idx", "91"], "no test frame"),
        (["--model", "RUN", "--out", "README.md"], "README.md is a file"),
        (
            ["--model", "FEW"],
            "test frames have G.*; supported cameras: IP, S6; supported ISO levels: .*choose",
        ),
    ],
)
def test_errors(run_folder, dataset, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").touch()
    paths = {"RUN": str(run_folder[0]), "FEW": str(tmp_path / "few")}
    if "FEW" in flags:
        few = nf.NoiseFlow("S-G", cameras=("IP", "S6"), iso_levels=(100, 400))
        saved_model.save(few, tmp_path / "few")
    flags = [paths.get(flag, flag) for flag in flags]
    with pytest.raises(ValueError, match=message):
        evaluate.main(["--sidd_path", str(dataset), *flags])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "x"], "--model PATH is needed"),
        (["--model", "nothing"], "nothing holds no model"),
    ],
)
def test_errors_are_one_line(script, flags, message):
    done = script("evaluate", *flags)
    assert done.returncode == 2
    # TensorFlow 2.21 writes lines of its own before it takes notice of its log level.
    lines = [line for line in done.stderr.splitlines() if line.startswith("noise-flow")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_gaussian_needs_training_frames(run_folder, dataset, tmp_path):
    only_test = tmp_path / "only_test"
    for frame in sidd.select_frames(sidd.index(dataset), "test")[:2]:
        folder = frame.noisy.parent
        shutil.copytree(folder, only_test / folder.name, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="no train frame.*give --gaussian_stddev"):
        evaluate.main([
            "--model", str(run_folder[0]), "--sidd_path", str(only_test),
            "--out", str(tmp_path / "out"),
        ])  # fmt: skip


@pytest.fixture(scope="module")
def reproduced(dataset, tmp_path_factory):
    """The folder of `noise-flow paper` with two small variants, and its flags."""
    folder = tmp_path_factory.mktemp("reproduced")
    out = folder / "paper"
    flags = ["--full", "--sidd_path", str(dataset), "--out", str(out), "--cache", str(folder)]
    variants = {"paper_formulas": "eq12|eq16", papers.OURS: "sdn5|gain4"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(papers, "VARIANTS", variants)
        paper.main([*flags, "--", "--epochs", "2"])
        yield out, flags


def test_paper_trains_and_scores(reproduced):
    out, _ = reproduced
    report = (out / "report.md").read_text()
    assert "| Noise Flow by the paper's Eq. 12 to 16 |" in report
    assert "| **-3.521** " in report
    found = json.loads((out / "report.json").read_text())
    assert found["differences"]["nll"][papers.OURS] == [0.0, 0.0]
    pictures = [line for line in report.splitlines() if line.startswith("![")]
    assert len(pictures) > 5
    for line in pictures:
        assert (out / line.rpartition("(")[2].rstrip(")")).is_file(), line


@pytest.mark.slow
def test_paper_goes_on_and_draws_again(reproduced, monkeypatch, capsys):
    out, flags = reproduced
    report = (out / "report.md").read_text()
    for name in ("figure4", "figure6", "figure7"):
        (out / "figures" / f"{name}.png").unlink()
    nothing = lambda config: pytest.fail("nothing is left to train")  # noqa: E731
    monkeypatch.setattr(papers.train, "run", nothing)
    paper.main([*flags, "--draw"])
    assert (out / "figures" / "figure7.png").is_file()
    assert (out / "report.md").read_text() == report
    told = capsys.readouterr().out
    for number in (1, 2):
        assert report.split(f"## Table {number}\n\n")[1].split("\n\n")[0] in told


@pytest.mark.slow
def test_paper_lets_training_save_its_state_and_resumes(dataset, tmp_path, monkeypatch):
    variants = {"paper_formulas": "eq12|eq16", papers.OURS: "sdn5|gain4"}
    monkeypatch.setattr(papers, "VARIANTS", variants)
    flags = ["--full", "--sidd_path", str(dataset), "--out", str(tmp_path / "paper")]
    flags += ["--cache", str(tmp_path), "--", "--epochs", "3", "--n_batch_train", "10"]
    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "wanted", lambda self, step=0: step == 7)
        with pytest.raises(Interrupted, match="the state is saved") as stopped:
            paper.main(flags)
    assert stopped.value.exit_code == 143
    trained = []
    monkeypatch.setattr(papers, "score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    run = papers.train.run
    monkeypatch.setattr(papers.train, "run", lambda config: trained.append(config) or run(config))
    with pytest.raises(KeyboardInterrupt):
        paper.main(flags)
    assert [config.resume for config in trained] == [True, True]
    for config in trained:  # as alone, in a process that trains nothing else
        alone = f"{config.logdir}-alone"
        run(dataclasses.replace(config, logdir=alone))
        for got, want in zip(
            nf.load(config.logdir).variables, nf.load(alone).variables, strict=True
        ):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cam", "S6"], "--cam behind -- would not reach the scoring"),
        (["--batching", "none"], "argument --batching: invalid choice: 'none'"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--strategy", "multiworker"], "--strategy multiworker behind -- is for one training"),
    ],
)
def test_paper_refuses_flags_before_anything_runs(capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        paper.main(["--", *flags])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_paper_makes_the_config_of_training():
    config = paper.parse(["--", "--lr", "1e-3"]).train
    assert (config.epochs, config.n_batch_train, config.lr) == (20, None, 1e-3)
    config = paper.parse(["--full", "--sidd_path", "x", "--", "--epochs", "4"]).train
    assert (config.epochs, config.n_batch_train) == (4, None)
