"""Models of any kind as SavedModels, and back from what training saved."""

import json
import os
from typing import Any

import tensorflow as tf

from noise_flow_tf.native.use import without_core
from noise_flow_tf.saving import exports
from noise_flow_tf.saving.files import (
    check_name,
    readable,
    reading,
    replacing,
    settled,
)
from noise_flow_tf.saving.kinds import NOISE_MODEL, Kind
from noise_flow_tf.saving.run_folder import FORMAT, check_format


def save(model: Any, path: str | os.PathLike, kind: Kind = NOISE_MODEL) -> None:
    """Write a model as a SavedModel that plain TensorFlow can serve.

    Its signatures are those of `noise_flow_tf.saving.exports`. An existing SavedModel is replaced
    at once, when the new one is complete.

    Raises:
        ValueError: a model of another kind, or a path in which TensorFlow finds nothing.
        OSError: it cannot be written; an existing one is kept.
    """
    about = {"format": FORMAT, "kind": kind.name, **recipe(model, kind)}
    export = getattr(exports, kind.export)(model)
    check_name(path)
    with replacing(path) as partial, without_core():
        try:
            tf.saved_model.save(export, str(partial), export.signatures())
        except tf.errors.OpError as error:
            raise OSError(error.message.splitlines()[0].rpartition("; ")[2]) from error
        (partial / kind.about).write_text(json.dumps(about), encoding="utf-8")


def load_saved_model(path: str | os.PathLike, kind: Kind = NOISE_MODEL) -> Any:
    """Load the model of a SavedModel that `save` wrote.

    Raises:
        ValueError: a folder that holds no SavedModel of the kind, or a damaged one.
    """
    path = settled(path)
    with reading(f"{path} is not a SavedModel of a {kind.title}"):
        about = json.loads((path / kind.about).read_text(encoding="utf-8"))
        check_format(about, path)
        recipe = {name: about[name] for name in about.keys() - {"format", "kind"}}
    return restore(path / "variables" / "variables", kind, **recipe)


def recipe(model: Any, kind: Kind = NOISE_MODEL) -> dict[str, Any]:
    """Return what `restore` needs besides the weights, as JSON can hold it.

    Raises:
        ValueError: a model of another kind.
    """
    if not isinstance(model, kind.model_class):
        expected = kind.model_class.__name__
        raise ValueError(f"only a {expected} can be saved; this is a {type(model).__name__}")
    return {name: getattr(model, name) for name in kind.recipe}


def restore(prefix: str | os.PathLike, kind: Kind = NOISE_MODEL, /, **recipe: Any) -> Any:
    """Make a model of a `recipe` with the weights of a checkpoint, where its kind's key holds them.

    `prefix` is the checkpoint's path without `.index`.

    Raises:
        ValueError: no such checkpoint, a damaged one, or one of another model.
    """
    with reading(f"checkpoint {prefix} has a wrong description of its model"):
        model = kind.model_class(**recipe)
    try:
        with readable(prefix) as path:
            status = tf.train.Checkpoint(**{kind.key: model}).read(path)
            status.assert_existing_objects_matched().expect_partial()
    except Exception as error:  # TensorFlow raises many kinds for a damaged file
        reason = str(error).partition(", likely due")[0].strip() or type(error).__name__
        raise ValueError(
            f"checkpoint {prefix} cannot be read as {kind.label.format(**recipe)}: {reason}"
        ) from error
    return model
