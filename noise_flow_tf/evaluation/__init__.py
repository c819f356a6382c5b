"""Scores of noise models on a test set, their tables, and what the scores do not see."""

from noise_flow_tf.evaluation.metrics import KL_STRIDE, METRICS, Measured, Metric
from noise_flow_tf.evaluation.scores import (
    ImageScores,
    evaluate,
    measure,
    paired_difference,
    sampled_kl,
    summarise,
)

__all__ = [
    "KL_STRIDE",
    "METRICS",
    "ImageScores",
    "Measured",
    "Metric",
    "evaluate",
    "measure",
    "paired_difference",
    "sampled_kl",
    "summarise",
]
