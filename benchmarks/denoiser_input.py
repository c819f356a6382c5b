"""How long training a denoiser waits for its noise: python -m benchmarks.denoiser_input.

For each kind of noise, the steps of `noise-flow train-denoiser` are timed, and in them the wait
for the next noisy batch, which tf.data draws meanwhile; then how fast batches come where nobody
trains.
"""

import json
import time
from collections.abc import Iterator

import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.cli import parsing
from noise_flow_tf.cli import train_denoiser as flags_of
from noise_flow_tf.denoising import schedules, sources
from noise_flow_tf.programs import dataset

_WARM_UP = 10


def parse(arguments=None):
    parser = parsing.Parser(prog="benchmarks.denoiser_input", description=__doc__)
    add = parser.option
    add(
        "model",
        metavar="PATH",
        default="runs/demo",
        help="noise model for noise_flow: run folder, SavedModel or released checkpoint",
    )
    add("sidd_path", metavar="ROOT", help="SIDD; by default the offline dataset")
    add("n_batch_train", type=parsing.positive(int), default=8, help="patches in a batch")
    add("depth", type=parsing.positive(int), default=9, help="convolutions of the DnCNN")
    add("width", type=parsing.positive(int), default=32, help="filters of each")
    add("steps", type=parsing.positive(int), default=200, help="that are timed")
    add("json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args(arguments)


def training_flags(args, noise: str):
    given = ["--noise", noise, "--n_batch_train", str(args.n_batch_train), "--stride", "32"]
    given += ["--sidd_path", args.sidd_path] if args.sidd_path else []
    given += ["--model", args.model] if sources.SOURCES[noise].needs_model else []
    given += ["--depth", str(args.depth), "--width", str(args.width)]
    return flags_of.parse(given)


def make_batches(flags, patches: sidd.Patches) -> tf.data.Dataset:
    with tf.device("CPU"):  # where tf.data runs
        model = nf.load(flags.model) if flags.model else None
    source = sources.make(flags.noise, patches.nlf_table(), model, flags.gauss_mix)
    clean = patches.batches(flags.n_batch_train, drop_remainder=True, repeat=True)
    return denoising.noisy_batches(clean, source, parallel=flags.n_train_threads)


def time_steps(batches: Iterator, trainer, steps: int) -> tuple[float, float]:
    """Seconds of a step, and of the wait in it."""
    step = tf.function(trainer.train_step, reduce_retracing=True)
    waited = 0.0
    for number in range(_WARM_UP + steps):
        if number == _WARM_UP:
            began, waited = time.perf_counter(), 0.0
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(batch)["loss"].numpy()
    return (time.perf_counter() - began) / steps, waited / steps


def time_input(batches: Iterator, steps: int) -> float:
    """Seconds of a batch where nobody trains."""
    for _ in range(_WARM_UP):
        next(batches)
    began = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return (time.perf_counter() - began) / steps


def main(arguments=None):
    args = parse(arguments)
    told = {}
    print("noise       ms a step   of it waiting   batches a second without training")
    for noise in sources.SOURCES:
        flags = training_flags(args, noise)
        frames = dataset.frames(flags, "train")
        patches = dataset.patches(flags, frames, sidd.CAMERAS, stride=flags.stride)
        batches = make_batches(flags, patches)
        trainer = denoising.DenoiserTrainer(denoising.DnCNN(flags.depth, flags.width, seed=0))
        trainer.compile(schedules.adam("cosine", 3e-3, 1, _WARM_UP + args.steps))
        step, waited = time_steps(iter(batches), trainer, args.steps)
        alone = time_input(iter(batches), args.steps)
        told[noise] = {"step": step, "waited": waited, "input_alone": alone}
        print(f"{noise:10}  {1e3 * step:9.1f}   {waited / step:13.1%}   {1 / alone:.0f}")
    if args.json:
        print(json.dumps(told))


if __name__ == "__main__":
    parsing.run(main, "benchmarks.denoiser_input")
