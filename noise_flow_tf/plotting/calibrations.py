"""What a calibration was made of: photon transfer, darks, rows and columns, masked pixels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from noise_flow_tf.plotting.charts import COLORS

_POINTS: dict[str, Any] = {
    "fmt": "o", "markersize": 3, "color": "black", "elinewidth": 0.9, "capsize": 1.5, "zorder": 3,
}  # fmt: skip
_FIT: dict[str, Any] = {"color": COLORS[0], "linewidth": 1.5}
_STATED: dict[str, Any] = {"color": COLORS[1], "linewidth": 1.3, "linestyle": "--"}
_KINDS = {"hot or blinking": COLORS[4], "clipped": COLORS[1], "moving": COLORS[3]}


def photon_transfer(channels: Mapping[str, Mapping], title: str) -> Figure:
    """Draw variance against intensity, with the fit and its misfit below.

    Args:
        channels: by name, up to four: `intensity`, `variance` and `error` of the bins, `fit` and
            its `errors` as (slope, offset), and `stated`, the file's own (slope, offset) or None.
        title: above the figure.
    """
    count = len(channels)
    figure = Figure(figsize=(3.3 * count + 0.4, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots(
        2, count, squeeze=False, sharex="col", gridspec_kw={"height_ratios": (3, 1)}
    )
    for column, (name, channel) in enumerate(channels.items()):
        _transfer(axes[0, column], channel)
        axes[0, column].set_title(_label(name, channel), fontsize=8)
        _misfit(axes[1, column], channel)
        axes[1, column].set_xlabel("intensity, (level - black) / (white - black)", fontsize=8)
        if not column:
            axes[0, column].set_ylabel("variance, raw intensity squared", fontsize=8)
            axes[1, column].set_ylabel("misfit, %", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _label(name: str, channel: Mapping) -> str:
    (slope, offset), (slope_error, offset_error) = channel["fit"], channel["errors"]
    return (
        f"{name}\nslope {slope:.4g} ± {slope_error:.1g}\noffset {offset:.3g} ± {offset_error:.1g}"
    )


def _transfer(axis: Axes, channel: Mapping) -> None:
    x, y = np.asarray(channel["intensity"]), np.asarray(channel["variance"])
    axis.errorbar(x, y, np.asarray(channel["error"]), label="bursts", **_POINTS)
    lowest = max(x[x > 0].min() if np.any(x > 0) else 1e-4, 1e-5)
    line = np.geomspace(lowest, max(x.max(), 2 * lowest), 200)
    slope, offset = channel["fit"]
    axis.plot(line, slope * line + offset, label="fit", **_FIT)
    values = [y[y > 0].min(), y.max()]
    if channel["stated"] is not None:
        slope, offset = channel["stated"]
        stated = slope * line + offset
        axis.plot(line, stated, label="the file's NoiseProfile", **_STATED)
        values += [stated.min(), stated.max()]
    axis.set(xscale="log", yscale="log")
    axis.set_ylim(min(values) / 1.6, max(values) * 1.6)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)


def _misfit(axis: Axes, channel: Mapping) -> None:
    x, y = np.asarray(channel["intensity"]), np.asarray(channel["variance"])
    slope, offset = channel["fit"]
    expected = slope * x + offset
    shown = x > 0
    axis.errorbar(
        x[shown],
        100 * (y / expected - 1)[shown],
        100 * (np.asarray(channel["error"]) / expected)[shown],
        **_POINTS,
    )
    axis.axhline(0, **_FIT)
    axis.set_xscale("log")
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)


def dark_histogram(centres: ArrayLike, counts: ArrayLike, title: str) -> Figure:
    """Draw the distribution of the noise of darks against a Gaussian.

    Args:
        centres: of the bins, in standard deviations.
        counts: in each bin.
        title: above the figure.
    """
    x, y = np.asarray(centres, float), np.asarray(counts, float)
    merged = 5
    whole = len(x) // merged * merged
    x, y = x[:whole].reshape(-1, merged).mean(1), y[:whole].reshape(-1, merged).sum(1)
    density = y / y.sum() / (x[1] - x[0])
    shown = (y > 0) & (np.abs(x) < np.abs(x[y > 0]).max() * 1.05)
    figure = Figure(figsize=(5.5, 3.6), dpi=150, layout="constrained")
    axis = figure.subplots()
    axis.plot(x[shown], density[shown], ".", color="black", markersize=3, label="darks")
    line = np.linspace(-8, 8, 400)
    gaussian = np.exp(-(line**2) / 2) / np.sqrt(2 * np.pi)
    axis.plot(line, gaussian, label="Gaussian of the same variance", **_FIT)
    axis.set_yscale("log")
    axis.set_ylim(density[shown].min() / 2, 2)
    axis.set(xlabel="noise, in standard deviations", ylabel="density (logarithmic)")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def line_profiles(profiles: Mapping[str, ArrayLike], title: str, ylabel: str) -> Figure:
    """Draw offsets of rows and columns along the image.

    Args:
        profiles: by name (such as "row"), an offset for each line.
        title: above the figure.
        ylabel: what the offsets are, with their unit.
    """
    count = len(profiles)
    figure = Figure(figsize=(5 * count, 3), dpi=150, layout="constrained")
    axes = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for number, (axis, (name, values)) in enumerate(zip(axes, profiles.items(), strict=True)):
        y = np.asarray(values, float)
        axis.plot(np.arange(len(y)), y, linewidth=0.6, color=COLORS[number])
        axis.set_xlabel(name, fontsize=8)
        axis.set_title(f"standard deviation {np.nanstd(y):.2g}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(ylabel, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def masked_pixels(kinds: np.ndarray, title: str, side: int) -> Figure:
    """Draw where pixels are left out.

    Args:
        kinds: [h, w] by block: 0 none, 1 hot or blinking, 2 clipped, 3 moving.
        title: above the figure.
        side: of a block in pixels.
    """
    height, width = kinds.shape
    figure = Figure(figsize=(6, 6 * height / width + 0.9), dpi=150, layout="constrained")
    axis = figure.subplots()
    axis.imshow(
        kinds,
        cmap=ListedColormap(["#eeeeee", *_KINDS.values()]),
        vmin=0,
        vmax=len(_KINDS),
        interpolation="nearest",
        extent=(0, width * side, height * side, 0),
    )
    handles = [Patch(color=color, label=name) for name, color in _KINDS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_title(title, fontsize=10)
    return figure
