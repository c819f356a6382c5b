"""What noise-flow paper writes for people: the figures of the paper, and the report."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import sidd
from noise_flow_tf import evaluation, plotting
from noise_flow_tf.evaluation import paper_scores, tables
from noise_flow_tf.programs import evaluation_report, pictures, properties
from noise_flow_tf.saving import files
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.run_folder import RunFolder
from sidd.wording import counted

ByName = Mapping[str, Mapping]

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
    """Draw Figures 4, 6 and 7 from the histories of runs and the results of the evaluation."""
    results = evaluation_report.load(out / "evaluation")
    noise = evaluation_report.noise_label(results)
    nlf = nlf_chart(results["images"], noise)
    scores = evaluation_report.summaries(results)["all"][0]["scores"]
    charts = {
        name: history_charts(runs[name], noise, scores[name].get("kl_floor"))
        for name in (ours, FORMULAS)
    }
    figures = {"figure4": [charts[ours]["nll"], charts[ours]["kl"]]}
    for name, ending in ((FORMULAS, ""), (ours, "_release")):
        figures[f"figure6{ending}"] = [charts[name]["beta"], charts[name]["gain"]]
        figures[f"figure7{ending}"] = [charts[name]["camera_factor_of_gain"], nlf]
    files.make_folders(out / "figures")
    for name, parts in figures.items():
        files.write_figure(out / "figures" / f"{name}.png", plotting.charts(*parts))


def history_charts(
    run: RunFolder, noise: str, floor: float | None = None
) -> dict[str, plotting.Chart]:
    """Chart what a run measured and learned over its epochs, on real or simulated `noise`.

    `floor` is the KL of two samples of the model, in nats.
    """
    settings = run.read_settings()
    rows = run.read_history(settings["epochs"])
    baselines = settings["baselines"]["scores"]
    return pictures.history(rows, baselines, run.load().summaries(), noise, floor)


def nlf_chart(images: Sequence[Mapping], noise: str) -> plotting.Chart:
    """Chart Figure 7b: beta1 of the cameras' noise level functions against ISO."""
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
        title=f"Camera NLF of {noise} noise: beta1 in METADATA",
        xlabel="ISO level",
        ylabel="beta1 (raw intensity)",
        loglog=True,
    )


def write(out: Path, runs: Mapping[str, RunFolder], ours: str) -> None:
    """Write `report.md` and `report.json`, and print Tables 1 and 2."""
    results = evaluation_report.load(out / "evaluation")
    if "properties" not in results:
        raise ValueError(f"{out / 'evaluation'} has scores only; run again without --draw")
    by_way = evaluation_report.summaries(results)
    scores = by_way["all"][0]["scores"]
    titles = tables.TITLES | {name: kind.title for name, kind in BASELINES.items()}
    titles |= {ours: "Noise Flow"}
    columns = [*_BASELINES, *(name for name in BASELINES if name in scores)]
    of_paper = {name: scores[name] for name in (*columns, ours)}
    in_paper = tables.paper_table_1([*columns, "noise_flow"])
    first = tables.table(of_paper, titles, ours, in_paper)
    differences = {
        metric.name: {
            name: evaluation.paired_difference(results["images"], name, ours, metric.name)
            for name in results["models"]
        }
        for metric in tables.compared()
    }
    variants = {name: of for name, of in results["models"].items() if name in runs}
    second = table_2(variants, scores, differences, ours)
    starts = [run.read_settings() for run in runs.values()]
    minutes = sum(
        row["seconds"] for run, s in zip(runs.values(), starts, strict=True)
        for row in run.read_history(s["epochs"])
    ) / 60  # fmt: skip
    noise = evaluation_report.noise_label(results)
    paragraphs = [
        f"# Noise Flow, Section 4 of the paper, on {results['dataset']}",
        evaluation_report.source(results),
        tables.explained("Noise Flow"),
        "## Table 1",
        first,
        "## Table 2",
        second,
        "The differences from Noise Flow are paired, image by image, and so tell models apart "
        "that differ by less than the standard errors of their scores. The other variants have "
        "the form of the original release, which differs from the paper's equations.",
        "## Figures",
        *properties.captioned("figures", _CAPTIONS).values(),
        *properties.text(results["properties"], titles, ours, noise, "evaluation/figures"),
        f"Training took {minutes:.0f} minutes in all, seed {starts[-1]['seed']}; each variant's "
        "own report is in its folder.",
    ]
    files.write_markdown(out / "report.md", paragraphs)
    numbers = {
        "summaries": evaluation_report.as_json(by_way),
        "differences": differences,
        "training_minutes": minutes,
        "versions": starts[-1]["versions"],
    }
    files.write_json(out / "report.json", numbers)
    print(f"\n{first}\n\n{second}\n\nreport    {out / 'report.md'}")


