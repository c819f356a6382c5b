"""Sensor noise as data augmentation: a Keras layer that adds samples of a noise model."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from noise_flow_tf.export import recipe
from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.new_camera import settled


@tf_keras.utils.register_keras_serializable(package="noise_flow_tf")
class NoiseFlowLayer(tf_keras.layers.Layer):
    """Adds sampled noise to packed clean raw images, in training only, as `GaussianNoise` does.

    Images are `[B, H, W, 4]` or `[H, W, 4]` in [0, 1]. Each example has its own noise and, with
    several conditions, an ISO level and camera drawn for it. It works in `fit`, in `tf.data` maps
    (`dataset.map(lambda x: layer(x, training=True))`), under `tf.function`, and is saved with the
    noise model's weights in the Keras format and as a SavedModel (not in the legacy HDF5 format).

    The gradient to the input is the true one: the noise is a function of the clean image and a
    latent that is not (reparametrization), so that d output / d input = 1 + d noise / d clean. An
    input outside [0, 1] is given the noise of the nearest intensity inside.

    >>> layer = NoiseFlowLayer(NoiseFlow(seed=0), conditions=[(800, "S6")], seed=1)
    >>> clean = tf.fill([2, 8, 8, 4], 0.5)
    >>> bool(tf.reduce_all(layer(clean) == clean)), layer(clean, training=True).shape.as_list()
    (True, [2, 8, 8, 4])
    """

    def __init__(
        self,
        model: NoiseFlow | dict[str, Any],
        conditions: Sequence[tuple[int, int | str]],
        weights: Sequence[float] | None = None,
        temperature: float = 1.0,
        clip: bool = False,
        seed: int | None = None,
        train_noise_model: bool = False,
        **kwargs,
    ):
        """Makes the layer.

        Args:
            model: the noise model; or what `get_config` made of one.
            conditions: (ISO, camera) pairs; one is fixed, several are drawn from for each example.
            weights: how often each pair is drawn, relative to the others; None for equally often.
            temperature: the standard deviation of the latent; 1 is the model's own distribution.
            clip: whether to clip the noisy image to [0, 1], as a sensor does.
            seed: fixes the sequence of draws; None draws another one each time.
            train_noise_model: whether the surrounding model trains the noise model's weights, too.
            **kwargs: `name` and the like, of `tf_keras.layers.Layer`.

        Raises:
            ValueError: no pair, a pair that the model does not know, weights that are negative, all
                zero or not one for each pair, a temperature that is negative or not finite.
        """
        super().__init__(**kwargs)
        self.noise_model = _from_config(model) if isinstance(model, dict) else settled(model)
        known = self.noise_model.known
        pairs = [(int(iso), known.cameras[int(known.camera_index(cam))]) for iso, cam in conditions]
        if not pairs:
            raise ValueError("conditions must be one or more pairs of ISO and camera; got none")
        known.iso_index([iso for iso, _ in pairs])
        shares = np.ones(len(pairs)) if weights is None else np.asarray(weights, np.float64)
        if (
            shares.shape != (len(pairs),)
            or not (shares >= 0).all()
            or not 0 < shares.sum() < np.inf
        ):
            raise ValueError(
                f"weights must be one for each of the {len(pairs)} conditions, not negative and "
                f"not all zero; got {weights}"
            )
        if not 0 <= temperature < np.inf:
            raise ValueError(f"temperature must be finite and not negative; got {temperature}")
        self._pairs = [f"{iso} {camera}" for iso, camera in pairs]
        self._iso = np.float32([iso for iso, _ in pairs])
        self._camera = known.camera_index([camera for _, camera in pairs]).numpy()
        self._ends = np.float32(np.cumsum(shares / shares.sum())[:-1])
        self._options = {
            "weights": None if weights is None else shares.tolist(),
            "temperature": float(temperature),
            "clip": bool(clip),
            "seed": seed,
            "train_noise_model": bool(train_noise_model),
        }
        random = tf.random.Generator
        self._random = (
            random.from_non_deterministic_state() if seed is None else random.from_seed(seed)
        )

    def call(self, inputs, training=None):
        """The noisy images in training, the clean ones otherwise."""
        if training is None or isinstance(training, bool | int):
            return self._noisy(inputs) if training else inputs
        return tf.cond(tf.cast(training, tf.bool), lambda: self._noisy(inputs), lambda: inputs)

    def _noisy(self, inputs):
        clean = tf.cast(inputs, tf.float32)
        images = clean if clean.shape.rank == 4 else clean[tf.newaxis]
        seeds = self._random.make_seeds(2)
        drawn = tf.random.stateless_uniform([tf.shape(images)[0]], seeds[:, 0])
        pair = tf.searchsorted(self._ends, drawn, side="right")
        p = self.noise_model(
            tf.clip_by_value(images, 0.0, 1.0),
            tf.gather(self._iso, pair),
            tf.gather(self._camera, pair),
        )
        latent = tf.random.stateless_normal(tf.shape(images), seeds[:, 1])
        noise = p.bijector.forward(latent * self._options["temperature"])
        noisy = clean + tf.reshape(noise, tf.shape(clean))
        if self._options["clip"]:
            noisy = tf.clip_by_value(noisy, 0.0, 1.0)
        return tf.cast(tf.ensure_shape(noisy, inputs.shape), inputs.dtype)

    @property
    def trainable_weights(self):
        trained = self.trainable and self._options["train_noise_model"]
        return list(self.noise_model.trainable_variables) if trained else []

    @property
    def non_trainable_weights(self):
        trained = {id(variable) for variable in self.trainable_weights}
        return [v for v in self.noise_model.variables if id(v) not in trained]

    def save_own_variables(self, store):
        for number, variable in enumerate(self.noise_model.variables):
            store[str(number)] = variable.numpy()

    def load_own_variables(self, store):
        for number, variable in enumerate(self.noise_model.variables):
            variable.assign(store[str(number)])

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        pairs = [pair.split() for pair in self._pairs]
        return {
            **super().get_config(),
            "model": _to_config(self.noise_model),
            "conditions": [[int(iso), camera] for iso, camera in pairs],
            **self._options,
        }


def _to_config(model: NoiseFlow) -> dict[str, Any]:
    """What `restore` needs and the weights, in the terms of JSON."""
    file = io.BytesIO()
    np.savez_compressed(file, *(variable.numpy() for variable in model.variables))
    return {**recipe(model), "variables": base64.b64encode(file.getvalue()).decode()}


def _from_config(config: dict[str, Any]) -> NoiseFlow:
    arguments = dict(config)
    file = io.BytesIO(base64.b64decode(arguments.pop("variables")))
    model = NoiseFlow(**arguments)
    with np.load(file, allow_pickle=False) as arrays:
        for number, variable in enumerate(model.variables):
            variable.assign(arrays[f"arr_{number}"])
    return model
