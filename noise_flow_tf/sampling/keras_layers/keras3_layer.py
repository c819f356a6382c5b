"""The layer for Keras 3, which is `import keras` and by default `tf.keras`."""

from typing import Any

import keras
import tensorflow as tf

from noise_flow_tf.sampling.keras_layers.base import NoiseFlowLayerBase
from noise_flow_tf.sampling.keras_layers.sensor_noise import SensorNoise
from noise_flow_tf.sampling.keras_layers.which_keras import (
    KERAS_3,
    TF_KERAS,
    check_training_argument,
)


@keras.saving.register_keras_serializable(package="noise_flow_tf")
class NoiseFlowLayer(NoiseFlowLayerBase, keras.layers.Layer):
    """`NoiseFlowLayerBase` as a layer of Keras 3, which must run on TensorFlow.

    With TF_USE_LEGACY_KERAS=1, import `keras` before `noise_flow_tf`, or access this class once,
    before you load a saved model that has it: otherwise it is not registered with Keras 3 yet.
    """

    keras_version = KERAS_3

    def _track_weights(self, noise: SensorNoise) -> None:
        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise RuntimeError(
                f"NoiseFlowLayer needs TensorFlow, but Keras 3 runs on {backend} here; set "
                "KERAS_BACKEND=tensorflow, or add the noise in tf.data with "
                f"noise_flow_tf.{TF_KERAS.layer}"
            )
        trained = {id(variable) for variable in noise.trained}
        # Given a tf.Variable, a Keras variable has it as its value: there is no second copy.
        with keras.name_scope(self.name):
            self._shared = [
                keras.Variable(
                    variable,
                    trainable=id(variable) in trained,
                    autocast=False,
                    name=f"{number}_{variable.name.split(':')[0]}",
                )
                for number, variable in enumerate(noise.noise_model.variables)
            ]
        # XLA draws other numbers from the same seed, and cannot refuse a wrong image.
        self.supports_jit = False

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        if training is None:
            check_training_argument()
        return super().call(inputs, training)