def refuse_simulated(noise: str) -> None:
    """Raise a ValueError unless the dataset's noise is real."""
    if noise == "simulated":
        raise ValueError(
            "--check compares with the paper's scores on SIDD, and this dataset's noise is "
            "simulated; give --sidd_path ROOT of the real one, or leave --check out"
        )


def check(out: Path) -> bool:
    """Write `check.md`, print it, and return whether all scores agree with the paper's.

    Raises:
        ValueError: the scores are not of the real SIDD.
    """
    results = evaluation_report.load(out / "evaluation")
    refuse_simulated(evaluation_report.noise_label(results))
    scores = evaluation_report.summaries(results)["all"][0]["scores"]
    comparisons = paper_scores.compare_with_paper(scores)
    rows = [["model", "metric", "measured", "paper", "passes", "result"]]
    for one in comparisons:
        metric = evaluation.METRICS[one.metric]
        within = f"up to {one.highest:.{metric.digits}f}"
        if one.lowest > -math.inf:
            within = f"{one.lowest:.{metric.digits}f} to {one.highest:.{metric.digits}f}"
        measured = tables.number(metric, scores.get(one.model, {}))
        result = "pass" if one.passes else "**fail**"
        rows.append([one.model, metric.title, measured, f"{one.paper:.3f}", within, result])
    failed = sum(not one.passes for one in comparisons)
    verdict = (
        f"FAIL: {counted(failed, 'score')} of {len(comparisons)} outside the tolerances"
        if failed
        else f"PASS: all {len(comparisons)} scores agree with the paper's"
    )
    about = (
        f"Tolerances: NLL {paper_scores.NLL_TOLERANCE} nats per dimension; KL the larger of "
        f"{paper_scores.KL_TOLERANCE} nats and {paper_scores.KL_SHARE:.0%}. They were chosen, and "
        "not measured on SIDD. A trained model may be better than the paper's, a baseline not."
    )
    table = tables.markdown(rows)
    files.write_markdown(out / "check.md", ["# The paper's scores", table, about, verdict])
    print(f"\n{table}\n\n{about}\n{verdict}")
    return not failed


def table_2(models: ByName, scores: ByName, differences: ByName, ours: str) -> str:
    """Return Table 2: each variant's scores, how far it is from Noise Flow, the paper's numbers."""
    metrics = tables.compared()
    heads = ["Model", "parameters"]
    heads += [f"{metric.title}{end}" for metric in metrics for end in ("", ", above Noise Flow")]
    rows = [[*heads, "NLL in the paper (SIDD)", "KL in the paper (SIDD)"]]
    cells_of = {
        metric.name: tables.with_improvement(metric, {name: scores[name] for name in models}, ours)
        for metric in metrics
    }
    for name, model in models.items():
        title = f"{name} (Noise Flow)" if name == ours else _TITLES.get(name, name)
        cells = [title, str(model["parameters"])]
        for metric in metrics:
            difference = differences[metric.name][name]
            cells += [
                cells_of[metric.name][name],
                "-" if name == ours else _signed(metric, *difference),
            ]
        rows.append([*cells, *tables.PAPER_TABLE_2.get(name, ["-", "-"])])
    return tables.markdown(rows)


def _signed(metric: evaluation.Metric, difference: float | None, error: float | None) -> str:
    if difference is None:
        return "-"
    digits = metric.difference_digits
    return f"{difference:+.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
