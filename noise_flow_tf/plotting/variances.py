"""The variance of noise against the clean intensity."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from noise_flow_tf.plotting.charts import COLORS

_DOTS: dict[str, Any] = {"marker": "o", "markersize": 2.5, "linestyle": "", "color": "black"}
_NLF: dict[str, Any] = {"linestyle": "--", "linewidth": 1.2, "color": COLORS[1]}
_WIDE = 7.0
_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4, "color": COLORS[0]}


def variance_grid(
    groups: Mapping[tuple[str, int], Mapping], nlf: Mapping[tuple[str, int], tuple[float, float]],
    real: str, model: str, titles: Sequence[str],
) -> Figure:  # fmt: skip
    """Draw a small chart for each camera (rows) and ISO level (columns).

    Args:
        groups: by camera and ISO, `clean` and `variance` as `analysis.VarianceOverIntensity` has
            them.
        nlf: by camera and ISO, (beta1, beta2) of the camera's noise level function.
        real: the name of the dataset's noise, drawn as dots.
        model: the name of the model, drawn as a line.
        titles: what the legend calls the dataset's noise, the noise level function and the model.
    """
    cameras = list(dict.fromkeys(camera for camera, _ in groups))
    isos = sorted({iso for _, iso in groups})
    size = (max(5.2, 1.9 * len(isos) + 0.8), max(3.8, 1.6 * len(cameras) + 0.9))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.subplots(len(cameras), len(isos), squeeze=False)
    for row, camera in enumerate(cameras):
        for column, iso in enumerate(isos):
            axis, group = axes[row, column], groups.get((camera, iso))
            if group is None or not group["clean"]:
                axis.set_axis_off()
                continue
            clean = np.asarray(group["clean"])
            beta1, beta2 = nlf[camera, iso]
            axis.plot(clean, group["variance"][real], **_DOTS)
            axis.plot(clean, beta1 * clean + beta2, **_NLF)
            axis.plot(clean, group["variance"][model], **_LINE)
            axis.set_yscale("log")
            axis.set_title(f"{camera}, ISO {iso}", fontsize=8)
            axis.tick_params(labelsize=6)
            axis.grid(alpha=0.3)
    handles = [Line2D([], [], **style) for style in (_DOTS, _NLF, _LINE)]
    # Three titles in a row would be cut off above one or two panels.
    ncols = 3 if size[0] > _WIDE else 1
    figure.legend(handles, titles, loc="outside upper center", ncols=ncols, fontsize=9)
    figure.supxlabel("clean intensity, raw in [0, 1]", fontsize=9)
    figure.supylabel("variance of the noise, raw intensity squared", fontsize=9)
    return figure
