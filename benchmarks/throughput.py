"""The speed of Noise Flow on this machine: python -m benchmarks.throughput.

It measures patches per second of a training step (the compiled function that fit calls), log_prob
and sampling, and megapixels per second of nf.sample_image on whole images. Every operation is
compiled and warmed up, then all of them take turns in one process until each has had its time, so
that other load on the machine affects all alike. The results are the median over the turns, the
range of the middle 80% of them, and the fraction of this machine's own ceilings, which take turns
with them: a large float32 matrix product, and adding 1 to a large array.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import noise_flow_tf as nf
import sidd
from benchmarks import ceilings, growth
from benchmarks.operations import PATCH, make_batch, make_images, make_operations
from benchmarks.peers import PEERS, make_peers
from benchmarks.turns import Operation, Timing, take_turns
from noise_flow_tf.cli import parsing
from noise_flow_tf.programs.options import not_negative, positive_float, positive_int

_PATCHES = ("train", "log_prob", "sample")
_OPERATIONS = (*_PATCHES, "images")
_BATCHES = (4, 17, 69, 138, 276, 552)
_PASSES = {"train": 3}  # the gradient costs about two more than the value


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parsing.Parser(prog="benchmarks.throughput", description=__doc__)
    add = parser.option
    add(
        "what",
        default=",".join(_OPERATIONS),
        metavar="LIST",
        help=f"operations to time, joined by commas: {', '.join(_OPERATIONS)}",
    )
    add("batch", type=positive_int, default=138, help="patches of 32 x 32 in a batch")
    add("seconds", type=positive_float, default=10.0, help="time per operation")
    add(
        "megapixels",
        type=_megapixels,
        default="1,4,12,48",
        metavar="LIST",
        help="sizes of the whole images, joined by commas; a megapixel is a million pixels of the "
        "Bayer image",
    )
    add(
        "intra_op_threads",
        type=not_negative,
        default=0,
        metavar="N",
        help="cores that an operation may use; 0 for TensorFlow's default, all",
    )
    add(
        "compare",
        action="store_true",
        help="time the peers, too: a straight port, and one in PyTorch with and without "
        "torch.compile if it is installed (pip install -e .[bench])",
    )
    add(
        "growth",
        metavar="FILE.png",
        help="time batches of " + ", ".join(map(str, _BATCHES)) + " too, and plot time over size",
    )
    add("json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args(arguments)
    args.what = args.what.split(",")
    unknown = ", ".join(name for name in args.what if name not in _OPERATIONS)
    if unknown:
        parser.error(f"unknown operation {unknown}; allowed are {', '.join(_OPERATIONS)}")
    if args.growth:
        _check_growth(parser, args)
    return args


def _check_growth(parser: parsing.Parser, args: argparse.Namespace) -> None:
    folder = Path(args.growth).parent
    if not folder.is_dir():
        parser.error(f"--growth {args.growth}: no such folder: {folder}")
    if "images" in args.what:
        try:
            growth.exponent(dict.fromkeys(args.megapixels, 1.0))
        except ValueError as error:
            parser.error(f"--growth with --megapixels: {error}")


def _megapixels(text: str) -> list[float]:
    sizes = sorted({float(size) for size in text.split(",")})
    if not 1e-5 <= sizes[0] <= sizes[-1] < float("inf"):
        raise ValueError
    return sizes


_megapixels.__name__ = "list of sizes in megapixels"


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    if args.intra_op_threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.intra_op_threads)
    threads = args.intra_op_threads or "all"
    print(
        f"batch {args.batch} on {os.cpu_count()} cores, {threads} per operation, "
        f"TensorFlow {tf.__version__}"
    )
    model = nf.NoiseFlow(seed=0)
    batch = make_batch(args.batch)
    patches = [name for name in args.what if name in _PATCHES]
    results: dict[str, Any] = {"details": {}, "images": {}}
    if patches:
        operations = make_operations(patches, batch, model)
        if args.compare:
            for peer, theirs in make_peers(patches, batch, args.intra_op_threads).items():
                operations |= {f"{peer} {name}": operation for name, operation in theirs.items()}
        report_patches(time_with_ceilings(operations, args.seconds), model, results)
    images = time_images(args, model, batch, results) if "images" in args.what else {}
    if args.growth:
        batches = time_batches(patches, model, args.seconds)
        report_growth(batches, images, Path(args.growth), results)
    results |= {"batch": args.batch, "threads": threads, "peak_gib": peak_gib()}
    print(f"peak memory      {peak_gib():8.2f} GiB")
    if args.json:
        print(json.dumps(results))


def time_with_ceilings(operations: dict[str, Operation], seconds: float) -> dict[str, Timing]:
    return take_turns(operations | ceilings.operations(), seconds)


def report_patches(
    timings: dict[str, Timing], model: nf.NoiseFlow, results: dict[str, Any]
) -> None:
    for name, timing in timings.items():
        details = results["details"][name] = timing.summary()
        if name in ceilings.UNITS:
            unit = ceilings.UNITS[name]
            print(f"{name:22} {timing.rate / 1e9:7.1f} {unit} is the ceiling")
            continue
        results[name] = timing.rate
        line = (
            f"{name:22} {timing.rate:7.0f} patches/s ({details['low']:.0f} to "
            f"{details['high']:.0f} in {details['turns']} turns; first call {timing.first:.1f} s)"
        )
        if name in _PATCHES:
            pixels = timing.rate * PATCH[0] * PATCH[1] * _PASSES.get(name, 1)
            details["of_ceilings"] = ceilings.fractions(model, pixels, timings)
            line += percentages(details["of_ceilings"])
        ratios = {
            peer: timing.rate / timings[f"{peer} {name}"].rate
            for peer in PEERS
            if f"{peer} {name}" in timings
        }
        if ratios:
            best = min(ratios, key=ratios.__getitem__)
            details |= {"of_peers": ratios, "best_peer": best, "of_best_peer": ratios[best]}
            details["of_straight_port"] = ratios["straight"]
            times = ", ".join(f"{ratio:.2f} times {PEERS[peer]}" for peer, ratio in ratios.items())
            line += f"; {times}; best peer: {PEERS[best]}"
        print(line)


def percentages(fractions: dict[str, float]) -> str:
    return "; " + ", ".join(f"{part:.0%} of {name}" for name, part in fractions.items())


def time_images(
    args: argparse.Namespace,
    model: nf.NoiseFlow,
    batch: dict[str, tf.Tensor],
    results: dict[str, Any],
) -> dict[float, float]:
    """Time whole images, report the results, and return seconds by megapixels."""
    peaks: dict[str, float] = {}
    images = make_images(args.megapixels, model, lambda name: peaks.setdefault(name, peak_gib()))
    patches = make_operations(["sample"], batch, model)
    timings = time_with_ceilings(images | patches, args.seconds)
    of_patches = timings["sample"].rate * np.prod(PATCH) / 1e6
    print(f"patches sampled    {of_patches:7.1f} MP/s")
    for name in images:
        timing = timings[name]
        details = results["images"][name] = timing.summary()
        details["of_patch_rate"] = timing.rate / of_patches
        details["peak_gib"] = peaks[name]
        details["of_ceilings"] = ceilings.fractions(model, timing.rate * 1e6 / 4, timings)
        print(
            f"{name:18} {timing.rate:7.1f} MP/s ({details['low']:.1f} to {details['high']:.1f} in "
            f"{details['turns']} turns); {details['of_patch_rate']:.2f} of the patches' rate"
            f"{percentages(details['of_ceilings'])}; memory so far {peaks[name]:.2f} GiB"
        )
    return {images[name].amount: images[name].amount / timings[name].rate for name in images}


def time_batches(
    names: list[str], model: nf.NoiseFlow, seconds: float
) -> dict[str, growth.Seconds]:
    """Measure the seconds of a step, by operation and number of patches in the batch."""
    operations = {
        (name, size): operation
        for size in _BATCHES
        for name, operation in make_operations(names, make_batch(size), model).items()
    }
    timings = take_turns(operations, seconds / len(_BATCHES))
    return {name: {size: size / timings[name, size].rate for size in _BATCHES} for name in names}


def report_growth(
    batches: Mapping[str, growth.Seconds],
    images: growth.Seconds,
    path: Path,
    results: dict[str, Any],
) -> None:
    curves = {**batches, **({"whole image": images} if images else {})}
    results["growth"] = {name: growth.exponent(seconds) for name, seconds in curves.items()}
    for name, exponent in results["growth"].items():
        print(f"{name:18} takes time as size to the power of {exponent:.2f}")
    with sidd.replacing(path) as temporary:
        growth.draw(batches, images).savefig(temporary, format="png")
    print(path)


def peak_gib() -> float:
    """Return the peak memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


if __name__ == "__main__":
    parsing.run(main, "benchmarks.throughput")
    sys.stdout.flush()
