"""Patches a second in training, log_prob and sampling: python -m benchmarks.throughput.

Every operation is compiled and warmed up, then all of them take turns in one process until each has
had its time, so that what else the machine does hits them alike. Told are the median over the turns
and the range that holds the middle 80% of them.
"""

import json
import os
import resource
import statistics
import sys
import time

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import numpy as np
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from benchmarks.straight_port import StraightPort, StraightTrainer

_PATCH = (32, 32, 4)
_STEPS_A_TURN = 4
_OPERATIONS = ("train", "log_prob", "sample")


def parse(arguments=None):
    parser = cli.Parser(prog="benchmarks.throughput", description=__doc__)
    add = parser.option
    add(
        "what",
        default=",".join(_OPERATIONS),
        metavar="LIST",
        help=f"which operations, joined by commas: {', '.join(_OPERATIONS)}",
    )
    add("batch", type=cli.positive(int), default=138, help="patches of 32 x 32 in a batch")
    add("seconds", type=cli.positive(float), default=10.0, help="time for each operation")
    add("compare", action="store_true", help="time benchmarks/straight_port.py beside it")
    add("json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args(arguments)
    args.what = args.what.split(",")
    unknown = [name for name in args.what if name not in _OPERATIONS]
    if unknown:
        parser.error(
            f"unknown operation {', '.join(unknown)}; allowed are {', '.join(_OPERATIONS)}"
        )
    return args


def make_batch(size: int) -> dict[str, tf.Tensor]:
    """Noise of all cameras and ISO levels on flat patches of all intensities."""
    rng = np.random.default_rng(0)
    clean = np.broadcast_to(rng.uniform(size=(size, 1, 1, 1)), (size, *_PATCH)).astype(np.float32)
    noise = (rng.normal(size=clean.shape) * np.sqrt(0.01 * clean + 1e-4)).astype(np.float32)
    iso = rng.choice(nf.ISO_LEVELS, size).astype(np.int32)
    camera = rng.integers(0, len(nf.CAMERAS), size, dtype=np.int32)
    return {
        name: tf.constant(values)
        for name, values in zip(
            ("noise", "clean", "iso", "camera"), (noise, clean, iso, camera), strict=True
        )
    }


def make_operations(what: list[str], batch: dict, model: nf.NoiseFlow, port=None) -> dict:
    """By name, functions of nothing that do `_STEPS_A_TURN` steps.

    A training step is the compiled function that Keras' `fit` calls.
    """
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
        return lambda: [step() for _ in range(_STEPS_A_TURN)][-1].numpy()

    operations = {"log_prob": several(log_prob), "sample": several(sample)}
    if "train" in what:
        trainer = trainer_class(called)
        trainer.compile(tf_keras.optimizers.Adam(1e-4, epsilon=1e-8))
        step = trainer.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        operations["train"] = several(lambda: step(batches)["loss"])
    return {name: operations[name] for name in what}


def measure(operations: dict, batch_size: int, seconds: float) -> dict[str, dict[str, float]]:
    starts, turns = {}, {name: [] for name in operations}
    for name, operation in operations.items():
        start = time.perf_counter()
        operation()
        starts[name] = time.perf_counter() - start
        operation()
    while any(sum(taken) < seconds for taken in turns.values()):
        for name, operation in operations.items():
            start = time.perf_counter()
            operation()
            turns[name].append(time.perf_counter() - start)
    results = {}
    for name, taken in turns.items():
        rates = np.array([_STEPS_A_TURN * batch_size / seconds for seconds in taken])
        low, high = np.quantile(rates, [0.1, 0.9])
        results[name] = {
            "patches_per_second": statistics.median(rates),
            "low": low,
            "high": high,
            "turns": len(taken),
            "first_call_seconds": starts[name],
        }
    return results


def main(arguments=None) -> None:
    args = parse(arguments)
    batch = make_batch(args.batch)
    model = nf.NoiseFlow(seed=0)
    operations = make_operations(args.what, batch, model)
    if args.compare:
        port = StraightPort(nf.NoiseFlow(seed=0))
        others = make_operations(args.what, batch, port.model, port)
        operations |= {f"straight {name}": operation for name, operation in others.items()}
    results = measure(operations, args.batch, args.seconds)
    print(f"batch {args.batch} on {os.cpu_count()} cores, TensorFlow {tf.__version__}")
    for name, result in results.items():
        line = (
            f"{name:18} {result['patches_per_second']:7.0f} patches/s "
            f"({result['low']:.0f} to {result['high']:.0f} in {result['turns']} turns; "
            f"first call {result['first_call_seconds']:.1f} s)"
        )
        yardstick = results.get(f"straight {name}")
        if yardstick:
            ratio = result["patches_per_second"] / yardstick["patches_per_second"]
            line += f"  {ratio:.2f} times the straight port"
        print(line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory        {peak:7.2f} GiB")
    if args.json:
        rates = {name: result["patches_per_second"] for name, result in results.items()}
        print(json.dumps({**rates, "batch": args.batch, "peak_gib": peak, "details": results}))


if __name__ == "__main__":
    cli.run(main)
    sys.stdout.flush()
