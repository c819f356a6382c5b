"""Weights for NumPy: what the compiled core needs to run without TensorFlow."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.native.model import FORMAT
from noise_flow_tf.native.ops import OpCode
from noise_flow_tf.saving.files import replacing


def save_npz(model: NoiseFlow, path: str | Path) -> None:
    """Write a model's weights for `noise_flow_tf.native.load`.

    What depends on ISO and camera is written as a table of one value for each of them.

    Args:
        model: its layers must be those that the compiled core knows.
        path: of the `.npz` file, which is replaced at once.

    Raises:
        ValueError: another ending than `.npz`; a layer that the compiled core does not know.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: the file's name must end in .npz")
    cameras, levels = len(model.cameras), len(model.iso_levels)
    iso = np.repeat(model.iso_levels, cameras)
    camera = np.tile(np.arange(cameras), levels)
    all_pairs = replace(model.condition_space, camera_levels=())
    conditions = all_pairs.resolve(np.zeros([len(iso), 1, 1, 4]), iso, camera)
    ops = model.ops(conditions, training=False)
    if ops is None:
        raise ValueError(f"architecture {model.arch!r} has a layer that the compiled core has not")
    arrays: dict[str, Any] = {}
    table = []
    for number, op in enumerate(ops):
        values = [tf.convert_to_tensor(p).numpy() for p in op.parameters]
        table.append((op.code, values[0].shape[-1] if op.code == OpCode.COUPLING else 0))
        if op.code in (OpCode.SIGNAL, OpCode.GAIN):
            values = [value.reshape(levels, cameras) for value in values]
        arrays |= {f"{number}/{k}": value for k, value in enumerate(values)}
    about = {
        "format": FORMAT,
        "arch": model.arch,
        "cameras": model.cameras,
        "iso_levels": model.iso_levels,
        "iso_interpolation": model.iso_interpolation,
        "camera_levels": model.camera_levels,
    }
    arrays["ops"] = np.array(table, np.int32).reshape(-1, 2)
    arrays["about"] = np.array(json.dumps(about))
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
