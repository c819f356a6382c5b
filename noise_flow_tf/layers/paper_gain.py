"""The gain layer by the paper's equations."""

import numpy as np
import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions, Known
from noise_flow_tf.layers.layer import Layer, live


class PaperGainLayer(Layer):
    """The paper's gain layer: `eq14` without and `eq16` with a factor for each camera.

        gamma = psi[camera] * u[iso] * ISO,   u = exp(v), psi = exp(log_psi)

    Eq. 14 and 16, with u initialised to 1/200 and psi to 1.
    """

    def __init__(self, camera_factors: bool, known: Known, name=None):
        super().__init__(name=name)
        self.known = known
        self.v = tf.Variable(tf.fill([len(known.iso_levels)], -np.float32(np.log(200.0))), name="v")
        self.log_psi = None
        if camera_factors:
            self.log_psi = tf.Variable(tf.zeros([len(known.cameras)]), name="log_psi")
            self.of_cameras = "log_psi"

    def gamma(self, conditions: Conditions) -> tf.Tensor:
        """The gain of each image, `[B]`."""
        log_gain = conditions.at_iso(self.v)
        if self.log_psi is not None:
            log_gain += self._at_camera(conditions)
        return tf.exp(log_gain) * conditions.iso

    def bijectors(self, conditions, training):
        return [bijectors.Gain(live(lambda: self.gamma(conditions), self.v, conditions))]

    def curves(self):
        curves = {}
        for i, iso in enumerate(self.known.iso_levels):
            curves[f"gain/ISO {iso}"] = tf.exp(self.v[i]) * iso
        if self.log_psi is not None:
            psi = tf.exp(self.camera_table())
            for m, camera in enumerate(self.known.cameras):
                curves[f"camera factor of gain/{camera}"] = psi[m]
        return curves
