"""The computation and saving of the layers for both Keras versions; it does not import Keras."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.conditions import packed
from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.saving.saved_model import recipe


class SensorNoise:
    """Adds noise to clean images, with conditions drawn for each of them.

    Attributes:
        noise_model: the `NoiseFlow`.
        generator: the `tf.random.Generator` that all draws come from.
        options: the other arguments, as in `config`.
    """

    def __init__(
        self,
        model: NoiseFlow | dict[str, Any],
        conditions: Sequence[tuple[int, int | str]],
        weights: Sequence[float] | None,
        temperature: float,
        clip: bool,
        seed: int | None,
        train_noise_model: bool,
    ) -> None:
        """Make it, from the arguments of `NoiseFlowLayer`."""
        self.noise_model = _from_config(model) if isinstance(model, dict) else model
        space = self.noise_model.condition_space
        pairs = [(int(iso), space.cameras[int(space.camera_index(cam))]) for iso, cam in conditions]
        if not pairs:
            raise ValueError("conditions must be one or more pairs of ISO and camera; got none")
        levels, cameras = zip(*pairs, strict=True)
        space.check(levels, cameras)
        shares = np.ones(len(pairs)) if weights is None else np.asarray(weights, np.float64)
        allowed = shares.shape == (len(pairs),) and (shares >= 0).all()
        if not (allowed and 0 < shares.sum() < np.inf):
            raise ValueError(
                f"weights must be one for each of the {len(pairs)} conditions, not negative and "
                f"not all zero; got {weights}"
            )
        if not 0 <= temperature < np.inf:
            raise ValueError(f"temperature must be finite and not negative; got {temperature}")
        self._pairs = pairs
        self._iso = np.array(levels, np.float32)
        self._camera = space.camera_index(cameras).numpy()
        self._thresholds = np.cumsum(shares / shares.sum())[:-1].astype(np.float32)
        self.options: dict[str, Any] = {
            "weights": None if weights is None else shares.tolist(),
            "temperature": float(temperature),
            "clip": bool(clip),
            "seed": seed,
            "train_noise_model": bool(train_noise_model),
        }
        random = tf.random.Generator
        self.generator = (
            random.from_non_deterministic_state() if seed is None else random.from_seed(seed)
        )

    @tf.autograph.experimental.do_not_convert
    def output(self, inputs: tf.Tensor, training: Any, dtype: Any) -> tf.Tensor:
        """Return the noisy images in training, the clean ones otherwise.

        Args:
            inputs: `[B, H, W, 4]` or `[H, W, 4]`, of any floating-point type.
            training: a bool, None for False, or a scalar tensor.
            dtype: of the output; the noise is computed in float32 in any case.

        Raises:
            ValueError: images that `conditions.packed` refuses; integers also outside training.
        """
        if not inputs.dtype.is_floating:
            packed(_batch(inputs))

        def noisy() -> tf.Tensor:
            return tf.cast(self._noisy(inputs), dtype)

        def clean() -> tf.Tensor:
            return tf.cast(inputs, dtype)

        if training is None or isinstance(training, bool | int):
            return noisy() if training else clean()
        return tf.cond(tf.cast(training, tf.bool), noisy, clean)

    def _noisy(self, inputs: tf.Tensor) -> tf.Tensor:
        clean = packed(_batch(inputs))
        seeds = self.generator.make_seeds(2)
        uniform = tf.random.stateless_uniform([tf.shape(clean)[0]], seeds[:, 0])
        pair = tf.searchsorted(self._thresholds, uniform, side="right")
        p = self.noise_model(
            tf.clip_by_value(clean, 0.0, 1.0),
            tf.gather(self._iso, pair),
            tf.gather(self._camera, pair),
        )
        latent = tf.random.stateless_normal(tf.shape(clean), seeds[:, 1])
        noisy = clean + p.noise_of(latent * self.options["temperature"])
        if self.options["clip"]:
            # XLA would clip NaN, its mark of a refused image, to 0.
            noisy = tf.clip_by_value(noisy, 0.0, 1.0) + 0.0 * clean
        return tf.ensure_shape(tf.reshape(noisy, tf.shape(inputs)), inputs.shape)

    @property
    def trained(self) -> list[tf.Variable]:
        """Return the variables that the surrounding model trains."""
        train = self.options["train_noise_model"]
        return list(self.noise_model.trainable_variables) if train else []

    def config(self) -> dict[str, Any]:
        """Return the arguments that recreate this, weights included, as JSON values."""
        return {
            "model": _to_config(self.noise_model),
            "conditions": [list(pair) for pair in self._pairs],
            **self.options,
        }

    def save(self, store: Any) -> None:
        """Write the noise model's weights to a dict-like store of Keras."""
        for number, variable in enumerate(self.noise_model.variables):
            store[str(number)] = variable.numpy()

    def load(self, store: Any) -> None:
        """Read the noise model's weights from a store that `save` has written.

        Raises:
            ValueError: the weights of another architecture.
        """
        variables = self.noise_model.variables
        values = [np.asarray(store[str(number)]) for number in range(len(store.keys()))]
        if [value.shape for value in values] != [tuple(v.shape) for v in variables]:
            raise ValueError(
                f"the file's noise model has other weights than {self.noise_model.arch!r}, "
                "which this layer was made with"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _batch(images: tf.Tensor) -> tf.Tensor:
    return images if images.shape.rank == 4 else images[tf.newaxis]


def _to_config(model: NoiseFlow) -> dict[str, Any]:
    """Return the model's arguments and weights as JSON values."""
    file = io.BytesIO()
    np.savez_compressed(file, *(variable.numpy() for variable in model.variables))
    arguments = json.loads(json.dumps(recipe(model)))  # Keras 3 would load a tuple as a dict
    return {**arguments, "variables": base64.b64encode(file.getvalue()).decode()}


def _from_config(config: dict[str, Any]) -> NoiseFlow:
    arguments = dict(config)
    file = io.BytesIO(base64.b64decode(arguments.pop("variables")))
    model = NoiseFlow(**arguments)
    with np.load(file, allow_pickle=False) as arrays:
        for number, variable in enumerate(model.variables):
            variable.assign(arrays[f"arr_{number}"])
    return model
