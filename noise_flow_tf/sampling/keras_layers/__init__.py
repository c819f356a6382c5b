"""Data augmentation by sampled noise: a layer for Keras 3 and one for tf_keras."""

import sys
from typing import Any

import tensorflow as tf

from noise_flow_tf.sampling.keras_layers.tf_keras_layer import (
    NoiseFlowLayer as TFKerasNoiseFlowLayer,
)

__all__ = ["Keras3NoiseFlowLayer", "NoiseFlowLayer", "TFKerasNoiseFlowLayer"]


def __getattr__(name: str) -> Any:
    # Importing Keras 3 takes a second, which users of tf_keras should not wait for.
    if name == "Keras3NoiseFlowLayer":
        from noise_flow_tf.sampling.keras_layers.keras3_layer import NoiseFlowLayer

        return NoiseFlowLayer
    if name == "NoiseFlowLayer":
        is_tf_keras = issubclass(TFKerasNoiseFlowLayer, tf.keras.layers.Layer)
        return TFKerasNoiseFlowLayer if is_tf_keras else __getattr__("Keras3NoiseFlowLayer")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "keras" in sys.modules:
    # Keras 3 loads saved models only of registered classes.
    __getattr__("Keras3NoiseFlowLayer")
