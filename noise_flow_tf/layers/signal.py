"""The release's signal-dependent layer."""

from functools import partial

import tensorflow as tf

from noise_flow_tf import bijectors
from noise_flow_tf.conditions import Conditions, ConditionSpace
from noise_flow_tf.layers.layer import BuildOptions, Layer, Summaries, live
from noise_flow_tf.native.ops import Op, OpCode

INITIAL_BETA1 = -5.0
INITIAL_BETA2 = 0.0

_FACTORS = {"sdn4": (), "sdn5": ("beta1", "beta2", "gain"), "sdn6": ("gain",)}


class SignalLayer(Layer):
    """The release's signal-dependent layer: `sdn4`, `sdn5`, `sdn6`.

        variance = exp(beta1 * c0) * y / g + exp(beta2 * c1)
        g = exp(gain_params[iso] * c2) * ISO

    with y the clean image and c = exp(cam_params[:, camera]). `sdn4` has no camera factors (c = 1),
    `sdn6` has c2 alone, `sdn5` all three.
    """

    codes = tuple(_FACTORS)
    pointwise = True
    depends_on = frozenset({"clean", "iso", "camera"})
    receptive_field = 0

    def __init__(self, factors: tuple[str, ...], space: ConditionSpace) -> None:
        """Make the variables; `factors` are those of each camera."""
        super().__init__(name="signal")
        self._space, self._factor_names = space, factors
        self.beta1 = tf.Variable(INITIAL_BETA1, name="beta1")
        self.beta2 = tf.Variable(INITIAL_BETA2, name="beta2")
        self.gain_params = tf.Variable(tf.fill([len(space.iso_levels)], -5.0), name="gain_params")
        self.cam_params: tf.Variable | None = None
        if factors:
            initial = tf.ones([len(factors), len(space.cameras)])
            self.cam_params = tf.Variable(initial, name="cam_params")

    @classmethod
    def build(cls, code: str, options: BuildOptions) -> "SignalLayer":
        return cls(_FACTORS[code], options.space)

    @property
    def camera_parameters(self) -> tf.Variable | None:
        return self.cam_params

    @property
    def iso_parameters(self) -> list[tuple[tf.Variable, int]]:
        return [(self.gain_params, 0)]

    def ops(self, conditions: Conditions, training: bool) -> list[Op]:
        betas = (
            live(lambda: self._slope(conditions), self.beta1, conditions),
            live(lambda: self._level(conditions), self.beta2, conditions),
        )
        reference = partial(bijectors.SignalDependent, conditions.clean)
        return [Op(OpCode.SIGNAL, betas, reference)]

    def _slope(self, conditions: Conditions) -> tf.Tensor:
        factors = self._factors(conditions)
        log_gain = conditions.at_iso(self.gain_params) * factors["gain"]
        return tf.exp(self.beta1 * factors["beta1"]) / (tf.exp(log_gain) * conditions.iso)

    def _level(self, conditions: Conditions) -> tf.Tensor:
        return tf.exp(self.beta2 * self._factors(conditions)["beta2"])

    def _factors(self, conditions: Conditions) -> dict[str, tf.Tensor]:
        """Return the factors `[B]` on beta1, beta2 and the gain of each image."""
        factors = dict.fromkeys(("beta1", "beta2", "gain"), tf.ones_like(conditions.iso))
        if self.cam_params is not None:
            values = tf.unstack(tf.exp(self.at_camera(conditions)))
            factors |= zip(self._factor_names, values, strict=True)
        return factors

    def summaries(self) -> Summaries:
        levels, cameras = self._space.iso_levels, self._space.cameras
        gains = tf.unstack(tf.exp(self.gain_params) * tf.constant(levels, tf.float32))
        groups = {
            "beta": {"beta1": tf.exp(self.beta1), "beta2": tf.exp(self.beta2)},
            "gain": {f"ISO {iso}": gain for iso, gain in zip(levels, gains, strict=True)},
        }
        rows = [] if self.cam_params is None else tf.unstack(self.cam_params)
        for factor, row in zip(self._factor_names, rows, strict=True):
            values = dict(zip(cameras, tf.unstack(tf.exp(row)), strict=True))
            groups[f"camera factor of {factor}"] = values
        return groups
