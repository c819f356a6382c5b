"""Common parts of the studies: training on selected frames of the offline dataset, and the NLL."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli import parsing
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.programs.options import positive_int
from noise_flow_tf.training import schedules
from noise_flow_tf.training.names import RATES

tf.get_logger().setLevel("ERROR")

DATASET = "data/synthetic_sidd"
BATCH = 46


def parser(name: str, about: str | None) -> parsing.Parser:
    parser = parsing.Parser(prog=f"studies.{name}", description=about)
    parser.option("out", metavar="FOLDER", default=f"runs/{name}", help="output folder")
    parser.option("epochs", type=positive_int, default=24, help="of the first training")
    parser.option(
        "reference",
        metavar="RUN",
        default="runs/demo",
        help="a run of train.py on the whole offline dataset, to compare with",
    )
    parser.option("seed", type=int, default=0, help="of initial values and shuffling")
    return parser


def frames(
    split: str, cameras: Sequence[str] | None = None, isos: Sequence[int] | None = None
) -> list[sidd.Frame]:
    """Select frames of the offline dataset, which is written first if there is none."""
    root = sidd.write_synthetic(DATASET, exist_ok=True)
    return sidd.select_frames(sidd.index(root), split, cameras=cameras, isos=isos)


def batches(frames: Sequence[sidd.Frame], shuffle: bool, seed: int = 0) -> tf.data.Dataset:
    """Make batches of the frames' patches, with cameras by their codes."""
    codes = tf.constant(sidd.CAMERAS)
    patches = sidd.Patches(frames, seed=seed, progress=False).batches(BATCH, shuffle=shuffle)
    return patches.map(lambda batch: batch | {"camera": tf.gather(codes, batch["camera"])})


def train(model: nf.NoiseFlow, data: tf.data.Dataset, steps: int) -> nf.NoiseFlow:
    """Train as `train.py` does: maximum likelihood, Adam, a warm-up to 1e-2 and a cosine decay."""
    trainer = nf.Trainer(model)
    trainer.compile(schedules.adam("cosine", RATES["cosine"], steps))
    trainer.fit(data.repeat(), steps_per_epoch=steps, epochs=1, verbose=2)
    return model


def nll(model: nf.NoiseFlow, data: tf.data.Dataset, iso: int | None = None) -> float:
    """Return the NLL in nats per dimension; `iso`, if any, replaces the true one."""

    @tf.function(autograph=False)
    @own_graph()
    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        p = model(batch["clean"], batch["iso"] if iso is None else iso, batch["camera"])
        return nf.metrics.nll_per_dimension(p.log_prob(batch["noise"]), batch["noise"])

    return float(np.mean(np.concatenate([step(batch) for batch in data])))
