"""Small data that several tests share."""

import numpy as np
import tensorflow as tf

import noise_flow_tf as nf


def make_batches(seed=0, count=24, size=8, batch_size=8):
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0.05, 0.95, (count, size, size, 4)).astype(np.float32)
    stddev = np.sqrt(0.01 * clean + 1e-4)
    examples = {
        "clean": clean,
        "noise": (stddev * rng.normal(size=clean.shape)).astype(np.float32),
        "iso": rng.choice(nf.ISO_LEVELS, count).astype(np.int32),
        "camera": rng.integers(0, 5, count, np.int32),
        "nlf": np.tile(np.float32([0.01, 1e-4]), (count, 1)),
    }
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)


def learned(model) -> dict[str, np.ndarray]:
    """What a model has learned, without what only rounding decides.

    A bias before batch norm has no gradient but rounding, which Adam turns into steps, and the
    average of the mean follows it.
    """
    return {
        f"{number} {variable.name}": variable.numpy()
        for number, variable in enumerate(model.variables)
        if not variable.name.startswith(("bias1", "bias2", "mean"))
    }
