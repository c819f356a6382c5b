"""The release's gain layer."""

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.layers.layer import Layer


class GainLayer(Layer):
    """The release's gain layer `gain4`: one learned scalar for all images, used as it is."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.gain_val = tf.Variable(1.0, name="gain_val")

    def bijectors(self, conditions, training):
        return [bijectors.Gain(self.gain_val)]

    def curves(self):
        return {"gain layer/gain_val": tf.identity(self.gain_val)}
