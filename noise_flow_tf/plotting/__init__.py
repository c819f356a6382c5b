"""Figures: patches side by side, curves, and what is known of noise beyond its histogram.

All are drawn from plain numbers, so that figures can be redrawn from saved results.
"""

from noise_flow_tf.plotting.calibrations import (
    dark_histogram,
    line_profiles,
    masked_pixels,
    photon_transfer,
)
from noise_flow_tf.plotting.charts import Chart, charts
from noise_flow_tf.plotting.maps import correlation_maps
from noise_flow_tf.plotting.patches import Picture, comparison, middle
from noise_flow_tf.plotting.quantiles import latent_quantiles
from noise_flow_tf.plotting.variances import variance_grid

__all__ = [
    "Chart",
    "Picture",
    "charts",
    "comparison",
    "correlation_maps",
    "dark_histogram",
    "latent_quantiles",
    "line_profiles",
    "masked_pixels",
    "middle",
    "photon_transfer",
    "variance_grid",
]
