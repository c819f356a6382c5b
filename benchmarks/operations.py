"""The operations that are timed: steps on a batch of patches, and noise for whole images."""

from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from benchmarks.straight_port import StraightPort, StraightTrainer
from benchmarks.turns import Operation
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.training.adam import Adam

PATCH = (32, 32, 4)
STEPS_PER_TURN = 4
_ASPECT_RATIO = 4 / 3


def make_batch(size: int) -> dict[str, tf.Tensor]:
    """Make noise of all cameras and ISO levels on flat patches of all intensities."""
    rng = np.random.default_rng(0)
    clean = np.broadcast_to(rng.uniform(size=(size, 1, 1, 1)), (size, *PATCH)).astype(np.float32)
    noise = (rng.normal(size=clean.shape) * np.sqrt(0.01 * clean + 1e-4)).astype(np.float32)
    iso = rng.choice(nf.ISO_LEVELS, size).astype(np.int32)
    camera = rng.integers(0, len(nf.CAMERAS), size, dtype=np.int32)
    batch = {"noise": noise, "clean": clean, "iso": iso, "camera": camera}
    return {name: tf.constant(values) for name, values in batch.items()}


def make_operations(
    names: Collection[str], batch: dict[str, tf.Tensor], model: nf.NoiseFlow | StraightPort
) -> dict[str, Operation]:
    """Make operations of several steps on a batch, counted in patches, by name."""
    noise, conditions = batch["noise"], (batch["clean"], batch["iso"], batch["camera"])

    @tf.function(autograph=False)
    @own_graph()
    def log_prob() -> tf.Tensor:
        return model(*conditions).log_prob(noise)

    @tf.function(autograph=False)
    @own_graph()
    def sample() -> tf.Tensor:
        return model(*conditions).sample()

    def repeat(step: Callable[[], tf.Tensor]) -> Operation:
        def run() -> np.ndarray:
            return [step() for _ in range(STEPS_PER_TURN)][-1].numpy()

        return Operation(run, STEPS_PER_TURN * noise.shape[0])

    operations = {"log_prob": repeat(log_prob), "sample": repeat(sample)}
    if "train" in names:
        straight = isinstance(model, StraightPort)
        trainer = StraightTrainer(model) if straight else nf.Trainer(model)
        trainer.compile(tf_keras.optimizers.Adam(1e-4, epsilon=1e-8) if straight else Adam(1e-4))
        step = trainer.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        operations["train"] = repeat(lambda: step(batches)["loss"])
    return {name: operations[name] for name in names if name in operations}


def make_images(
    sizes: list[float], model: nf.NoiseFlow, on_finish: Callable[[str], object]
) -> dict[str, Operation]:
    """Make operations, by name, that sample noise for whole images of `sizes` megapixels.

    Each calls `on_finish` with its name.
    """

    def operation(name: str, size: float) -> Operation:
        height = max(1, round((size * 1e6 / 4 / _ASPECT_RATIO) ** 0.5))
        clean = np.full([height, max(1, round(height * _ASPECT_RATIO)), 4], 0.3, np.float32)

        def run() -> None:
            nf.sample_image(model, clean, 800, "S6")
            on_finish(name)

        return Operation(run, clean.size / 1e6)

    return {name: operation(name, size) for size in sizes for name in [f"{size:g} MP"]}
