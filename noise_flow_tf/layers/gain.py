"""The release's gain layer."""

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions
from noise_flow_tf.layers.layer import Layer, Summaries, live
from noise_flow_tf.native.ops import Op, OpCode


class GainLayer(Layer):
    """The release's gain layer `gain4`: one learned scalar for all images, used as it is."""

    codes = ("gain4",)
    pointwise = True
    depends_on = frozenset()
    receptive_field = 0

    def __init__(self) -> None:
        super().__init__(name="gain")
        self.gain_val = tf.Variable(1.0, name="gain_val")

    def ops(self, conditions: Conditions, training: bool) -> list[Op]:
        def gamma() -> tf.Tensor:
            return self.gain_val * tf.ones_like(conditions.iso)

        return [Op(OpCode.GAIN, (live(gamma, self.gain_val, conditions),), bijectors.Gain)]

    def summaries(self) -> Summaries:
        return {"gain layer": {"factor": tf.identity(self.gain_val)}}
