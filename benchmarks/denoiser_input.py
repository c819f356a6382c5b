"""The time that training a denoiser waits for its noise: python -m benchmarks.denoiser_input.

For each kind of noise that needs no model or is drawn by `--model`, this times the steps of
`noise-flow train-denoiser`, the part of them spent waiting for the next noisy batch, which tf.data
draws in parallel, and the batches without training.
"""

import argparse
import json
import time
from collections.abc import Iterator

import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.cli import parsing
from noise_flow_tf.cli import train_denoiser as command
from noise_flow_tf.denoising import sources
from noise_flow_tf.programs import dataset
from noise_flow_tf.programs.configs import TrainDenoiserConfig
from noise_flow_tf.programs.options import positive_int
from noise_flow_tf.training import schedules

_WARM_UP = 10


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parsing.Parser(prog="benchmarks.denoiser_input", description=__doc__)
    add = parser.option
    add(
        "model",
        metavar="PATH",
        default="runs/demo",
        help="noise model: run folder, SavedModel or released checkpoint, whose kind of noise is "
        "timed beside those that need no model",
    )
    add("sidd_path", metavar="ROOT", help="SIDD; by default the offline dataset")
    add("n_batch_train", type=positive_int, default=8, help="patches in a batch")
    add("depth", type=positive_int, default=9, help="convolutions of the DnCNN")
    add("width", type=positive_int, default=32, help="filters of each")
    add("steps", type=positive_int, default=200, help="timed steps")
    add("json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args(arguments)


def training_config(args: argparse.Namespace, noise: str) -> TrainDenoiserConfig:
    flags = ["--noise", noise, "--n_batch_train", str(args.n_batch_train), "--stride", "32"]
    flags += ["--sidd_path", args.sidd_path] if args.sidd_path else []
    flags += ["--model", args.model] if sources.SOURCES[noise].needs_model else []
    flags += ["--depth", str(args.depth), "--width", str(args.width)]
    return command.parse(flags)


def make_batches(config: TrainDenoiserConfig, patches: sidd.Patches) -> tf.data.Dataset:
    with tf.device("CPU"):  # where tf.data runs
        model = nf.load(config.model) if config.model else None
    source = sources.make(config.noise, patches.nlf_table(), model, config.gauss_mix)
    clean = patches.batches(config.n_batch_train, drop_remainder=True, repeat=True)
    return denoising.noisy_batches(clean, source, parallel=config.n_train_threads)


def time_steps(
    batches: Iterator, trainer: denoising.DenoiserTrainer, steps: int
) -> tuple[float, float]:
    """Measure the seconds of a step, and of the wait in it."""
    step = tf.function(trainer.train_step, reduce_retracing=True)
    waited = 0.0
    for number in range(_WARM_UP + steps):
        if number == _WARM_UP:
            start, waited = time.perf_counter(), 0.0
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(batch)["loss"].numpy()
    return (time.perf_counter() - start) / steps, waited / steps


def time_input(batches: Iterator, steps: int) -> float:
    """Measure the seconds of a batch without training."""
    for _ in range(_WARM_UP):
        next(batches)
    start = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return (time.perf_counter() - start) / steps


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    results = {}
    kind = getattr(nf.load(args.model), "kind", "noise_flow")
    print("noise       ms per step   waiting   batches per second without training")
    for noise, source in sources.SOURCES.items():
        if source.needs_model and noise != kind:
            continue
        config = training_config(args, noise)
        frames = dataset.frames(config, "train")
        patches = dataset.patches(config, frames, sidd.CAMERAS, stride=config.stride)
        batches = make_batches(config, patches)
        trainer = denoising.DenoiserTrainer(denoising.DnCNN(config.depth, config.width, seed=0))
        trainer.compile(schedules.adam("cosine", 3e-3, _WARM_UP + args.steps))
        step, waited = time_steps(iter(batches), trainer, args.steps)
        alone = time_input(iter(batches), args.steps)
        results[noise] = {"step": step, "waited": waited, "input_alone": alone}
        print(f"{noise:10}  {1e3 * step:11.1f}   {waited / step:7.1%}   {1 / alone:.0f}")
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    parsing.run(main, "benchmarks.denoiser_input")
