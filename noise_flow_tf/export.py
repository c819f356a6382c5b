"""Models as SavedModels, and back from what training saved."""

import json
import os
import shutil
from pathlib import Path

import tensorflow as tf

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.sampling import sample_noise

_ABOUT = "noise_flow.json"


class _Export(tf.Module):
    """The model with the functions that become signatures."""

    def __init__(self, model: NoiseFlow):
        super().__init__()
        self.noise_model = model

    @tf.function
    def sample(self, clean, iso, camera, temperature, seed):
        return {"noise": sample_noise(self.noise_model, clean, iso, camera, seed, temperature)}

    @tf.function
    def log_prob(self, noise, clean, iso, camera):
        return {"log_prob": self.noise_model(clean, iso, camera).log_prob(noise)}


def save(model: NoiseFlow, path: str | os.PathLike) -> None:
    """Writes a model as a SavedModel that plain TensorFlow can serve.

    Signatures: `sample(clean, iso, camera, temperature, seed)` gives `noise` `[B, H, W, 4]`, and
    `log_prob(noise, clean, iso, camera)` gives `log_prob` `[B]` in nats; any batch and image size.
    `iso` (the level itself) and `camera` (the index) are int32 `[B]`, or `[1]` for all. An existing
    SavedModel is replaced once the new one is complete.
    """
    path = Path(path)
    image = tf.TensorSpec([None, None, None, 4], tf.float32)
    condition = tf.TensorSpec([None], tf.int32)
    export = _Export(model)

    def named(spec, name):
        return tf.TensorSpec(spec.shape, spec.dtype, name)

    conditions = [named(image, "clean"), named(condition, "iso"), named(condition, "camera")]
    signatures = {
        "sample": export.sample.get_concrete_function(
            *conditions,
            tf.TensorSpec([], tf.float32, "temperature"),
            tf.TensorSpec([], tf.int32, "seed"),
        ),
        "log_prob": export.log_prob.get_concrete_function(named(image, "noise"), *conditions),
    }
    beside = path.with_name(path.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    tf.saved_model.save(export, str(beside), signatures)
    (beside / _ABOUT).write_text(json.dumps({"arch": model.arch, "width": model.width}))
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
        return restore(about["arch"], about["width"], path / "variables" / "variables")
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a SavedModel of a Noise Flow: {error}") from error


def restore(arch: str, width: int, prefix: str | os.PathLike) -> NoiseFlow:
    """A model with the weights of a checkpoint in which it is called `noise_model`.

    Raises:
        ValueError: no such checkpoint, a damaged one, or one of another architecture.
    """
    model = NoiseFlow(arch, width)
    try:
        status = tf.train.Checkpoint(noise_model=model).read(str(prefix))
        status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, AssertionError, ValueError) as error:
        raise ValueError(f"checkpoint {prefix} cannot be read as {arch!r}: {error}") from error
    return model
