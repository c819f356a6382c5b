"""The layer for Keras 3, which is `import keras` and, unless told otherwise, `tf.keras`."""

import keras

from noise_flow_tf.sampling.keras_layers.base import NoiseFlowLayerBase
from noise_flow_tf.sampling.keras_layers.which_keras import (
    KERAS_3,
    TF_KERAS,
    check_told_of_training,
)


@keras.saving.register_keras_serializable(package="noise_flow_tf")
class NoiseFlowLayer(NoiseFlowLayerBase, keras.layers.Layer):
    """`NoiseFlowLayerBase` as a layer of Keras 3, which must run on TensorFlow.

    With TF_USE_LEGACY_KERAS=1, import `keras` before `noise_flow_tf`, or mention this class once,
    before you load a saved model that has it: otherwise Keras 3 has not been told of it yet.
    """

    own_keras = KERAS_3

    def _hold(self, noise):
        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise RuntimeError(
                f"NoiseFlowLayer computes with TensorFlow, and Keras 3 runs on {backend} here; set "
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

    def call(self, inputs, training=None):
        if training is None:
            check_told_of_training()
        return super().call(inputs, training)
