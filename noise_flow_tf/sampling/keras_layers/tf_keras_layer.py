"""The layer for `tf_keras`, which `tf.keras` is with TF_USE_LEGACY_KERAS=1."""

import tensorflow as tf
import tf_keras

from noise_flow_tf.sampling.keras_layers.base import NoiseFlowLayerBase
from noise_flow_tf.sampling.keras_layers.which_keras import TF_KERAS


@tf_keras.utils.register_keras_serializable(package="noise_flow_tf")
class NoiseFlowLayer(NoiseFlowLayerBase, tf_keras.layers.Layer):
    """`NoiseFlowLayerBase` as a layer of `tf_keras`."""

    keras_version = TF_KERAS

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        return self._sensor_noise.trained if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        trained = {id(variable) for variable in self.trainable_weights}
        return [v for v in self.noise_model.variables if id(v) not in trained]
