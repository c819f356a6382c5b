"""The trainable parts of Noise Flow: own variables, and given conditions build the bijectors."""

from functools import partial

import numpy as np
import scipy.linalg
import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions, Known
from noise_flow_tf.coupling_network import CouplingNetwork

CHANNELS = 4
# Row and column of each value of a strict triangle's vector: the order of tfp.math.fill_triangular
# on a 3x3 matrix, moved one row down (lower) or one column to the right (upper).
LOWER_PLACES = np.array([(3, 2), (3, 1), (3, 0), (1, 0), (2, 1), (2, 0)])
UPPER_PLACES = np.array([(0, 1), (0, 2), (0, 3), (2, 3), (1, 2), (1, 3)])

_INITIAL_BETA1 = -5.0
_INITIAL_BETA2 = 0.0


class Layer(tf.Module):
    """A trainable part of the flow.

    Each has a method `bijectors(conditions: Conditions, training: bool)`: the part's bijectors for
    a batch, from the data side to the latent side. `reach` is how many pixels away these look.
    A layer with parameters of its own for each camera names their variable, cameras along the last
    axis, in `of_cameras`; `added` is one more column of it, trained apart (`new_camera`).
    """

    reach = 0
    of_cameras: str | None = None
    known: Known | None = None
    added: tf.Variable | None = None

    def curves(self) -> dict[str, tf.Tensor]:
        """The scalars that tell a person what the part has learned, by name."""
        return {}

    def _at_camera(self, conditions: Conditions) -> tf.Tensor:
        """The camera parameters of each example, `[..., B]`."""
        return tf.gather(self.camera_table(), conditions.camera, axis=-1)

    def camera_table(self) -> tf.Tensor:
        """The camera parameters `[..., cameras]`, those of an added camera last."""
        table = tf.convert_to_tensor(getattr(self, self.of_cameras))
        if self.added is None:
            return table
        return tf.concat([table, self.added[..., tf.newaxis]], axis=-1)


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
        self.beta1 = tf.Variable(_INITIAL_BETA1, name="beta1")
        self.beta2 = tf.Variable(_INITIAL_BETA2, name="beta2")
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
                _live(lambda: self._slope(conditions), self.beta1, conditions),
                _live(lambda: self._level(conditions), self.beta2, conditions),
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


class GainLayer(Layer):
    """The release's gain layer `gain4`: one learned scalar for all images, used as it is."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.gain_val = tf.Variable(1.0, name="gain_val")

    def bijectors(self, conditions, training):
        return [bijectors.Gain(self.gain_val)]

    def curves(self):
        return {"gain layer/gain_val": tf.identity(self.gain_val)}


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
        return [bijectors.Gain(_live(lambda: self.gamma(conditions), self.v, conditions))]

    def curves(self):
        curves = {}
        for i, iso in enumerate(self.known.iso_levels):
            curves[f"gain/ISO {iso}"] = tf.exp(self.v[i]) * iso
        if self.log_psi is not None:
            psi = tf.exp(self.camera_table())
            for m, camera in enumerate(self.known.cameras):
                curves[f"camera factor of gain/{camera}"] = psi[m]
        return curves


class PaperSignalLayer(Layer):
    """The paper's signal-dependent layer `eq12`.

        variance = exp(b1) * I + exp(b2),   I = I_gamma / gamma

    Eq. 12 and 13, with the latent clean image I from the given clean image I_gamma and the gain
    gamma of the paper's gain layer (Section 4.1); without one in the architecture, gamma is 1.
    """

    def __init__(self, gain: PaperGainLayer | None, name=None):
        super().__init__(name=name)
        self.b1 = tf.Variable(_INITIAL_BETA1, name="b1")
        self.b2 = tf.Variable(_INITIAL_BETA2, name="b2")
        self._gain = gain

    def bijectors(self, conditions, training):
        def gain():
            return self._gain.gamma(conditions) if self._gain else tf.ones_like(conditions.iso)

        return [
            bijectors.SignalDependent(
                conditions.clean,
                _live(lambda: tf.exp(self.b1) / gain(), self.b1, conditions),
                _live(lambda: tf.exp(self.b2) * tf.ones_like(conditions.iso), self.b2, conditions),
            )
        ]

    def curves(self):
        return {"beta/beta1": tf.exp(self.b1), "beta/beta2": tf.exp(self.b2)}


class FlowStep(Layer):
    """One step of Glow, `unc`: on the way to the latent a 1x1 convolution, then a coupling.

    The convolution's matrix P L U has a fixed permutation P and fixed signs on U's diagonal; it
    starts as a random rotation.
    """

    reach = CouplingNetwork.REACH

    def __init__(self, width: int, rng: np.random.Generator, name=None):
        super().__init__(name=name)
        rotation, _ = np.linalg.qr(rng.normal(size=(CHANNELS, CHANNELS)))
        permutation, lower, upper = (m.astype(np.float32) for m in scipy.linalg.lu(rotation))
        diagonal = np.diag(upper)
        self.permutation = tf.Variable(permutation, trainable=False, name="permutation")
        self.signs = tf.Variable(np.sign(diagonal), trainable=False, name="signs")
        self.log_diagonal = tf.Variable(np.log(np.abs(diagonal)), name="log_diagonal")
        self.lower = tf.Variable(lower[tuple(LOWER_PLACES.T)], name="lower")
        self.upper = tf.Variable(upper[tuple(UPPER_PLACES.T)], name="upper")
        self.network = CouplingNetwork(CHANNELS, width, rng, name="network")

    def bijectors(self, conditions, training):
        return [
            bijectors.InvertibleConv1x1(
                self.permutation,
                _live(self._lower_triangle, self.lower, shape=self.permutation.shape),
                _live(self._upper_triangle, self.upper, shape=self.permutation.shape),
                self.log_diagonal,
            ),
            bijectors.AffineCoupling(partial(self.network, training=training)),
        ]

    def _lower_triangle(self):
        return tf.eye(CHANNELS) + _triangle(self.lower, LOWER_PLACES)

    def _upper_triangle(self):
        diagonal = tf.linalg.diag(self.signs * tf.exp(self.log_diagonal))
        return diagonal + _triangle(self.upper, UPPER_PLACES)


def _live(value, variable, conditions=None, shape=None):
    """What `value()` gives at each use, a function of `variable` and others.

    Of the shape of the batch of `conditions`, or of another `shape`.
    """
    shape = conditions.iso.shape if shape is None else shape
    return tfp.util.DeferredTensor(variable, lambda _: value(), shape=shape)


def _triangle(vector: tf.Tensor, places: np.ndarray) -> tf.Tensor:
    return tf.scatter_nd(places, vector, [CHANNELS, CHANNELS])
