"""Sensor noise as data augmentation: a layer that adds samples of a noise model, for both Keras."""

import sys
from typing import Any

import tensorflow as tf

from noise_flow_tf.sampling.keras_layers.of_tf_keras import NoiseFlowLayer as TFKerasNoiseFlowLayer

__all__ = ["Keras3NoiseFlowLayer", "NoiseFlowLayer", "TFKerasNoiseFlowLayer"]


def __getattr__(name: str) -> Any:
    # Importing Keras 3 takes a second, which those who use tf_keras should not wait for.
    if name == "Keras3NoiseFlowLayer":
        from noise_flow_tf.sampling.keras_layers.of_keras3 import NoiseFlowLayer

        return NoiseFlowLayer
    if name == "NoiseFlowLayer":
        is_tf_keras = issubclass(TFKerasNoiseFlowLayer, tf.keras.layers.Layer)
        return TFKerasNoiseFlowLayer if is_tf_keras else __getattr__("Keras3NoiseFlowLayer")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "keras" in sys.modules:
    # Keras 3 loads the saved models of those classes only that it has been told of before.
    __getattr__("Keras3NoiseFlowLayer")
