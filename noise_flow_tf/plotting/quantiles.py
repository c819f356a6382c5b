"""The latent of noise against the standard normal."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from noise_flow_tf.plotting.charts import COLORS

_MARKERS = "sD^vPo"


def latent_quantiles(
    models: Mapping[str, Mapping], by_condition: str, noise: str = "real"
) -> Figure:
    """Draw a Q-Q plot of models' latents, and the variance of one for each camera and ISO.

    Args:
        models: by title, results of `analysis.Calibration`, with groups by label.
        by_condition: the title of the model whose variance is shown group by group.
        noise: what the noise is that the latents are of, such as "real" or "simulated".
    """
    figure = Figure(figsize=(11, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    bound = 4.2
    left.plot([-bound, bound], [-bound, bound], color="0.5", linewidth=1, label="standard normal")
    for number, (title, results) in enumerate(models.items()):
        normal, latent = np.transpose(results["all"]["quantiles"])
        left.plot(normal, latent, label=title, color=COLORS[number % len(COLORS)],
                  marker=_MARKERS[number % len(_MARKERS)], markersize=3, linewidth=1)  # fmt: skip
    left.set(
        title=f"Latent of {noise} noise against the standard normal",
        xlabel="quantile of N(0, 1)",
        ylabel="quantile of the latent",
        xlim=(-bound, bound),
        ylim=(-2 * bound, 2 * bound),
    )
    left.legend(fontsize=8)
    left.grid(alpha=0.3)

    groups = models[by_condition]["groups"]
    places = np.arange(len(groups))
    right.axhline(1, color="0.5", linewidth=1, label="standard normal")
    right.plot(places, [g["variance"] for g in groups.values()], "o", color=COLORS[0],
               markersize=5, label="variance")  # fmt: skip
    right.plot(places, [1 + g["excess_kurtosis"] for g in groups.values()], "^", color=COLORS[1],
               markersize=5, label="1 + excess kurtosis")  # fmt: skip
    right.set_xticks(places, groups, rotation=90, fontsize=7)
    right.set(
        title=f"Latent of {noise} noise in {by_condition}, by camera and ISO",
        xlabel="camera and ISO level",
        ylabel="moment of the latent (1 is perfect)",
    )
    right.legend(fontsize=8)
    right.grid(alpha=0.3)
    return figure
