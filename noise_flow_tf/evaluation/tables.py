"""Scores as Markdown tables, in the form of the paper's Tables 1 and 2."""

from collections.abc import Mapping, Sequence

from noise_flow_tf.evaluation.metrics import METRICS, Metric

TITLES = {"gaussian": "Gaussian", "camera_nlf": "Camera NLF", "noise_flow": "Noise Flow"}

PAPER_TABLE_1 = {
    "NLL in the paper (SIDD)": ["-2.831 (99.4%)", "-3.105 (51.6%)", "**-3.521**"],
    "KL in the paper (SIDD)": ["0.394 (97.9%)", "0.052 (84.1%)", "**0.008**"],
}
PAPER_TABLE_2 = {
    "S-G": ["-3.431 (9.42%)", "0.067 (88.1%)"],
    "S-G-CAM": ["-3.511 (1.01%)", "0.010 (20.0%)"],
    "S-Ax1-G-Ax1-CAM": ["-3.518 (0.30%)", "0.009 (11.1%)"],
    "S-Ax4-G-Ax4-CAM": ["**-3.521**", "**0.008**"],
}

Scores = Mapping[str, float | None]


def paper_table_1(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the rows of `PAPER_TABLE_1` for these columns, with dashes for other models."""
    rows = {}
    for title, cells in PAPER_TABLE_1.items():
        known = dict(zip(TITLES, cells, strict=True))
        rows[title] = [known.get(name, "-") for name in names]
    return rows


def explained(ours: str) -> str:
    """Return what the numbers of the tables mean, and the improvements of the model `ours`."""
    about = (
        "Standard errors are over scenes: frames of one scene are not independent, and count as "
        f"one sample. The best value is bold. In parentheses is the relative improvement of {ours} "
        "where it is better, as in Table 1 of the paper.\n"
    )
    return "\n".join([about, *(metric.explained() for metric in METRICS.values())])


def table(
    scores: Mapping[str, Scores],
    titles: Mapping[str, str] = TITLES,
    ours: str = "noise_flow",
    extra_rows: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return a Markdown table of all metrics, with the relative improvements of one model.

    The best value of each metric is bold.

    Args:
        scores: by the models' names, as `evaluation.summarise` returns them; a metric that none of
            them has is left out.
        titles: by the same names, the titles of the columns.
        ours: the name of the model whose improvements are shown.
        extra_rows: by title, rows of further cells below.

    >>> print(table({
    ...     "gaussian": {"nll": -2.831, "kl": 0.394},
    ...     "camera_nlf": {"nll": -3.105, "kl": 0.052},
    ...     "noise_flow": {"nll": -3.521, "kl": 0.008},
    ... }))
    |     | Gaussian       | Camera NLF     | Noise Flow |
    | --- | -------------- | -------------- | ---------- |
    | NLL | -2.831 (99.4%) | -3.105 (51.6%) | **-3.521** |
    | KL  | 0.3940 (98.0%) | 0.0520 (84.6%) | **0.0080** |
    """
    rows = [["", *(titles[name] for name in scores)]]
    for metric in METRICS.values():
        if any(score.get(metric.name) is not None for score in scores.values()):
            cells = with_improvement(metric, scores, ours).values()
            rows.append([metric.title, *cells])
    rows += [[title, *cells] for title, cells in (extra_rows or {}).items()]
    return markdown(rows)


def groups(what: str, summaries: Mapping[str, Mapping], titles: Mapping[str, str]) -> str:
    """Return a Markdown table of the scores of groups of images, such as those of one camera.

    `what` titles the first column; `summaries` has by group `images`, and `scores` of each model.
    The best value of each metric in a group is bold.
    """
    columns = [f"{title}, {metric.title}" for metric in compared() for title in titles.values()]
    rows = [[what, "images", *columns]]
    for group, summary in summaries.items():
        scores = {name: summary["scores"][name] for name in titles}
        cells = [cell for metric in compared() for cell in numbers(metric, scores).values()]
        rows.append([group, str(summary["images"]), *cells])
    return markdown(rows)


def compared() -> list[Metric]:
    """Return the metrics that models are compared by."""
    return [metric for metric in METRICS.values() if metric.gain]


def with_improvement(metric: Metric, scores: Mapping[str, Scores], ours: str) -> dict[str, str]:
    """Return `numbers`, and in parentheses how much better `ours` is than a model that it beats."""
    cells, best = numbers(metric, scores), scores[ours].get(metric.name)
    for name, score in scores.items():
        value = score.get(metric.name)
        if metric.gain and name != ours and value is not None and best is not None:
            gain = metric.gain(value, best)
            cells[name] += f" ({gain:.1%})" if gain > 0 else ""
    return cells


def numbers(metric: Metric, scores: Mapping[str, Scores]) -> dict[str, str]:
    """Return each model's `number`; the best is bold, and so are those that read the same."""
    measured = {name: score.get(metric.name) for name, score in scores.items()}
    best = metric.best_of(measured)
    texts = {name: number(metric, score) for name, score in scores.items()}
    return {name: f"**{text}**" if name in best else text for name, text in texts.items()}


def number(metric: Metric, score: Scores) -> str:
    """Return a score with its standard error if it has one; a dash if it was not measured."""
    value, error = score.get(metric.name), score.get(f"{metric.name}_stderr")
    if value is None:
        return "-"
    text = f"{value:.{metric.digits}f}"
    return text if error is None else f"{text} ± {error:.{metric.digits}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    r"""Return a Markdown table; the first row is its head.

    >>> print(markdown([["", "sdn5|unc"], ["NLL", "-3.5"]]))
    |     | sdn5\|unc |
    | --- | --------- |
    | NLL | -3.5      |
    """
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in lines
    )
