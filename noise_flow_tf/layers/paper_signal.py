"""The signal-dependent layer by the paper's equations."""

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions
from noise_flow_tf.layers.layer import Layer, Summaries, live
from noise_flow_tf.layers.signal import INITIAL_BETA1, INITIAL_BETA2
from noise_flow_tf.native.ops import Op, OpCode


class PaperSignalLayer(Layer):
    """The paper's signal-dependent layer `eq12`.

        variance = exp(b1) * I + exp(b2),   I = I_gamma / gamma

    Eq. 12 and 13, with the latent clean image I from the given clean image I_gamma and the gain
    gamma of the paper's gain layer (Section 4.1); without one in the architecture, gamma is 1.
    """

    codes = ("eq12",)
    pointwise = True
    depends_on = frozenset({"clean", "iso", "camera"})
    receptive_field = 0

    def __init__(self) -> None:
        super().__init__(name="signal")
        self.b1 = tf.Variable(INITIAL_BETA1, name="b1")
        self.b2 = tf.Variable(INITIAL_BETA2, name="b2")
        self._gain: Layer | None = None

    def connect(self, layers: Sequence[Layer]) -> None:
        self._gain = next((layer for layer in layers if layer.gives_gain), None)

    def ops(self, conditions: Conditions, training: bool) -> list[Op]:
        def gain() -> tf.Tensor:
            return self._gain.gamma(conditions) if self._gain else tf.ones_like(conditions.iso)

        betas = (
            live(lambda: tf.exp(self.b1) / gain(), self.b1, conditions),
            live(lambda: tf.exp(self.b2) * tf.ones_like(conditions.iso), self.b2, conditions),
        )
        reference = partial(bijectors.SignalDependent, conditions.clean)
        return [Op(OpCode.SIGNAL, betas, reference)]

    def summaries(self) -> Summaries:
        return {"beta": {"beta1": tf.exp(self.b1), "beta2": tf.exp(self.b2)}}
