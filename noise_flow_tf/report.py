"""The scores of a run in the form of the paper's Table 1."""

import math
from collections.abc import Mapping

TITLES = {"gaussian": "Gaussian", "camera_nlf": "Camera NLF", "noise_flow": "Noise Flow"}
_OURS = "noise_flow"


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of NLL and marginal KL, with Noise Flow's relative improvements.

    As in Table 1 of the paper, the improvement in NLL is that of the likelihood of one dimension,
    exp(NLL of the baseline - NLL of Noise Flow) - 1, and that in KL is the part of the baseline's
    divergence that is gone.

    Args:
        scores: `{"gaussian" | "camera_nlf" | "noise_flow": {"nll": .., "kl": ..}}`, nats per
            dimension and nats.

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
    improvements = {
        "nll": lambda theirs, ours: math.expm1(theirs - ours),
        "kl": lambda theirs, ours: (theirs - ours) / theirs if theirs else 0.0,
    }
    rows = [["", *(TITLES[name] for name in scores)]]
    for metric, digits in (("nll", 3), ("kl", 4)):
        ours = scores[_OURS][metric]
        cells = [metric.upper()]
        for name, score in scores.items():
            text = f"{score[metric]:.{digits}f}"
            gain = improvements[metric](score[metric], ours)
            cells.append(f"**{text}**" if name == _OURS else f"{text} ({gain:.1%})")
        rows.append(cells)
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
