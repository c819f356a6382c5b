"""A metric or a noise source that is added to its registry appears everywhere."""

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising, evaluation
from noise_flow_tf.cli import evaluate_denoiser, train_denoiser
from noise_flow_tf.denoising.sources import SOURCES, NoiseSource
from noise_flow_tf.evaluation.metrics import METRICS, Metric
from noise_flow_tf.programs import evaluate, evaluation_report, paper, paper_report, train
from noise_flow_tf.programs.configs import EvaluateConfig, PaperConfig, TrainConfig
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "sidd"
    return str(
        sidd.write_synthetic(
            root, size=(64, 64), train_instances=5, test_instances=3, progress=False
        )
    )


def stddev_ratio(batch, measured):
    """Undefined for models without a latent, to see what becomes of that."""
    if measured.latent is None:
        return None
    return measured.sample.std(axis=(1, 2, 3)) / batch["noise"].std(axis=(1, 2, 3))


@pytest.fixture
def metric(monkeypatch):
    made_up = Metric(
        name="stddev_ratio",
        title="Spread",
        unit="parts of the spread",
        meaning="standard deviation of sampled over that of given noise",
        values=stddev_ratio,
        digits=5,
        difference_digits=6,
        lower_is_better=False,
        gain=lambda theirs, ours: ours / theirs - 1,
        gain_meaning="how much wider",
    )
    monkeypatch.setitem(METRICS, made_up.name, made_up)
    return made_up


def padded(title):
    """As wide as the longest title of a table of all metrics."""
    return title.ljust(max(len(metric.title) for metric in METRICS.values()))


def test_a_metric_without_a_direction_claims_none(metric):
    neither = dataclasses.replace(metric, lower_is_better=None, gain=None, gain_meaning="")
    assert neither.explained().endswith(": standard deviation of sampled over that of given noise.")


class Plain:
    """A noise model whose distribution is a plain one of TFP: no latent, no temperature."""

    def __call__(self, clean, iso, camera, training=False):
        scale = 0.05 * tf.ones_like(clean)
        return tfp.distributions.Independent(tfp.distributions.Normal(0.0, scale), 3)


@pytest.fixture
def trained(dataset, tmp_path, metric):
    """A run of a short training while the metric is registered."""
    config = TrainConfig(
        logdir=str(tmp_path / "run"), arch="sdn5|gain4", sidd_path=dataset, epochs=1,
        cache=str(tmp_path / "cache"),
    )  # fmt: skip
    train.run(config)
    return RunFolder(tmp_path / "run")


@pytest.mark.slow
def test_a_new_metric_appears_everywhere(trained, metric, dataset, tmp_path, monkeypatch):
    report = json.loads(trained.report.read_text())["test"]
    values = {name: score["stddev_ratio"] for name, score in report.items()}
    assert set(values) == {"gaussian", "camera_nlf", "noise_flow"}
    assert 0 < report["noise_flow"]["stddev_ratio_stderr"] < values["noise_flow"]
    text = trained.report_text.read_text()
    row = f"| {padded('Spread')} | {values['gaussian']:.5f} ± "
    gains = {name: values["noise_flow"] / values[name] - 1 for name in ("gaussian", "camera_nlf")}
    (line,) = [line for line in text.splitlines() if re.sub(r"\*", "", line).startswith(row)]
    for gain in gains.values():
        assert (f" ({gain:.1%}) |" in line) == (gain > 0)
    assert f"**{max(values.values()):.5f} ± " in line
    assert metric.explained() in text and "in parts of the spread" in text
    assert "higher is better; relative improvement: how much wider" in text

    out = tmp_path / "paper"
    runs = {name: out / name for name in (paper_report.FORMULAS, paper.OURS)}
    for run, arch in zip(runs.values(), ("eq12|eq16", "sdn5|gain4"), strict=True):
        cache = str(tmp_path / "cache")
        config = TrainConfig(logdir=str(run), arch=arch, sidd_path=dataset, epochs=1, cache=cache)
        train.run(config)
    monkeypatch.setattr(paper, "VARIANTS", dict.fromkeys(runs, ""))
    monkeypatch.setattr(train, "run", lambda config: None)
    paper.run(PaperConfig(out=str(out), full=True, sidd_path=dataset, cache=str(tmp_path / "c")))

    folder = out / "evaluation"
    results = json.loads((folder / "evaluation.json").read_text())
    everything = results["summaries"]["all"]["all"]["scores"]
    for name in ("gaussian", "camera_nlf"):
        assert everything[name]["stddev_ratio"] == pytest.approx(values[name], abs=1e-6)
    for way in ("camera", "ISO"):
        for group in results["summaries"][way].values():
            assert group["scores"][paper.OURS]["stddev_ratio"] > 0
    for group in results["summaries"]["camera and ISO"]:
        assert {"camera", "iso", "images", "scores"} == set(group)
        assert group["scores"][paper.OURS]["stddev_ratio"] > 0
    assert all("stddev_ratio" in row["scores"]["gaussian"] for row in results["images"])
    for name in ("scores.csv", "images.csv"):
        with (folder / name).open() as file:
            rows = list(csv.DictReader(file))
        without = [row for row in rows if not row["stddev_ratio"]]  # it is measured on the latent
        assert {row["model"] for row in without} <= {
            "Poisson-Gaussian",
            "poisson_gaussian",
            "ELD",
            "eld",
        }
        assert all(float(row["stddev_ratio"]) > 0 for row in rows if row not in without)
    text = (folder / "evaluation.md").read_text()
    assert metric.explained() in text
    heads = [line for line in text.splitlines() if "Gaussian, Spread" in line]
    assert [head.split("|")[1].strip() for head in heads] == ["camera", "ISO", "camera and ISO"]
    assert f"| {padded('Spread')} | {everything['gaussian']['stddev_ratio']:.5f} ± " in text

    text = (out / "report.md").read_text()
    for kind in BASELINES.values():
        ratio = everything[kind.name]["stddev_ratio"]
        assert ratio > 0 if getattr(kind.model_class, "has_latent", True) else ratio is None
        assert kind.title in text.split("## Table 2")[0].split("## Table 1")[1]
        assert kind.title not in text.split("## Table 2")[1].split("## Figures")[0]
    told = json.loads((out / "report.json").read_text())
    difference, error = told["differences"]["stddev_ratio"][paper_report.FORMULAS]
    assert f"{difference:+.6f} ± {error:.6f} " in text
    assert "| Spread " in text and "| Spread, above Noise Flow " in text
    assert metric.explained() in text


