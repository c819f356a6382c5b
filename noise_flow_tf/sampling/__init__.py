"""Sampled noise for images and batches, its predicted scale, and Keras layers that add it."""

from noise_flow_tf.sampling.images import TILE, sample_image, sample_noise
from noise_flow_tf.sampling.scale import predicted_scale

__all__ = ["TILE", "predicted_scale", "sample_image", "sample_noise"]
