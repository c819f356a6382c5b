"""Curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers can tell apart."""
_MARKERS = "osD^vP*"
_LEVELS = ("--", "-.", ":")
_LINES = ("-", "--", "-.", ":")
_MOST_MARKERS = 20
_MOST_INSIDE = 3


@dataclass(frozen=True)
class Chart:
    """Curves with the same axes.

    Attributes:
        series: by name, x and y of the same length.
        title: above the chart.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        levels: by name, a y that is drawn as a broken line across.
        logarithmic: whether y is on a logarithmic scale.
        loglog: whether x is, too.
        marked: by name, a point (x, y) that is marked.
        top: the highest y that is shown, if the curves go far beyond.
    """

    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    title: str
    xlabel: str
    ylabel: str
    levels: Mapping[str, float] = field(default_factory=dict)
    logarithmic: bool = False
    loglog: bool = False
    marked: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    top: float | None = None

    def draw(self, axis: Axes) -> None:
        """Draw the chart on an axis."""
        for number, (name, (x, y)) in enumerate(self.series.items()):
            axis.plot(
                x,
                y,
                label=name,
                color=COLORS[number % len(COLORS)],
                linestyle=_LINES[number // len(COLORS) % len(_LINES)],
                marker=_MARKERS[number % len(_MARKERS)],
                markevery=max(1, len(x) // _MOST_MARKERS),
                markersize=3,
                linewidth=1.2,
            )
        for number, (name, level) in enumerate(self.levels.items()):
            style = _LEVELS[number % len(_LEVELS)]
            axis.axhline(level, label=name, color="0.3", linestyle=style, linewidth=1)
        for name, point in self.marked.items():
            axis.plot(
                *([value] for value in point),
                "*",
                markersize=11,
                color="black",
                label=name,
                zorder=3,
            )
        axis.set_title(self.title, fontsize=10)
        axis.set(xlabel=self.xlabel, ylabel=self.ylabel)
        if self.logarithmic or self.loglog:
            axis.set_yscale("log")
        values = [float(value) for x, _ in self.series.values() for value in x]
        if self.loglog:
            axis.set_xscale("log")
        elif all(value.is_integer() for value in values):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if self.top is not None:
            lowest = min([*(min(y) for _, y in self.series.values() if y), *self.levels.values()])
            axis.set_ylim(lowest - 0.05 * (self.top - lowest), self.top)
        axis.grid(alpha=0.3)
        many = len(self.series) + len(self.levels) + len(self.marked) > _MOST_INSIDE
        place: dict[str, Any] = {}
        if self.marked:  # a point that a legend inside could hide
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
        elif many:
            place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        axis.legend(fontsize=8, **place)


def charts(*parts: Chart) -> Figure:
    """Draw one figure of charts, side by side."""
    figure = Figure(figsize=(5.5 * len(parts), 3.6), dpi=150, layout="constrained")
    for axis, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        part.draw(axis)
    return figure
