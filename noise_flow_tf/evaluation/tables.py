"""Scores as Markdown tables, in the form of the paper's Tables 1 and 2."""

import math
from collections.abc import Mapping, Sequence

TITLES = {"gaussian": "Gaussian", "camera_nlf": "Camera NLF", "noise_flow": "Noise Flow"}
_DIGITS = {"nll": 3, "kl": 4, "kl_floor": 4}
_ROWS = {"nll": "NLL", "kl": "KL", "kl_floor": "KL floor"}

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


def table(
    scores: Mapping[str, Scores],
    titles: Mapping[str, str] = TITLES,
    ours: str = "noise_flow",
    beside: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """A Markdown table of NLL and marginal KL, with the relative improvements of one model.

    As in Table 1 of the paper, the improvement in NLL is that of the likelihood of one dimension,
    exp(NLL of the baseline - NLL of Noise Flow) - 1, and that in KL is the part of the baseline's
    divergence that is gone.

    Args:
        scores: by name `nll`, nats per dimension, and `kl`, nats; where they are there, also
            `nll_stderr`, `kl_stderr` and `kl_floor`, as `evaluation.summarise` gives them.
        titles: by the same names, the titles of the columns.
        ours: the name of the model whose improvements are shown.
        beside: by title, rows of further cells below.

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
    for metric in ("nll", "kl"):
        cells = [
            with_improvement(metric, score, scores[ours], bold=name == ours)
            for name, score in scores.items()
        ]
        rows.append([_ROWS[metric], *cells])
    if all(score.get("kl_floor") is not None for score in scores.values()):
        rows.append(["KL floor", *(number("kl_floor", score) for score in scores.values())])
    rows += [[title, *cells] for title, cells in (beside or {}).items()]
    return markdown(rows)


def groups(what: str, summaries: Mapping[str, Mapping], titles: Mapping[str, str]) -> str:
    """A Markdown table of the scores of groups of images, such as those of one camera.

    Args:
        what: the title of the first column.
        summaries: by group, `images` and `scores` of each model.
        titles: by the models' names, their titles.
    """
    metrics = ("nll", "kl")
    heads = [f"{titles[name]}, {_ROWS[metric]}" for metric in metrics for name in titles]
    rows = [[what, "images", *heads]]
    for group, summary in summaries.items():
        cells = [number(metric, summary["scores"][name]) for metric in metrics for name in titles]
        rows.append([group, str(summary["images"]), *cells])
    return markdown(rows)


def with_improvement(metric: str, theirs: Scores, ours: Scores, bold: bool) -> str:
    """A score with its standard error, and in parentheses by how much `ours` is better."""
    text = number(metric, theirs)
    if bold:
        return f"**{text}**"
    if theirs[metric] is None or ours[metric] is None:
        return text
    if metric == "nll":
        gain = math.expm1(theirs["nll"] - ours["nll"])
    else:
        gain = 1 - ours["kl"] / theirs["kl"] if theirs["kl"] else 0.0
    return f"{text} ({gain:.1%})"


def number(metric: str, score: Scores) -> str:
    """A score, with its standard error where there is one; a dash where nothing was measured."""
    digits, error = _DIGITS[metric], score.get(f"{metric}_stderr")
    if score[metric] is None:
        return "-"
    text = f"{score[metric]:.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in lines
    )
