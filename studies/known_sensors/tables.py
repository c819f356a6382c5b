"""The results of the study as Markdown, and as a chart."""

from collections.abc import Mapping, Sequence
from typing import Any

from noise_flow_tf import plotting
from noise_flow_tf.evaluation.tables import markdown

_TITLES = {"gaussian": "Gaussian", "nlf": "NLF of the true variance", "noise_flow": "Noise Flow"}


def table(results: Mapping[str, Any]) -> str:
    """Return the gaps of all models, as Markdown."""
    rows = [["", "gap", "marginal", "correlation", "dequantisation"]]
    for name, found in results["models"].items():
        parts = [f"{found[part]:.4f}" for part in ("marginal", "correlation", "dequantisation")]
        rows.append([_TITLES[name], f"{found['gap']:.5f} ± {found['stderr']:.5f}", *parts])
    return markdown(rows)


def conditions_table(results: Mapping[str, Any]) -> str:
    """Return the gap of Noise Flow by camera and ISO, as Markdown."""
    rows = results["models"]["noise_flow"]["by_condition"]
    isos = sorted({row["iso"] for row in rows})
    gap = {(row["camera"], row["iso"]): f"{row['gap']:.5f}" for row in rows}
    lines = [["Noise Flow", *(f"ISO {iso}" for iso in isos)]]
    for camera in dict.fromkeys(row["camera"] for row in rows):
        lines.append([camera, *(gap.get((camera, iso), "-") for iso in isos)])
    return markdown(lines)


def chart(name: str, results: Mapping[str, Any]) -> plotting.Chart:
    """Chart the gap of Noise Flow by camera over ISO."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    rows: Sequence[Mapping] = results["models"]["noise_flow"]["by_condition"]
    for row in sorted(rows, key=lambda row: row["iso"]):
        isos, values = series.setdefault(row["camera"], ([], []))
        isos.append(row["iso"])
        values.append(row["gap"])
    return plotting.Chart(
        series,
        title=f"Noise Flow's gap to the truth, sensor {name}",
        xlabel="ISO level",
        ylabel="gap in nats per dimension",
    )