def test_a_model_without_a_latent_is_evaluated(metric, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda paths: {"plain": ("here", Plain())})
    out = tmp_path / "out"
    config = EvaluateConfig(
        model=["here"], out=str(out), sidd_path=dataset, cache=str(tmp_path / "cache")
    )
    evaluate.run(config)
    results = json.loads((out / "evaluation.json").read_text())
    scores = results["summaries"]["all"]["all"]["scores"]
    assert scores["plain"]["stddev_ratio"] is None and scores["plain"]["nll"] is not None
    assert results["models"]["plain"]["arch"] == "Plain"
    found = results["properties"]
    assert set(found["latent"]) == {"gaussian", "camera_nlf"}
    assert set(found["kl_over_temperature"]) == {"camera_nlf"}
    text = (out / "evaluation.md").read_text()
    assert "plain has no latent, and is left out." in text
    assert "plain has no latent, and so no temperature." in text
    row = next(line for line in text.splitlines() if line.startswith("| Spread"))
    assert row.split("|")[4].strip() == "-"
    assert {path.stem for path in (out / "figures").iterdir()} == {
        "correlation", "latent", "samples", "temperature", "variance",
    }  # fmt: skip
    noise = "the simulated noise"
    assert noise in text and "real noise" not in text


class NoDensity(tfp.distributions.Distribution):
    """It samples, and that is all."""

    def __init__(self, clean):
        self._clean = clean
        super().__init__(tf.float32, tfp.distributions.NOT_REPARAMETERIZED, False, True)

    def _batch_shape_tensor(self):
        return tf.shape(self._clean)[:1]

    def _event_shape_tensor(self):
        return tf.shape(self._clean)[1:]

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self._clean)], axis=0)
        return 0.1 * tf.random.stateless_normal(shape, tfp.random.sanitize_seed(seed))


def test_a_model_without_a_density_has_no_likelihood():
    batch = {
        "noise": tf.random.stateless_normal([10, 8, 8, 4], [7, 7]) / 10,
        "clean": tf.zeros([10, 8, 8, 4]),
        "iso": tf.fill([10], 100),
        "camera": tf.zeros([10], tf.int32),
        "nlf": tf.ones([10, 2]),
    }
    models = {"a": lambda clean, iso, camera: NoDensity(clean), "b": nf.GaussianNoise(0.1)}
    scores = evaluation.evaluate(models, [batch])
    assert scores["a"]["nll"] is None and scores["a"]["nll_stderr"] is None
    assert 0 < scores["a"]["kl"] < 1 and scores["b"]["nll"] is not None
    text = evaluation.tables.table(scores, {"a": "A", "b": "B"}, "b")
    assert f"| {padded('NLL')} | -  " in text


