"""What is timed: steps on a batch of patches, and noise for whole images."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from benchmarks.straight_port import StraightTrainer
from benchmarks.turns import Operation

PATCH = (32, 32, 4)
_STEPS_A_TURN = 4
_NOT_SQUARE = 4 / 3


def make_batch(size: int) -> dict[str, tf.Tensor]:
    """Noise of all cameras and ISO levels on flat patches of all intensities."""
    rng = np.random.default_rng(0)
    clean = np.broadcast_to(rng.uniform(size=(size, 1, 1, 1)), (size, *PATCH)).astype(np.float32)
    noise = (rng.normal(size=clean.shape) * np.sqrt(0.01 * clean + 1e-4)).astype(np.float32)
    iso = rng.choice(nf.ISO_LEVELS, size).astype(np.int32)
    camera = rng.integers(0, len(nf.CAMERAS), size, dtype=np.int32)
    return {
        name: tf.constant(values)
        for name, values in zip(
            ("noise", "clean", "iso", "camera"), (noise, clean, iso, camera), strict=True
        )
    }


def make_operations(
    what: list[str], batch: dict, model: nf.NoiseFlow, port=None
) -> dict[str, Operation]:
    """By name, some steps on a batch, counted in patches."""
    noise, conditions = batch["noise"], (batch["clean"], batch["iso"], batch["camera"])
    called = model if port is None else port
    trainer_class = nf.Trainer if port is None else StraightTrainer

    @tf.function(autograph=False)
    def log_prob():
        return called(*conditions).log_prob(noise)

    @tf.function(autograph=False)
    def sample():
        return called(*conditions).sample()

    def several(step):
        def run():
            return [step() for _ in range(_STEPS_A_TURN)][-1].numpy()

        return Operation(run, _STEPS_A_TURN * noise.shape[0])

    operations = {"log_prob": several(log_prob), "sample": several(sample)}
    if "train" in what:
        trainer = trainer_class(called)
        trainer.compile(tf_keras.optimizers.Adam(1e-4, epsilon=1e-8))
        step = trainer.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        operations["train"] = several(lambda: step(batches)["loss"])
    return {name: operations[name] for name in what if name in operations}


def make_images(
    sizes: list[float], model: nf.NoiseFlow, done: Callable[[str], None]
) -> dict[str, Operation]:
    """By name, noise for a whole image of so many megapixels, and telling `done` its name."""

    def operation(name, size):
        height = max(1, round((size * 1e6 / 4 / _NOT_SQUARE) ** 0.5))
        clean = np.full([height, max(1, round(height * _NOT_SQUARE)), 4], 0.3, np.float32)

        def run():
            nf.sample_image(model, clean, 800, "S6")
            done(name)

        return Operation(run, clean.size / 1e6)

    return {name: operation(name, size) for size in sizes for name in [f"{size:g} MP"]}
