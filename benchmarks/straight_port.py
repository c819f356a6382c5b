"""A straightforward Noise Flow without optimizations: the baseline of `--compare`.

Plain layers, `tf.nn.moments` batch norm, the border channel padded and concatenated, channels split
and concatenated in every coupling, nothing folded. It uses the weights of a `NoiseFlow` of the
release's layers, so that both compute the same numbers.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf import layers
from noise_flow_tf.conditions import Conditions
from noise_flow_tf.layers import flow_step
from noise_flow_tf.layers.coupling_network import CouplingVariables, Moments

_LOG_2PI = float(np.log(2 * np.pi))


class StraightPort:
    """A model that is called like a `NoiseFlow`, with the variables of one."""

    def __init__(self, model: nf.NoiseFlow) -> None:
        self.model = model

    def __call__(self, clean: Any, iso: Any, camera: Any, training: bool = False) -> "_Noise":
        """Return an object with the methods `log_prob` and `sample`."""
        conditions = self.model.condition_space.resolve(clean, iso, camera)
        return _Noise(self.model, conditions, training)


class StraightTrainer(tf_keras.Model):
    """A Keras model whose training step only follows the gradient of the loss."""

    def __init__(self, port: StraightPort) -> None:
        super().__init__()
        self.noise_model = port.model
        self._port = port
        self._loss = tf_keras.metrics.Mean(name="loss")

    def call(self, batch: dict[str, tf.Tensor], training: bool = False) -> "_Noise":
        return self._port(batch["clean"], batch["iso"], batch["camera"], training)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self(batch, training=True).log_prob(batch["noise"]))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._loss.update_state(loss)
        return {"loss": self._loss.result()}


class _Noise:
    def __init__(self, model: nf.NoiseFlow, conditions: Conditions, training: bool) -> None:
        self._model = model
        self._conditions = conditions
        self._training = training

    def log_prob(self, noise: tf.Tensor) -> tf.Tensor:
        """Return the log-density `[B]`, nats, of noise `[B, H, W, 4]`."""
        x, log_det = noise, tf.zeros(tf.shape(noise)[0])
        for layer in self._model.layers:
            if layer.code == "unc":
                x = tf.nn.conv2d(x, _matrix(layer)[None, None], 1, "SAME")
                pixels = tf.cast(tf.shape(x)[1] * tf.shape(x)[2], tf.float32)
                log_det += pixels * tf.reduce_sum(layer.log_diagonal)
                a, b = tf.split(x, 2, axis=-1)
                shift, log_scale = _network(layer.network, a, self._training)
                x = tf.concat([a, b * tf.exp(log_scale) + shift], axis=-1)
                log_det += tf.reduce_sum(log_scale, axis=[1, 2, 3])
            else:
                scale = _scale(layer, self._conditions)
                x = x / scale
                log_det -= tf.reduce_sum(tf.math.log(scale), axis=[1, 2, 3])
        dimensions = tf.cast(tf.size(x[0]), tf.float32)
        return log_det - 0.5 * (tf.reduce_sum(x * x, axis=[1, 2, 3]) + dimensions * _LOG_2PI)

    def sample(self) -> tf.Tensor:
        """Draw noise `[B, H, W, 4]`."""
        return self.forward(tf.random.normal(tf.shape(self._conditions.clean)))

    def forward(self, latent: tf.Tensor) -> tf.Tensor:
        x = latent
        for layer in reversed(self._model.layers):
            if layer.code == "unc":
                a, b = tf.split(x, 2, axis=-1)
                shift, log_scale = _network(layer.network, a, training=False)
                x = tf.concat([a, (b - shift) * tf.exp(-log_scale)], axis=-1)
                x = tf.nn.conv2d(x, tf.linalg.inv(_matrix(layer))[None, None], 1, "SAME")
            else:
                x = x * _scale(layer, self._conditions)
        return x


def _scale(layer: layers.Layer, conditions: Conditions) -> tf.Tensor:
    if layer.code == "gain4":
        return layer.gain_val * tf.ones_like(conditions.clean)
    factors = tf.unstack(tf.exp(tf.gather(layer.cam_params, conditions.camera, axis=1)))
    c0, c1, c2 = (factor[:, None, None, None] for factor in factors)
    gain_params = tf.gather(layer.gain_params, conditions.iso_index)[:, None, None, None]
    gain = tf.exp(gain_params * c2) * conditions.iso[:, None, None, None]
    return tf.sqrt(tf.exp(layer.beta1 * c0) * conditions.clean / gain + tf.exp(layer.beta2 * c1))


def _matrix(layer: layers.Layer) -> tf.Tensor:
    size = layers.CHANNELS
    lower = tf.eye(size) + tf.scatter_nd(flow_step.LOWER_PLACES, layer.lower, [size, size])
    upper = tf.scatter_nd(flow_step.UPPER_PLACES, layer.upper, [size, size])
    return (
        layer.permutation
        @ lower
        @ (upper + tf.linalg.diag(layer.signs * tf.exp(layer.log_diagonal)))
    )


def _network(
    network: CouplingVariables, a: tf.Tensor, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    hidden = tf.nn.conv2d(a, network.kernel1, 1, "SAME") + network.bias1
    hidden = tf.nn.relu(_batch_norm(hidden, network.moments1, training))
    hidden = tf.nn.conv2d(hidden, network.kernel2, 1, "SAME") + network.bias2
    hidden = tf.nn.relu(_batch_norm(hidden, network.moments2, training))
    hidden = tf.pad(hidden, [[0, 0], [1, 1], [1, 1], [0, 0]])
    inside = tf.zeros([tf.shape(a)[0], tf.shape(a)[1], tf.shape(a)[2], 1])
    border = tf.pad(inside, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
    hidden = tf.concat([hidden, border], axis=-1)
    output = tf.nn.conv2d(hidden, network.kernel3, 1, "VALID") + network.bias3
    shift, scale = tf.split(output * tf.exp(3.0 * network.logs), 2, axis=-1)
    return shift, network.rescaling * tf.tanh(scale)


def _batch_norm(x: tf.Tensor, moments: Moments, training: bool) -> tf.Tensor:
    mean, variance = moments.mean, moments.variance
    if training:
        mean, variance = tf.nn.moments(x, axes=[0, 1, 2])
        moments.mean.assign_sub(0.1 * (moments.mean - mean))
        moments.variance.assign_sub(0.1 * (moments.variance - variance))
    return (x - mean) / tf.sqrt(variance + 1e-4)
