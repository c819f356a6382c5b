"""What reports, tables and charts make of numbers that are made up here; nothing is trained."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import sidd
from noise_flow_tf import plotting
from noise_flow_tf.denoising import DnCNN
from noise_flow_tf.evaluation import metrics
from noise_flow_tf.programs import (
    dataset,
    evaluate_denoiser,
    evaluation_figures,
    evaluation_report,
    paper_report,
    pictures,
    properties,
    run_report,
)
from noise_flow_tf.programs.configs import EvaluateDenoiserConfig, TrainConfig
from noise_flow_tf.saving.run_folder import RunFolder
from sidd.offline import synthetic

BASELINES = {"gaussian": {"nll": -2.0, "kl": 0.5}, "camera_nlf": {"nll": -3.0, "kl": 0.2}}


def test_a_report_of_a_run_adds_up_its_epochs(tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    start = {"command": ["train.py", "--lr", "1"], "git_commit": "abc", "versions": {"numpy": "2"}}
    run.create({"arch": "S-G", "width": 4, "steps_per_epoch": 7, "starts": [start, start]})
    chart = plotting.Chart({"a": ([1, 2], [3, 4])}, "NLL", "epoch", "NLL")
    section = run_report.Section(
        title="Made up", text=["One.", "Two."], best="The best.", numbers={"test": 1},
        summary="a summary", figures={"nll": plotting.charts(chart)},
    )  # fmt: skip
    config = TrainConfig(
        sidd_path=str(tmp_path), schedule="cosine", lr=1e-2, seed=4, n_batch_train=9,
        patch_height=16,
    )  # fmt: skip
    rows = [{"seconds": 90.0}, {"seconds": 30.0}, {"seconds": 60.0}]
    run_report.write(run, config, section, rows, ["bad.MAT: damaged"])
    told = json.loads(run.report.read_text())
    assert told == {
        "test": 1,
        "dataset": str(tmp_path),
        "dataset_noise": "real",
        "training": {"minutes": 3.0, "steps": 21, "epochs": 3},
        "left_out": ["bad.MAT: damaged"],
        "seed": 4,
        "starts": [start, start],
    }
    line = "Started with `train.py --lr 1` at commit abc, numpy 2."
    assert run.report_text.read_text() == (
        f"# Made up on {tmp_path}\n\nOne.\n\nTwo.\n\n"
        "3 epochs, 21 steps of 9 patches of 16 x 16 in 3.0 minutes; schedule cosine at 0.01, seed "
        f"4. The best.\n\n{line}\n{line}\n\nLeft out: bad.MAT: damaged\n\n"
        "![NLL](pictures/nll.png)\n"
    )
    assert (run.pictures / "nll.png").is_file()
    assert "a summary" in capsys.readouterr().out


def test_charts_of_a_history():
    rows = [
        {
            "epoch": 1,
            "nll": 5.0,
            "val_nll": 4.0,
            "val_kl": 0.3,
            "beta/beta1": 0.1,
            "camera f/S6": 1,
        },
        {"epoch": 2, "nll": -3.0, "beta/beta1": 0.2, "camera f/S6": 2},
        {"epoch": 3, "nll": -4.0, "val_nll": -3.5, "val_kl": 0.1, "beta/beta1": 0.3},
    ]
    learned = {"beta": ["beta1"], "camera f": ["S6"]}
    charts = pictures.history(rows, BASELINES, learned, "simulated")
    assert list(charts) == ["nll", "kl", "beta", "camera_f"]
    nll, kl, beta, factor = charts.values()
    assert nll.series == {
        "training": ([1, 2, 3], [5.0, -3.0, -4.0]), "test": ([1, 3], [4.0, -3.5])
    }  # fmt: skip
    assert nll.levels == {"Gaussian": -2.0, "Camera NLF": -3.0}
    assert nll.top == pytest.approx(-2 + 0.3 * 2) and not nll.logarithmic
    assert kl.series == {"test": ([1, 3], [0.3, 0.1])} and kl.logarithmic
    assert kl.levels == {"Gaussian": 0.5, "Camera NLF": 0.2}
    assert beta.series == {"beta1": ([1, 2, 3], [0.1, 0.2, 0.3])} and beta.logarithmic
    assert factor.series == {"S6": ([1, 2], [1, 2])} and not factor.logarithmic
    assert all("simulated" in chart.title for chart in charts.values())
    with_floor = pictures.history(rows, BASELINES, learned, "simulated", 0.01)["kl"].levels
    assert with_floor == kl.levels | {"floor: two samples of the model": 0.01}
    for few in (rows[:2], []):  # not below both baselines at the end, or not begun
        assert pictures.history(few, BASELINES, {}, "real")["nll"].top is None


def frame(camera, iso, brightness):
    place = f"{camera}_{iso}_{brightness}"
    return SimpleNamespace(
        noisy=place, clean=place, metadata=place, unlisted_camera=False,
        camera=camera, iso=iso, brightness=brightness,
    )  # fmt: skip


def test_examples_are_of_each_iso_in_the_middle_of_the_frames(monkeypatch):
    clean = np.random.default_rng(0).uniform(0.1, 0.9, (10, 12, 4)).astype(np.float32)

    def read_pair(noisy, *_):
        camera, iso, _ = noisy.split("_")
        return SimpleNamespace(
            clean=clean, noise=0.1 * clean, nlf=(float(iso), 0.1),
            metadata=sidd.typical_metadata(camera, int(iso)),
        )  # fmt: skip

    monkeypatch.setattr(sidd, "read_pair", read_pair)
    frames = [frame("S6", 800, "N"), frame("S6", 100, "L"), frame("S6", 100, "N")]
    frames += [frame("IP", 800, "L"), frame("GP", 800, "N"), frame("G4", 50, "H")]
    all_lights = pictures.Examples(frames, "simulated")
    assert all_lights.labels == ["G4, ISO 50", "S6, ISO 100", "IP, ISO 800"]
    assert all_lights.noise.shape == (3, 10, 10, 4)
    examples = pictures.Examples(frames, "simulated", by_light=True)
    assert examples.labels == [
        "S6, ISO 100, normal light", "S6, ISO 100, low light",
        "GP, ISO 800, normal light", "IP, ISO 800, low light",
    ]  # fmt: skip
    assert examples.iso.tolist() == [100, 100, 800, 800]
    assert examples.camera == ["S6", "S6", "GP", "IP"]
    np.testing.assert_array_equal(examples.clean[0], clean[:, 1:11])

    seen = []

    def sample(batch, seed):
        seen.append((batch, seed))
        return SimpleNamespace(numpy=lambda: 0.3 * batch["clean"])

    monkeypatch.setattr(pictures.protocol, "distribution", lambda model, batch: batch)
    monkeypatch.setattr(pictures.protocol, "sample", sample)
    row = examples.comparison({"Ours": None}, seed=7)["GP, ISO 800, normal light"]
    assert seen[0][1] == (7, 0)
    np.testing.assert_allclose(seen[0][0]["nlf"][:, 0], [100, 100, 800, 800])
    assert list(row) == ["Ours", "Simulated", "Clean"]
    assert row["Ours"].kl == metrics.marginal_kl(0.1 * clean[:, 1:11], 0.3 * clean[:, 1:11])
    assert row["Simulated"].kl is None
    shown = [
        sidd.render_packed(np.clip(factor * clean[:, 1:11], 0, 1), sidd.typical_metadata("GP", 800))
        for factor in (1.0, 1.1, 1.3)
    ]
    for title, image in zip(("Clean", "Simulated", "Ours"), shown, strict=True):
        np.testing.assert_allclose(row[title].image, image, atol=1)
    strip = examples.strips(None)["clean, simulated, sampled/GP, ISO 800, normal light"]
    np.testing.assert_allclose(strip, np.concatenate(shown, axis=1), atol=1)


def test_the_chart_of_camera_nlfs_has_the_mean_beta1_of_each_iso():
    images = [
        {"camera": camera, "iso": iso, "nlf": [beta1, 9.0]}
        for camera, iso, beta1 in (
            ("S6", 800, 0.5), ("S6", 800, 0.25), ("S6", 100, 0.125), ("IP", 100, 1.0)
        )
    ]  # fmt: skip
    chart = paper_report.nlf_chart(images, "real")
    assert chart.series == {"IP": ([100], [1.0]), "S6": ([100, 800], [0.125, 0.375])}
    assert chart.loglog


def test_table_2_has_gains_differences_and_the_papers_numbers():
    models = {
        "S-G": {"parameters": 12},
        "paper_formulas": {"parameters": 5},
        "ours": {"parameters": 7},
    }
    scores = {
        "S-G": {"nll": -2.0, "nll_stderr": 0.5, "kl": 0.4},
        "paper_formulas": {"nll": None, "kl": 0.2},
        "ours": {"nll": -3.0, "nll_stderr": 0.25, "kl": 0.1},
    }
    differences = {
        "nll": {"S-G": (1.0, 0.125), "paper_formulas": (None, None), "ours": (0.0, 0.0)},
        "kl": {"S-G": (0.3, None), "paper_formulas": (-0.1, 0.05), "ours": (0.0, 0.0)},
    }
    head, _, *lines = paper_report.table_2(models, scores, differences, "ours").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "Model", "parameters", "NLL", "NLL, above Noise Flow", "KL", "KL, above Noise Flow",
        "NLL in the paper (SIDD)", "KL in the paper (SIDD)",
    ]  # fmt: skip
    assert cells == [
        ["S-G", "12", "-2.000 ± 0.500 (171.8%)", "+1.0000 ± 0.1250", "0.4000 (75.0%)", "+0.3000",
         "-3.431 (9.42%)", "0.067 (88.1%)"],
        ["Noise Flow by the paper's Eq. 12 to 16", "5", "-", "-", "0.2000 (50.0%)",
         "-0.1000 ± 0.0500", "-", "-"],
        ["ours (Noise Flow)", "7", "**-3.000 ± 0.250**", "-", "**0.1000**", "-", "-", "-"],
    ]  # fmt: skip


TEMPERATURES = [0.4, 0.6, 1.0, 1.2]


@pytest.mark.parametrize(
    ("kl", "above", "told"),
    [
        ([0.4, 0.3, 0.1, 0.2], 0.0, "lowest at 1, the model's own distribution, which is what"),
        ([0.4, 0.05, 0.1, 0.2], -0.021, "lowest at 0.6, so that the model's own distribution, at"),
        ([0.4, 0.05, 0.1, 0.2], -0.02, "lowest at 0.6, within two standard errors of the model's"),
    ],
)
def test_the_report_on_temperature_takes_errors_into_account(kl, above, told):
    differences = [[1.0, 0.01], [above, 0.01], [0.0, 0.0], [1.0, 0.01]]
    found = {
        "temperatures": TEMPERATURES,
        "kl_over_temperature": {"m": kl, "m by moments": [4.0, 3.0, 2.0, 1.0]},
        "kl_above_temperature_1": {"m": differences},
    }
    text = properties.temperature_text(found, {"m": "Mine"}, "m")
    assert f"the KL of Mine is {told}" in text
    assert f": {min(kl):.4f} nats, against 0.1000 at 1 and {kl[1]:.4f} at 0.6." in text
    assert text.endswith("puts the lowest at 1.2.")


def made_up_properties():
    one = {"mean": 0.1, "variance": 1.5, "excess_kurtosis": 0.25, "whiteness": 0.0625}
    conditions = [("S6", 800), ("S6", 100), ("P9", 50), ("IP", 3200)]
    groups = [{"camera": camera, "iso": iso} for camera, iso in conditions]
    return {
        "correlation": {"real": [[0.0]], "m": [[1.0]]},
        "correlation_error": {"camera_nlf": 0.08, "m": 0.02},
        "variance": [{**group, "x": 1} for group in groups],
        "nlf": [{**group, "beta1": 0.5, "beta2": 0.25} for group in groups],
        "latent": {name: {"all": one, "groups": groups} for name in ("camera_nlf", "m")},
        "temperatures": TEMPERATURES,
        "kl_over_temperature": {
            "camera_nlf": [4, 3, 2, 1], "m": [3, 1, 2, 4], "m by moments": [4, 3, 2, 1]
        },
        "kl_above_temperature_1": {"m": [[1, 1]] * 4},
    }  # fmt: skip


def test_the_report_on_properties_has_their_numbers():
    text = "\n".join(
        properties.text(made_up_properties(), {"camera_nlf": "NLF", "m": "Mine"}, "m", "real", "f")
    )
    assert "is 0.0800 for the camera NLF, whose noise is white, and 0.0200 for Mine: 25% of" in text
    assert "| Mine      | 0.1000 | 1.5000   | 0.2500          | 0.0625          |" in text
    assert "has no latent" not in text
    for name in properties.captions("real"):
        assert text.count(f"](f/{name}.png)") == 1


def test_properties_are_gathered_image_by_image(monkeypatch):
    """Two images, the first of two batches; the model has no latent for the second."""
    given = []

    def gathering(name):
        def make(*arguments):
            own = (name, len([one for one in given if one[0] == (name, "made")]))
            given.append(((name, "made"), arguments))
            return SimpleNamespace(
                add=lambda *values: given.append((own, values)),
                mean=lambda: np.zeros([1]), results=lambda: {"groups": {}}, above_one=dict,
            )  # fmt: skip

        return make

    for name in ("Correlation", "Calibration", "KLOverTemperature"):
        monkeypatch.setattr(properties.analysis, name, gathering(name))
    monkeypatch.setattr(properties.analysis, "correlation_error", lambda a, b: 0.5)
    rng = np.random.default_rng(0)
    batches = []
    for frame_number, camera, iso, beta1 in ((4, 1, 100, 0.5), (4, 1, 100, 0.5), (7, 1, 100, 0.25)):
        noise, clean, nlf, m = rng.uniform(size=(4, 2, 32, 32, 4))
        batch = {
            "noise": noise, "clean": clean, "frame": np.full(2, frame_number),
            "camera": np.full(2, camera), "iso": np.full(2, iso), "nlf": np.full([2, 2], beta1),
        }  # fmt: skip
        latent = None if frame_number == 7 else m + 1
        batches.append((batch, {
            "gaussian": metrics.Measured(None, noise + 1, noise, noise),
            "camera_nlf": metrics.Measured(None, nlf + 1, nlf, nlf),
            "m": metrics.Measured(None, latent, m, m),
        }))  # fmt: skip
    gathered = properties.Properties(
        dict.fromkeys(("gaussian", "camera_nlf", "m"), "model"), "m", ["IP", "S6"], "moments", 5,
        range(8),
    )  # fmt: skip
    for batch, measured in batches:
        gathered.add(batch, measured)
    results = gathered.results()

    (temperature,) = [values for what, values in given if what == ("KLOverTemperature", "made")]
    assert temperature == ({"camera_nlf": "model", "m": "model", "m by moments": "moments"}, 5)
    added = [values for what, values in given if what == ("KLOverTemperature", 0)]
    assert [batch["frame"][0] for (batch,) in added] == [4, 4, 7]
    first = [np.concatenate([batch["noise"] for batch, _ in batches[:2]])]
    first += [np.concatenate([m[n].sample for _, m in batches[:2]]) for n in ("camera_nlf", "m")]
    for number, expected in enumerate(first):  # of the noise itself, and of both models
        one, other = [values for what, values in given if what == ("Correlation", number)]
        np.testing.assert_array_equal(one[0], expected)
        assert other[0].shape == (2, 32, 32, 4)
    latents = [[values for what, values in given if what == ("Calibration", n)] for n in range(3)]
    assert [len(values) for values in latents] == [2, 2, 1]
    assert latents[2][0][0] == ("S6", 100)
    np.testing.assert_array_equal(latents[2][0][1], first[2] + 1)
    assert set(results["latent"]) == {"gaussian", "camera_nlf"}
    assert results["nlf"] == [{"camera": "S6", "iso": 100, "beta1": 0.375, "beta2": 0.375}]
    (variance,) = results["variance"]
    assert (variance["camera"], variance["iso"]) == ("S6", 100)
    clean = np.concatenate([batch["clean"] for batch, _ in batches])
    bins = properties.analysis.VarianceOverIntensity()
    noises = {"real": np.concatenate([batch["noise"] for batch, _ in batches])}
    noises |= {
        n: np.concatenate([m[n].sample for _, m in batches]) for n in ("camera_nlf", "m")
    }  # fmt: skip
    bins.add("all", clean, noises)
    expected = bins.results()["all"]
    assert variance["count"] == expected["count"] and len(variance["count"]) > 8
    for source, values in expected["variance"].items():
        np.testing.assert_allclose(variance["variance"][source], values, rtol=1e-9)
    assert set(variance["variance"]) == {"real", "camera_nlf", "m"}


def test_figures_are_given_their_conditions_in_order(monkeypatch):
    given = {}
    for name in ("correlation_maps", "variance_grid", "latent_quantiles", "charts"):
        monkeypatch.setattr(
            plotting, name, lambda *arguments, name=name: given.setdefault(name, arguments)
        )
    found = made_up_properties()
    results = {"properties": found, "ours": "m", "offline": True}
    results["titles"] = {"gaussian": "Gaussian", "camera_nlf": "NLF", "m": "Mine"}
    figures = evaluation_figures.from_results(results)
    assert set(figures) == {"correlation", "variance", "latent", "temperature"}
    order = [("IP", 3200), ("S6", 100), ("S6", 800), ("P9", 50)]
    variance, nlf, *about = given["variance_grid"]
    assert list(variance) == list(nlf) == order and nlf["IP", 3200] == (0.5, 0.25)
    assert about == ["real", "m", ("simulated noise", "camera NLF, beta1 y + beta2", "Mine")]
    latents, shown, noise = given["latent_quantiles"]
    assert list(latents) == ["NLF", "Mine"] and (shown, noise) == ("Mine", "simulated")
    assert list(latents["Mine"]["groups"]) == [f"{camera}, ISO {iso}" for camera, iso in order]
    maps, errors = given["correlation_maps"]
    assert list(maps) == ["Simulated", "Mine"] and errors == {"NLF": 0.08, "Mine": 0.02}
    (chart,) = given["charts"]
    assert chart.series == {
        "NLF": (TEMPERATURES, [4, 3, 2, 1]),
        "Mine": (TEMPERATURES, [3, 1, 2, 4]),
        "Mine, batch norm on the batch's moments": (TEMPERATURES, [4, 3, 2, 1]),
    }
    assert chart.marked == {"lowest, at 0.6": (0.6, 1)} and chart.logarithmic
    del found["latent"]["m"]
    given.clear()
    evaluation_figures.from_results({**results, "offline": False})
    assert given["latent_quantiles"][1:] == ("NLF", "real")


def test_rows_of_images_have_what_is_known_of_the_frame():
    frames = [
        SimpleNamespace(instance=i, number=10, camera="S6", iso=800, brightness="L") for i in (7, 9)
    ]
    row = {
        "frame": 1,
        "camera": 3,
        "iso": 800,
        "nlf": [0.1, 0.2],
        "patches": 4,
        "kl_patches": 1,
        "scores": {},
    }
    assert evaluation_report.images([row], frames) == [{
        "instance": 9, "number": 10, "camera": "S6", "iso": 800, "brightness": "L", "patches": 4,
        "kl_patches": 1, "nlf": [0.1, 0.2], "scores": {},
    }]  # fmt: skip


def trained(path, noise, seed, **other):
    settings = {
        "depth": 3, "width": 4, "noise_scale": 0.5, "schedule": "release", "lr": 1e-3,
        "steps_per_epoch": 7, "epochs": 3, "n_batch_train": 9, "patch_height": 32, "stride": 16,
        "noise": noise, "seed": seed, "sidd_path": None, **other,
    }  # fmt: skip
    return evaluate_denoiser.Trained(path, settings, DnCNN(2, 2, seed))


def test_denoisers_are_scored_image_by_image(tmp_path, monkeypatch):
    def tenth(network, noisy, tile):
        return 0.5 + (noisy - 0.5) / tile

    monkeypatch.setattr(evaluate_denoiser, "denoise_image", tenth)
    clean = np.full([12, 12, 4], 0.5)
    images = [
        evaluate_denoiser.Image(name, clean + 0.1, clean, {"camera": "S6", "iso": iso})
        for name, iso in (("0001_010", 100), ("0002_010", 800))
    ]
    runs = [trained("a", "gauss", 5, gauss_mix=0.25), trained("b", "real", 6)]
    rows = evaluate_denoiser.score_all(images, runs, 10)
    assert [(r["run"], r["noise"], r["gauss_mix"], r["seed"], r["image"]) for r in rows] == [
        ("", "noisy", 0.0, "", "0001_010"), ("a", "gauss", 0.25, 5, "0001_010"),
        ("b", "real", 0.0, 6, "0001_010"), ("", "noisy", 0.0, "", "0002_010"),
        ("a", "gauss", 0.25, 5, "0002_010"), ("b", "real", 0.0, 6, "0002_010"),
    ]  # fmt: skip
    np.testing.assert_allclose([row["psnr"] for row in rows], [20, 40, 40] * 2)
    config = EvaluateDenoiserConfig(runs=["a", "b"], out=str(tmp_path))
    evaluate_denoiser.write(config, runs, rows, ["bad: damaged"])
    text = (tmp_path / "report.md").read_text()
    assert "2 images, with" in text and "Left out: bad: damaged" in text
    line = (
        ": `{}`, depth 3, width 4, noise scale 0.5, 21 steps of 9 patches of 32 x 32 at stride 16, "
        "schedule release at 0.001{}\n"
    )
    assert "- DnCNN-Gauss (25% Gauss), seed 5" + line.format("a", "") in text
    pairs = "; the noise of its training pairs is simulated"
    assert "- DnCNN-Real, seed 6" + line.format("b", pairs) in text
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["count"] == 2 and [run["path"] for run in found["runs"]] == ["a", "b"]
    assert len({run["weights"] for run in found["runs"]}) == 2
    with pytest.raises(ValueError, match="no image"):
        evaluate_denoiser.score_all([], runs, 10)


def test_noise_of_a_file_is_that_of_its_dataset(tmp_path):
    for root, folder in (("a", "a/Data/0001"), ("b", "b/SIDD/Data/0001"), ("c", "c/x/y/Data/0001")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / root / synthetic.MANIFEST).write_text("{}")
    said = [
        dataset.noise_label_of(tmp_path / folder / "file.MAT")
        for folder in ("a/Data/0001", "b/SIDD/Data/0001", "c/x/y/Data/0001")
    ]
    assert said == ["simulated", "simulated", "real"]
