"""The gain layer by the paper's equations."""

import numpy as np
import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions, ConditionSpace
from noise_flow_tf.layers.layer import BuildOptions, Layer, Summaries, live
from noise_flow_tf.native.ops import Op, OpCode


class PaperGainLayer(Layer):
    """The paper's gain layer: `eq14` without and `eq16` with a factor per camera.

        gamma = psi[camera] * u[iso] * ISO,   u = exp(v), psi = exp(log_psi)

    Eq. 14 and 16, with u initialised to 1/200 and psi to 1.
    """

    codes = ("eq14", "eq16")
    pointwise = True
    depends_on = frozenset({"iso", "camera"})
    receptive_field = 0
    gives_gain = True

    def __init__(self, camera_factors: bool, space: ConditionSpace) -> None:
        super().__init__(name="gain")
        self._space = space
        self.v = tf.Variable(tf.fill([len(space.iso_levels)], -np.float32(np.log(200.0))), name="v")
        self.log_psi: tf.Variable | None = None
        if camera_factors:
            self.log_psi = tf.Variable(tf.zeros([len(space.cameras)]), name="log_psi")

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "PaperGainLayer":
        return cls(code == "eq16", options.space)

    @property
    def camera_parameters(self) -> tf.Variable | None:
        return self.log_psi

    @property
    def iso_parameters(self) -> list[tuple[tf.Variable, int]]:
        return [(self.v, 0)]

    def gamma(self, conditions: Conditions) -> tf.Tensor:
        """Return the gain of each image, `[B]`."""
        log_gain = conditions.at_iso(self.v)
        if self.log_psi is not None:
            log_gain += self.at_camera(conditions)
        return tf.exp(log_gain) * conditions.iso

    def ops(self, conditions: Conditions, training: bool) -> list[Op]:
        gamma = live(lambda: self.gamma(conditions), self.v, conditions)
        return [Op(OpCode.GAIN, (gamma,), bijectors.Gain)]

    def summaries(self) -> Summaries:
        levels = self._space.iso_levels
        gains = tf.unstack(tf.exp(self.v) * tf.constant(levels, tf.float32))
        groups = {"gain": {f"ISO {iso}": gain for iso, gain in zip(levels, gains, strict=True)}}
        if self.log_psi is not None:
            psi = tf.unstack(tf.exp(self.log_psi))
            groups["camera factor of gain"] = dict(zip(self._space.cameras, psi, strict=True))
        return groups
