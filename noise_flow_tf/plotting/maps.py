"""Maps of correlation coefficients."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

_CHANNELS = ("(0,0)", "(0,1)", "(1,1)", "(1,0)")


def correlation_maps(rhos: Mapping[str, np.ndarray], errors: Mapping[str, float]) -> Figure:
    """Draw the correlation between channels, and between neighbours of the same channel.

    Args:
        rhos: by title, one column per title, coefficients `[2 r + 1, 2 r + 1, 4, 4]` of
            `analysis.Correlation`.
        errors: by title, the error below it, if it has one.
    """
    maps = {title: _two_maps(np.asarray(rho)) for title, rho in rhos.items()}
    highest = [max(np.nanmax(np.abs(pair[row])) for pair in maps.values()) for row in (0, 1)]
    size = (2.4 * len(maps) + 1.3, 5.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.subplots(2, len(maps), squeeze=False)
    for column, (title, pair) in enumerate(maps.items()):
        for row, values in enumerate(pair):
            axis = axes[row, column]
            image = axis.imshow(values, cmap="PuOr", vmin=-highest[row], vmax=highest[row])
            for place in zip(*np.nonzero(~np.isnan(values)), strict=True):
                dark = abs(values[place]) > 0.6 * highest[row]
                text = f"{values[place]:.2f}".replace("-0.00", "0.00")
                axis.text(*place[::-1], text, ha="center", va="center", fontsize=6.5,
                          color="white" if dark else "black")  # fmt: skip
            if column == len(maps) - 1:
                bar = figure.colorbar(image, ax=axes[row], shrink=0.8, pad=0.02)
                bar.set_label("correlation coefficient", fontsize=8)
                bar.ax.tick_params(labelsize=7)
        top, bottom = axes[:, column]
        error = f"\nerror {errors[title]:.4f}" if title in errors else ""
        top.set_title(f"{title}{error}", fontsize=9)
        top.set_xticks(range(4), _CHANNELS, fontsize=7)
        top.set_yticks(range(4), _CHANNELS, fontsize=7)
        top.set_xlabel("channel", fontsize=8)
        max_lag = pair[1].shape[0] // 2
        lags = range(-max_lag, max_lag + 1)
        bottom.set_xticks(range(len(lags)), lags, fontsize=7)
        bottom.set_yticks(range(len(lags)), lags, fontsize=7)
        bottom.set_xlabel("columns away, packed pixels", fontsize=8)
    axes[0, 0].set_ylabel("channel", fontsize=8)
    axes[1, 0].set_ylabel("rows away, packed pixels", fontsize=8)
    figure.suptitle(
        "Correlation between the channels of a packed pixel (above)\n"
        "and with neighbours in the same channel (below)",
        fontsize=10,
    )
    return figure


def _two_maps(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return channels at lag 0, and lags of the same channel; without what is 1 anyway."""
    middle = rho.shape[0] // 2
    channels = rho[middle, middle].copy()
    neighbours = np.einsum("yxcc->yx", rho) / rho.shape[-1]
    np.fill_diagonal(channels, np.nan)
    neighbours[middle, middle] = np.nan
    return channels, neighbours
