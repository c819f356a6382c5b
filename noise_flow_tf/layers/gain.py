"""The release's gain layer."""

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions
from noise_flow_tf.layers.layer import Layer, Summaries


class GainLayer(Layer):
    """The release's gain layer `gain4`: one learned scalar for all images, used as it is."""

    codes = ("gain4",)
    pointwise = True
    depends_on = frozenset()
    receptive_field = 0

    def __init__(self) -> None:
        super().__init__(name="gain")
        self.gain_val = tf.Variable(1.0, name="gain_val")

    def bijectors(self, conditions: Conditions, training: bool) -> list[bijectors.OnePassBijector]:
        return [bijectors.Gain(self.gain_val)]

    def summaries(self) -> Summaries:
        return {"gain layer": {"gain_val": tf.identity(self.gain_val)}}