@pytest.fixture
def source(monkeypatch):
    def make(table, model):
        assert all(len(nlf) == 2 for nlf in table.values())
        level = 0.01 * model.width
        return lambda batch, seed: level * tf.random.stateless_normal(batch["clean"].shape, seed)

    made_up = NoiseSource(
        name="made_up", title="DnCNN-MadeUp", help="noise that nobody has seen before", make=make,
        needs_model=True, paper={"psnr": 12.34, "ssim": 0.5},
    )  # fmt: skip
    monkeypatch.setitem(SOURCES, made_up.name, made_up)
    return made_up


@pytest.mark.slow
def test_a_new_noise_source_appears_everywhere(source, dataset, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_denoiser.parse(["--help"])
    help_text = capsys.readouterr().out
    assert ",".join(SOURCES) in help_text and SOURCES.keys() >= {"gauss", "fitted_nlf", "made_up"}
    assert "  made_up     noise that nobody has seen before" in help_text
    with pytest.raises(SystemExit):
        train_denoiser.parse(["--noise", "made_up"])
    message = "--noise noise_flow or shared_nlf .* or made_up and --model PATH go together"
    assert re.search(message, capsys.readouterr().err)

    model = tmp_path / "model"
    nf.saving.saved_model.save(nf.NoiseFlow("S-G", width=4), model)
    common = ["--sidd_path", dataset, "--depth", "2", "--width", "2", "--stride", "32"]
    common += ["--n_batch_train", "4", "--steps", "1", "--n_test_patches", "3"]
    common += ["--cache", str(tmp_path / "cache")]
    runs = []
    for noise, more in (
        ("made_up", ["--model", str(model)]),
        ("made_up", ["--model", str(model), "--gauss_mix", "0.25"]),
        ("gauss", []),
    ):
        runs.append(str(tmp_path / f"{noise}{len(runs)}"))
        train_denoiser.main(["--noise", noise, "--logdir", runs[-1], *common, *more])
    report = denoising.DenoiserRun(runs[0]).report_text.read_text()
    assert report.startswith("# DnCNN-MadeUp on ") and "(simulated noise)" in report
    out = tmp_path / "out"
    capsys.readouterr()
    evaluate_denoiser.main([*runs, "--sidd_path", dataset, "--out", str(out)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    titles = [line.split("|")[1].strip() for line in lines[2:]]
    assert titles == ["Noisy input", "DnCNN-Gauss", "DnCNN-MadeUp", "DnCNN-MadeUp (25% Gauss)"]
    assert "12.34" in lines[4] and "12.34" not in lines[5]
    assert "| camera | Noisy input " in (out / "report.md").read_text()
    found = json.loads((out / "report.json").read_text())
    assert found["paper"]["made_up"] == source.paper
    mixed = found["scores"]["made_up (25% Gauss)"]
    assert (mixed["noise"], mixed["gauss_mix"], mixed["runs"]) == ("made_up", 0.25, 1)
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["noise"], row["gauss_mix"]) for row in rows} == {
        ("noisy", "0.0"), ("gauss", "0.0"), ("made_up", "0.0"), ("made_up", "0.25"),
    }  # fmt: skip


@pytest.mark.slow
def test_the_registry_of_sources_needs_no_tensorflow():
    program = (
        "import sys\nfrom noise_flow_tf.denoising.sources import SOURCES\n"
        "assert 'numpy' not in sys.modules and 'tensorflow' not in sys.modules\n"
        "from noise_flow_tf import denoising\n"
        "for name in denoising.__all__:\n    getattr(denoising, name)\n"
        "denoising.sources.SIGMAS, denoising.scores.SCORES\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        denoising.nothing  # noqa: B018


def test_groups_of_two_conditions_are_records():
    rows = [
        {"camera": camera, "iso": iso, "patches": 2, "kl_patches": 1, "scores": {"a": {"nll": nll}}}
        for camera, iso, nll in (("S6", 800, 1.0), ("IP", 100, 2.0), ("S6", 100, 3.0))
    ]
    found = evaluation_report.summaries({"images": rows})
    assert [(r["camera"], r["iso"]) for r in found["camera and ISO"]] == [
        ("IP", 100), ("S6", 100), ("S6", 800),
    ]  # fmt: skip
    assert found["camera"][1]["scores"]["a"]["nll"] == 2.0
    in_json = evaluation_report.as_json(found)
    assert list(in_json["ISO"]) == ["100", "800"] and in_json["ISO"]["800"]["images"] == 1
    assert np.isclose(in_json["all"]["all"]["scores"]["a"]["nll"], 2.0)
