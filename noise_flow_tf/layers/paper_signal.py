"""The signal-dependent layer by the paper's equations."""

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.layers.layer import Layer, live
from noise_flow_tf.layers.paper_gain import PaperGainLayer
from noise_flow_tf.layers.signal import INITIAL_BETA1, INITIAL_BETA2


class PaperSignalLayer(Layer):
    """The paper's signal-dependent layer `eq12`.

        variance = exp(b1) * I + exp(b2),   I = I_gamma / gamma

    Eq. 12 and 13, with the latent clean image I from the given clean image I_gamma and the gain
    gamma of the paper's gain layer (Section 4.1); without one in the architecture, gamma is 1.
    """

    def __init__(self, gain: PaperGainLayer | None, name=None):
        super().__init__(name=name)
        self.b1 = tf.Variable(INITIAL_BETA1, name="b1")
        self.b2 = tf.Variable(INITIAL_BETA2, name="b2")
        self._gain = gain

    def bijectors(self, conditions, training):
        def gain():
            return self._gain.gamma(conditions) if self._gain else tf.ones_like(conditions.iso)

        return [
            bijectors.SignalDependent(
                conditions.clean,
                live(lambda: tf.exp(self.b1) / gain(), self.b1, conditions),
                live(lambda: tf.exp(self.b2) * tf.ones_like(conditions.iso), self.b2, conditions),
            )
        ]

    def curves(self):
        return {"beta/beta1": tf.exp(self.b1), "beta/beta2": tf.exp(self.b2)}
