"""One step of Glow."""

from functools import partial

import numpy as np
import scipy.linalg
import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions
from noise_flow_tf.layers.coupling_network import CouplingNetwork
from noise_flow_tf.layers.layer import CHANNELS, BuildOptions, Layer, live

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
    receptive_field = CouplingNetwork.RECEPTIVE_FIELD

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
        self.network = CouplingNetwork(CHANNELS, width, rng)

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "FlowStep":
        return cls(options.width, options.rng)

    def bijectors(self, conditions: Conditions, training: bool) -> list[bijectors.OnePassBijector]:
        return [
            bijectors.InvertibleConv1x1(
                self.permutation,
                live(self._lower_triangle, self.lower, shape=_MATRIX),
                live(self._upper_triangle, self.upper, shape=_MATRIX),
                self.log_diagonal,
            ),
            bijectors.AffineCoupling(partial(self.network, training=training)),
        ]

    def _lower_triangle(self) -> tf.Tensor:
        return tf.eye(CHANNELS) + tf.scatter_nd(LOWER_PLACES, self.lower, _MATRIX)

    def _upper_triangle(self) -> tf.Tensor:
        diagonal = tf.linalg.diag(self.signs * tf.exp(self.log_diagonal))
        return diagonal + tf.scatter_nd(UPPER_PLACES, self.upper, _MATRIX)
