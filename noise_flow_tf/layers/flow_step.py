"""One step of Glow."""

from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions
from noise_flow_tf.layers.coupling_network import CouplingNetwork, CouplingVariables
from noise_flow_tf.layers.layer import CHANNELS, BuildOptions, Layer, live
from noise_flow_tf.native.ops import Op, OpCode

# Row and column of each value of a strict triangle's vector: the order of tfp.math.fill_triangular
# on a 3x3 matrix, shifted by one row down (lower) or one column to the right (upper).
LOWER_PLACES = np.array([(3, 2), (3, 1), (3, 0), (1, 0), (2, 1), (2, 0)])
UPPER_PLACES = np.array([(0, 1), (0, 2), (0, 3), (2, 3), (1, 2), (1, 3)])
_MATRIX = [CHANNELS, CHANNELS]


class FlowStep(Layer):
    """One step of Glow, `unc`: towards the latent, a 1x1 convolution, then a coupling.

    The convolution's matrix P L U has a fixed permutation P and fixed signs on U's diagonal; it
    starts as a random rotation.
    """

    codes = ("unc",)
    pointwise = False
    depends_on = frozenset()
    receptive_field = 2  # of the network's two 3x3 convolutions

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        super().__init__(name="flow_step")
        rotation, _ = np.linalg.qr(rng.normal(size=_MATRIX))
        permutation, lower, upper = (m.astype(np.float32) for m in scipy.linalg.lu(rotation))
        diagonal = np.diag(upper)
        self.permutation = tf.Variable(permutation, trainable=False, name="permutation")
        self.signs = tf.Variable(np.sign(diagonal), trainable=False, name="signs")
        self.log_diagonal = tf.Variable(np.log(np.abs(diagonal)), name="log_diagonal")
        self.lower = tf.Variable(lower[tuple(LOWER_PLACES.T)], name="lower")
        self.upper = tf.Variable(upper[tuple(UPPER_PLACES.T)], name="upper")
        self.network = CouplingVariables(CHANNELS, width, rng)

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "FlowStep":
        return cls(options.width, options.rng)

    def ops(self, conditions: Conditions, training: bool) -> list[Op]:
        mixing = (self.permutation, self.signs, self.log_diagonal, self.lower, self.upper)
        averages = self.network.averages
        coupling = partial(_coupling, averages=averages, training=training)
        return [
            Op(OpCode.MIX, mixing, _convolution),
            Op(OpCode.COUPLING, self.network.parameters, coupling, averages),
        ]


def _convolution(
    permutation: Any, signs: Any, log_diagonal: Any, lower: Any, upper: Any
) -> bijectors.InvertibleConv1x1:
    def lower_triangle() -> tf.Tensor:
        return tf.eye(CHANNELS) + tf.scatter_nd(LOWER_PLACES, lower, _MATRIX)

    def upper_triangle() -> tf.Tensor:
        diagonal = tf.linalg.diag(signs * tf.exp(log_diagonal))
        return diagonal + tf.scatter_nd(UPPER_PLACES, upper, _MATRIX)

    return bijectors.InvertibleConv1x1(
        permutation,
        live(lower_triangle, lower, shape=_MATRIX),
        live(upper_triangle, upper, shape=_MATRIX),
        log_diagonal,
    )


def _coupling(
    *parameters: Any, averages: tuple[tf.Variable, ...], training: bool
) -> bijectors.AffineCoupling:
    network = CouplingNetwork(*parameters)
    return bijectors.AffineCoupling(partial(network, averages=averages if training else None))
