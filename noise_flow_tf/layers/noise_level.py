"""The signal-dependent layer with an NLF of its own for each camera at each ISO level."""

from functools import partial

import numpy as np
import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions, ConditionSpace
from noise_flow_tf.layers.layer import BuildOptions, Layer, Summaries, live
from noise_flow_tf.native.ops import Op, OpCode

INITIAL_SLOPE = 4e-6
INITIAL_OFFSET = 2e-8
"""At ISO 1: those of a phone's camera. Both rise with the ISO."""


class NoiseLevelLayer(Layer):
    """The layer `nlf`: the noise level function of a camera at an ISO level, both free.

        variance = slope[iso, camera] * y + offset[iso, camera]

    with y the clean image. The layers of the release and of the paper share their numbers among ISO
    levels, so that they follow a camera's measured NLFs at one level only.
    """

    codes = ("nlf",)
    pointwise = True
    depends_on = frozenset({"clean", "iso", "camera"})
    receptive_field = 0

    def __init__(self, space: ConditionSpace) -> None:
        super().__init__(name="noise_level")
        self._space = space
        levels = np.array(space.iso_levels, np.float32)[:, np.newaxis]
        start = np.log([INITIAL_SLOPE * levels, INITIAL_OFFSET * levels])
        table = np.tile(start.astype(np.float32), [1, 1, len(space.cameras)])
        self.log_nlf = tf.Variable(table, name="log_nlf")

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "NoiseLevelLayer":
        return cls(options.space)

    @property
    def camera_parameters(self) -> tf.Variable:
        return self.log_nlf

    @property
    def iso_parameters(self) -> list[tuple[tf.Variable, int]]:
        return [(self.log_nlf, 1)]

    def ops(self, conditions: Conditions, training: bool) -> list[Op]:
        betas = tuple(
            live(partial(self._beta, conditions, which), self.log_nlf, conditions)
            for which in (0, 1)
        )
        return [Op(OpCode.SIGNAL, betas, partial(bijectors.SignalDependent, conditions.clean))]

    def _beta(self, conditions: Conditions, which: int) -> tf.Tensor:
        # A row per camera, so that each image takes its camera's values, then its ISO's.
        of_image = tf.gather(tf.transpose(self.log_nlf[which]), conditions.camera)
        return tf.exp(conditions.at_iso_of_each(of_image))

    def summaries(self) -> Summaries:
        return {
            f"NLF {name}": {
                f"{camera}, ISO {iso}": tf.exp(self.log_nlf[which, i, k])
                for i, iso in enumerate(self._space.iso_levels)
                for k, camera in enumerate(self._space.cameras)
                if iso in self._space.levels_of(camera)
            }
            for which, name in enumerate(("slope", "offset"))
        }
