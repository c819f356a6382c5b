"""What noise-flow paper leaves to look at: the figures of the paper, and the report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import sidd
from noise_flow_tf import evaluation, plotting
from noise_flow_tf.evaluation import tables
from noise_flow_tf.programs import evaluation_report, pictures, properties
from noise_flow_tf.saving import run_folder
from noise_flow_tf.saving.run_folder import RunFolder

FORMULAS = "paper_formulas"
_TITLES = {FORMULAS: "Noise Flow by the paper's Eq. 12 to 16"}
_RELEASE = "as the original release has them, where camera factors multiply the exponents, so that "
_CAPTIONS = {
    "figure4": "Figure 4: NLL on training and test set, and marginal KL on the test set, over "
    "training.",
    "figure6": "Figure 6: the learned beta1 and beta2, and the gain of each ISO level, by the "
    "paper's equations.",
    "figure7": "Figure 7: the learned camera factors of the gain by the paper's equations, and "
    "beta1 of each camera's own noise level function.",
    "figure6_release": f"Figure 6 again, {_RELEASE}none of them has a meaning alone.",
    "figure7_release": f"Figure 7 again, {_RELEASE}small differences count.",
}
_BASELINES = ("gaussian", "camera_nlf")


def draw(out: Path, runs: Mapping[str, RunFolder], ours: str) -> None:
    """Draws Figures 4, 6 and 7 from the histories of runs and the results of the evaluation."""
    nlf = nlf_chart(evaluation_report.load(out / "evaluation")["images"])
    charts = {name: history_charts(runs[name]) for name in (ours, FORMULAS)}
    figures = {"figure4": [charts[ours]["nll"], charts[ours]["kl"]]}
    for name, ending in ((FORMULAS, ""), (ours, "_release")):
        figures[f"figure6{ending}"] = [charts[name]["beta"], charts[name]["gain"]]
        figures[f"figure7{ending}"] = [charts[name]["camera_factor_of_gain"], nlf]
    (out / "figures").mkdir(exist_ok=True)
    for name, parts in figures.items():
        with sidd.replacing(out / "figures" / f"{name}.png") as path:
            plotting.charts(*parts).savefig(path, format="png")


def history_charts(run: RunFolder) -> dict[str, plotting.Chart]:
    """What a run measured and learned over its epochs."""
    settings = run.read_settings()
    rows = run.read_history(settings["epochs"])
    return pictures.history(rows, settings["baselines"]["scores"], run.load().summaries())


def nlf_chart(images: Sequence[Mapping]) -> plotting.Chart:
    """Figure 7b: beta1 of the cameras' noise level functions against ISO."""
    series = {}
    for camera in sidd.CAMERAS:
        of_iso: dict[int, list[float]] = {}
        for row in images:
            if row["camera"] == camera:
                of_iso.setdefault(row["iso"], []).append(row["nlf"][0])
        if of_iso:
            isos = sorted(of_iso)
            series[camera] = (isos, [sum(of_iso[iso]) / len(of_iso[iso]) for iso in isos])
    return plotting.Chart(
        series,
        title="Camera NLF: beta1 in METADATA",
        xlabel="ISO level",
        ylabel="beta1 (raw intensity)",
        loglog=True,
    )


def write(out: Path, runs: Mapping[str, RunFolder], ours: str) -> None:
    """Writes `report.md` and `report.json`, and prints Tables 1 and 2."""
    results = evaluation_report.load(out / "evaluation")
    if "properties" not in results:
        raise ValueError(f"{out / 'evaluation'} has scores only; run again without --draw")
    found = evaluation_report.summaries(results)
    scores = found["all"]["all"]["scores"]
    titles = tables.TITLES | {ours: "Noise Flow"}
    first = tables.table(
        {name: scores[name] for name in (*_BASELINES, ours)},
        titles,
        ours,
        tables.PAPER_TABLE_1,
    )
    ablation = results["models"]
    differences = {
        metric: {
            name: evaluation.paired_difference(results["images"], name, ours, metric)
            for name in ablation
        }
        for metric in ("nll", "kl")
    }
    second = table_2(ablation, scores, differences, ours)
    starts = [run.read_settings() for run in runs.values()]
    minutes = sum(
        row["seconds"] for run, s in zip(runs.values(), starts, strict=True)
        for row in run.read_history(s["epochs"])
    ) / 60  # fmt: skip
    text = [
        f"# Noise Flow, Section 4 of the paper, on {results['dataset']}",
        "",
        evaluation_report.source(results),
        "",
        evaluation_report.explained("Noise Flow"),
        "",
        "## Table 1",
        "",
        first,
        "",
        "## Table 2",
        "",
        second,
        "",
        "The differences from Noise Flow are paired, image by image, and so tell models apart "
        "that differ by less than the standard errors of their scores. The other variants have "
        "the form of the original release, which differs from the paper's equations.",
        "",
        "## Figures",
        "",
        *_shown("figures", _CAPTIONS),
        *properties.text(results["properties"], titles, ours, "evaluation/figures"),
        "",
        f"Training took {minutes:.0f} minutes in all, seed {starts[-1]['seed']}; each variant's "
        "own report is in its folder.",
        "",
    ]
    run_folder.write_text(out / "report.md", "\n".join(text))
    numbers = {
        "summaries": found,
        "differences": differences,
        "training_minutes": minutes,
        "versions": starts[-1]["versions"],
    }
    run_folder.write_text(out / "report.json", json.dumps(numbers, indent=2) + "\n")
    print(f"\n{first}\n\n{second}\n\nreport    {out / 'report.md'}")


def table_2(models: Mapping, scores: Mapping, differences: Mapping, ours: str) -> str:
    """Table 2: each variant's scores, how far it is from Noise Flow, and the paper's numbers."""
    heads = ["Model", "parameters"]
    heads += [f"{metric}{end}" for metric in ("NLL", "KL") for end in ("", ", above Noise Flow")]
    rows = [[*heads, "NLL in the paper (SIDD)", "KL in the paper (SIDD)"]]
    for name, model in models.items():
        title = f"{name} (Noise Flow)" if name == ours else _TITLES.get(name, name)
        cells = [title, str(model["parameters"])]
        for metric, digits in (("nll", 4), ("kl", 4)):
            value = tables.with_improvement(metric, scores[name], scores[ours], name == ours)
            difference, error = differences[metric][name]
            told = "-" if name == ours else f"{difference:+.{digits}f}"
            if error is not None and name != ours:
                told += f" ± {error:.{digits}f}"
            cells += [value, told]
        rows.append([*cells, *tables.PAPER_TABLE_2.get(name, ["-", "-"])])
    return tables.markdown(rows)


def _shown(folder: str, captions: Mapping[str, str]) -> list[str]:
    lines = []
    for name, caption in captions.items():
        lines += [f"![{caption}]({folder}/{name}.png)", "", f"*{caption}*", ""]
    return lines
