"""The release's signal-dependent layer."""

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Known
from noise_flow_tf.layers.layer import Layer, live

INITIAL_BETA1 = -5.0
INITIAL_BETA2 = 0.0


class SignalLayer(Layer):
    """The release's signal-dependent layer: `sdn4`, `sdn5`, `sdn6`.

        variance = exp(beta1 * c0) * y / g + exp(beta2 * c1)
        g = exp(gain_params[iso] * c2) * ISO

    with y the clean image and c = exp(cam_params[:, camera]). `sdn4` has no camera factors (c = 1),
    `sdn6` has c2 alone, `sdn5` all three.
    """

    def __init__(self, camera_factors: int, known: Known, name=None):
        """Makes the variables; `camera_factors` is how many a camera has: 0, 1 or 3."""
        super().__init__(name=name)
        self.known = known
        self.beta1 = tf.Variable(INITIAL_BETA1, name="beta1")
        self.beta2 = tf.Variable(INITIAL_BETA2, name="beta2")
        self.gain_params = tf.Variable(tf.fill([len(known.iso_levels)], -5.0), name="gain_params")
        self.cam_params = None
        if camera_factors:
            initial = tf.ones([camera_factors, len(known.cameras)])
            self.cam_params = tf.Variable(initial, name="cam_params")
            self.of_cameras = "cam_params"

    def bijectors(self, conditions, training):
        return [
            bijectors.SignalDependent(
                conditions.clean,
                live(lambda: self._slope(conditions), self.beta1, conditions),
                live(lambda: self._level(conditions), self.beta2, conditions),
            )
        ]

    def _slope(self, conditions):
        on_beta1, _, on_gain = self._factors(conditions)
        gain = tf.exp(conditions.at_iso(self.gain_params) * on_gain) * conditions.iso
        return tf.exp(self.beta1 * on_beta1) / gain

    def _level(self, conditions):
        return tf.exp(self.beta2 * self._factors(conditions)[1])

    def _factors(self, conditions):
        """On beta1, beta2 and the gain: of each image, `[...]`."""
        ones = tf.ones_like(conditions.iso)
        if self.cam_params is None:
            return ones, ones, ones
        factors = tf.unstack(tf.exp(self._at_camera(conditions)))
        return factors if len(factors) == 3 else (ones, ones, *factors)

    def curves(self):
        curves = {"beta/beta1": tf.exp(self.beta1), "beta/beta2": tf.exp(self.beta2)}
        for i, iso in enumerate(self.known.iso_levels):
            curves[f"gain/ISO {iso}"] = tf.exp(self.gain_params[i]) * iso
        if self.cam_params is not None:
            factors = tf.exp(self.camera_table())
            kinds = {1: ["gain"], 3: ["beta1", "beta2", "gain"]}[factors.shape[0]]
            for k, kind in enumerate(kinds):
                for m, camera in enumerate(self.known.cameras):
                    curves[f"camera factor of {kind}/{camera}"] = factors[k, m]
        return curves
