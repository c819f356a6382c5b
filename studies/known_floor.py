"""The gap of training to a known floor: python -m studies.known_floor --model PATH --out FOLDER.

Noise is drawn from a given model, for instance the released one, on clean patches of the offline
dataset, with every pair of camera and ISO level that SIDD has. A new model is trained on it from
scratch. On held-out draws, no model has a lower expected NLL than the given one: the gap, in nats
per dimension, is the Kullback-Leibler divergence of the trained model from it.
"""

import argparse
import json
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting
from noise_flow_tf.cli import parsing
from noise_flow_tf.evaluation.metrics import nll_per_dimension
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.programs.options import not_negative, positive_float, positive_int
from noise_flow_tf.training import schedules
from noise_flow_tf.training.names import BATCHES, BETA_2, RATES
from sidd.offline import synthetic
from sidd.progress import progress_bar

_TRAIN_COPIES = 12
_TEST_COPIES = 4
_BATCH = 138


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parsing.Parser(description=__doc__.partition("\n")[0])
    add = parser.option
    add("model", metavar="PATH", required=True, help="the truth: a run, SavedModel or checkpoint")
    add("out", metavar="FOLDER", required=True, help="output folder")
    add("dataset", metavar="ROOT", default="data/synthetic_sidd", help="the offline dataset")
    add("schedules", nargs="+", default=["cosine", "release"], choices=["cosine", "release"])
    add("steps", type=positive_int, default=12000, help="training steps of each schedule")
    add("lr", type=positive_float, help="peak of the cosine; not the release's rate")
    add("batch", type=positive_int, help="patches in a training batch; by default as train.py")
    add("evaluations", type=positive_int, default=40, help="measurements of the gap")
    add(
        "average_batches",
        type=not_negative,
        default=32,
        help="batches to estimate batch norm's averages from; 0 keeps those of training",
    )
    add("seed", type=int, default=0)
    return parser.parse_args(arguments)


def clean_patches(root: Path, split: str) -> np.ndarray:
    """Read clean patches `[n, 32, 32, 4]`, of one frame of each scene of a split."""
    frames = sidd.select_frames(sidd.index(root), split, frame_range=(10, 11))
    batches = sidd.Patches(frames).batches(shuffle=False)
    return np.concatenate([batch["clean"].numpy() for batch in batches])


def draws(truth: nf.NoiseFlow, clean: np.ndarray, copies: int, seed: int) -> dict[str, np.ndarray]:
    """Draw examples with noise of the truth: each clean patch under `copies` conditions."""
    random = np.random.default_rng(seed)
    pairs = synthetic.camera_iso_pairs()
    chosen = random.integers(len(pairs), size=copies * len(clean))
    camera = np.array([sidd.CAMERAS.index(pairs[i][0]) for i in chosen], np.int32)
    iso = np.array([pairs[i][1] for i in chosen], np.int32)
    clean = np.tile(clean, [copies, 1, 1, 1])
    sample = tf.function(
        own_graph()(partial(nf.sampling.sample_noise, truth)),
        reduce_retracing=True,
        autograph=False,
    )
    noise = []
    for start in progress_bar(range(0, len(clean), _BATCH), "drawing noise", leave=False):
        part = slice(start, start + _BATCH)
        noise.append(sample(clean[part], iso[part], camera[part], tf.constant(seed + start)))
    return {"clean": clean, "iso": iso, "camera": camera, "noise": np.concatenate(noise)}


class Gap(tf_keras.callbacks.Callback):
    """Measures the gap at intervals of steps; evaluation is not counted in its minutes."""

    def __init__(
        self,
        trainer: nf.Trainer,
        held_out: tf.data.Dataset,
        floor: float,
        average_batches: tf.data.Dataset | None,
        interval: int,
    ) -> None:
        super().__init__()
        self.curve: list[dict[str, float]] = []
        self._trainer, self._held_out, self._floor = trainer, held_out, floor
        self._average_batches, self._interval = average_batches, interval
        self._seconds, self._steps = 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._seconds += time.perf_counter() - self._start
        self._steps += 1
        if self._steps % self._interval == 0:
            self.measure()

    def measure(self) -> None:
        start = time.perf_counter()
        if self._average_batches is not None:
            self._trainer.reestimate_averages(self._average_batches)
        self._seconds += time.perf_counter() - start
        nll = mean_nll(self._trainer.noise_model, self._held_out)
        gap = nll - self._floor
        self.curve.append({"steps": self._steps, "minutes": self._seconds / 60, "gap": gap})
        print(f"step {self._steps}: {self._seconds / 60:.2f} minutes, gap {gap:.5f}", flush=True)


def mean_nll(model: nf.NoiseFlow, batches: Iterable[dict[str, tf.Tensor]]) -> float:
    """Return the mean NLL in nats per dimension."""

    @tf.function(reduce_retracing=True, autograph=False)
    @own_graph()
    def score(b: dict[str, tf.Tensor]) -> tf.Tensor:
        p = model(b["clean"], b["iso"], b["camera"])
        return nll_per_dimension(p.log_prob(b["noise"]), b["noise"])

    return float(np.concatenate([score(batch) for batch in batches]).mean())


def train(
    schedule: str,
    args: argparse.Namespace,
    examples: dict[str, np.ndarray],
    held_out: tf.data.Dataset,
    floor: float,
) -> list[dict[str, float]]:
    """Train a new model, and return the curve of its gap."""
    tf_keras.utils.set_random_seed(args.seed)
    trainer = nf.Trainer(nf.NoiseFlow(seed=args.seed))
    rate = args.lr if args.lr and schedule == "cosine" else RATES[schedule]
    trainer.compile(schedules.adam(schedule, rate, args.steps, beta_2=BETA_2[schedule]))
    count = len(examples["iso"])
    batches = tf.data.Dataset.from_tensor_slices(examples).shuffle(count, args.seed).repeat()
    batches = batches.batch(args.batch or BATCHES[schedule]).prefetch(2)
    average_batches = batches.take(args.average_batches) if args.average_batches else None
    gap = Gap(trainer, held_out, floor, average_batches, max(1, args.steps // args.evaluations))
    trainer.fit(batches, steps_per_epoch=args.steps, epochs=1, verbose=0, callbacks=[gap])
    return gap.curve


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    truth = nf.load(args.model)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    root = sidd.write_synthetic(args.dataset, exist_ok=True)
    examples = draws(truth, clean_patches(root, "train"), _TRAIN_COPIES, args.seed)
    held_out = draws(truth, clean_patches(root, "test"), _TEST_COPIES, args.seed + 2**20)
    held_out = tf.data.Dataset.from_tensor_slices(held_out).batch(_BATCH)
    floor = mean_nll(truth, held_out)
    print(f"{len(examples['iso'])} training patches; the truth's NLL is {floor:.4f}")
    curves = {name: train(name, args, examples, held_out, floor) for name in args.schedules}
    with sidd.replacing(out / "known_floor.json") as path:
        path.write_text(json.dumps({**vars(args), "floor": floor, "curves": curves}, indent=2))
    chart = plotting.Chart(
        {name: ([p["minutes"] for p in c], [p["gap"] for p in c]) for name, c in curves.items()},
        title="Gap to the model that the noise was drawn from",
        xlabel="minutes of training",
        ylabel="gap in nats per dimension",
        logarithmic=True,
    )
    figure = plotting.charts(chart)
    with sidd.replacing(out / "known_floor.png") as path:
        figure.savefig(path, format="png")


if __name__ == "__main__":
    parsing.run(main, "studies.known_floor")
