"""Models as SavedModels, and back from what training saved."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.sampling.images import sample_noise
from noise_flow_tf.saving.run_folder import FORMAT, RunFolder, check_format

RECIPE = ("arch", "width", "cameras", "iso_levels", "iso_interpolation")
"""The names that `recipe` may give, arguments of `restore`."""

_ABOUT = "noise_flow.json"


def _image(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, None, None, 4], tf.float32, name)


_CONDITIONS = [
    _image("clean"),
    tf.TensorSpec([None], tf.int32, "iso"),
    tf.TensorSpec([None], tf.int32, "camera"),
]
_LATENT = [tf.TensorSpec([], tf.float32, "temperature"), tf.TensorSpec([], tf.int32, "seed")]


class _Export(tf.Module):
    """The model with the functions that become signatures.

    With an `input_signature` each is traced once; without one, saving would trace it again.
    """

    def __init__(self, model: NoiseFlow):
        super().__init__()
        self.noise_model = model

    @tf.function(input_signature=[*_CONDITIONS, *_LATENT], autograph=False)
    def sample(self, clean, iso, camera, temperature, seed):
        allowed = (temperature >= 0) & (temperature < np.inf)
        message = "temperature must be finite and not negative; got"
        with tf.control_dependencies([tf.debugging.Assert(allowed, [message, temperature])]):
            noise = sample_noise(self.noise_model, clean, iso, camera, seed, temperature)
        return {"noise": noise}

    @tf.function(input_signature=[_image("noise"), *_CONDITIONS], autograph=False)
    def log_prob(self, noise, clean, iso, camera):
        return {"log_prob": self.noise_model(clean, iso, camera).log_prob(noise)}

    @tf.function(input_signature=[], autograph=False)
    def conditions(self):
        space = self.noise_model.condition_space
        return {
            "cameras": tf.constant(space.cameras),
            "iso_levels": tf.constant(space.iso_levels, tf.int32),
            "iso_interpolation": tf.constant(space.iso_interpolation),
        }

    def signatures(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("sample", "log_prob", "conditions")}


class _ExportWithScale(_Export):
    """The same for models whose scale is defined."""

    @tf.function(input_signature=_CONDITIONS, autograph=False)
    def scale(self, clean, iso, camera):
        return {"scale": self.noise_model.predicted_scale(clean, iso, camera)}

    def signatures(self) -> dict[str, Any]:
        return super().signatures() | {"scale": self.scale}


def save(model: NoiseFlow, path: str | os.PathLike) -> None:
    """Writes a model as a SavedModel that plain TensorFlow can serve.

    Signatures, for any batch and image size:

    - `sample(clean, iso, camera, temperature, seed)` gives `noise` `[B, H, W, 4]`;
    - `log_prob(noise, clean, iso, camera)` gives `log_prob` `[B]` in nats;
    - `scale(clean, iso, camera)` gives `scale` `[B, H, W, 4]`, the standard deviation of the noise
      (`predicted_scale`, which also says which architectures have none);
    - `conditions()` gives the tables: `cameras`, the codes in index order, `iso_levels`, and
      `iso_interpolation`, whether ISO between two levels is allowed.

    `iso` (the level itself) and `camera` (the index) are int32 `[B]`, or `[1]` for all. An ISO or
    camera that the model does not know is an `InvalidArgumentError`. An existing SavedModel is
    replaced once the new one is complete.
    """
    path = Path(path)
    export = (_ExportWithScale if model.has_scale else _Export)(model)
    beside = path.with_name(path.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    tf.saved_model.save(export, str(beside), export.signatures())
    about = {"format": FORMAT, "kind": RunFolder.kind, **recipe(model)}
    (beside / _ABOUT).write_text(json.dumps(about))
    shutil.rmtree(path, ignore_errors=True)
    os.replace(beside, path)


def load_saved_model(path: str | os.PathLike) -> NoiseFlow:
    """The model of a SavedModel that `save` wrote.

    Raises:
        ValueError: a folder that holds no SavedModel of a Noise Flow, or a damaged one.
    """
    path = Path(path)
    try:
        about = json.loads((path / _ABOUT).read_text())
        check_format(about, path)
        about = {name: value for name, value in about.items() if name not in ("format", "kind")}
        return restore(path / "variables" / "variables", **about)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a SavedModel of a Noise Flow: {error}") from error


def recipe(model: NoiseFlow) -> dict[str, Any]:
    """What `restore` needs beside the weights, as JSON can hold it."""
    if not isinstance(model, NoiseFlow):
        raise ValueError(f"only a NoiseFlow can be saved; this is a {type(model).__name__}")
    return {"arch": model.arch, "width": model.width, **vars(model.condition_space)}


def restore(prefix: str | os.PathLike, **recipe: Any) -> NoiseFlow:
    """A model with the weights of a checkpoint in which it is called `noise_model`.

    Args:
        prefix: the checkpoint's path without `.index`.
        **recipe: arguments of `NoiseFlow`, those of `RECIPE`.

    Raises:
        ValueError: no such checkpoint, a damaged one, or one of another architecture.
    """
    model = NoiseFlow(**recipe)
    try:
        status = tf.train.Checkpoint(noise_model=model).read(str(prefix))
        status.assert_existing_objects_matched().expect_partial()
    except Exception as error:  # TensorFlow raises many kinds for a damaged file
        raise ValueError(
            f"checkpoint {prefix} cannot be read as {recipe['arch']!r}: {error}"
        ) from error
    return model
