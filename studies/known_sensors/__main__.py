"""Run the study: train on each sensor's noise, measure the gaps, write the results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies import common  # isort: skip
import numpy as np

import noise_flow_tf as nf
import sidd
import studies.known_sensors
from noise_flow_tf import plotting
from noise_flow_tf.programs.options import positive_int
from sidd.offline.known_sensors import KnownSensor
from studies.known_floor import clean_patches
from studies.known_sensors import tables
from studies.known_sensors.gaps import gaps
from studies.known_sensors.noise import ModelSensor, all_sensors, count, draws
from studies.known_sensors.training import trained


def main(arguments: list[str] | None = None) -> None:
    parser = common.parsing.Parser(
        prog="studies.known_sensors",
        description=(studies.known_sensors.__doc__ or "").partition("\n")[0],
    )
    parser.option("out", metavar="FOLDER", default="runs/known_sensors", help="output folder")
    parser.option("dataset", metavar="ROOT", default=common.DATASET, help="the offline dataset")
    parser.option("model", metavar="PATH", help="a model that is a sensor, too; by default none")
    parser.option("sensors", nargs="+", metavar="NAME", help="only these of the sensors")
    parser.option("steps", type=positive_int, default=4500, help="of each training")
    parser.option("copies", type=positive_int, default=4, help="draws per training patch")
    parser.option("seed", type=int, default=0, help="of draws and initial values")
    args = parser.parse_args(arguments)
    sensors = all_sensors(nf.load(args.model) if args.model else None)
    if unknown := sorted({*(args.sensors or ())} - {*sensors}):
        raise ValueError(f"unknown sensor {', '.join(unknown)}; choose from {', '.join(sensors)}")
    root = sidd.write_synthetic(args.dataset, exist_ok=True)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    clean = {split: clean_patches(root, split) for split in ("train", "test")}
    for name in args.sensors or sensors:
        results = study(sensors[name], clean, args.steps, args.copies, args.seed)
        with sidd.replacing(out / f"{name}.json") as path:
            path.write_text(json.dumps(results, indent=2) + "\n")
        print(
            f"\n{name}\n\n{tables.table(results)}\n\n{tables.conditions_table(results)}", flush=True
        )
        with sidd.replacing(out / f"{name}.png") as path:
            plotting.charts(tables.chart(name, results)).savefig(path, format="png")


def study(
    sensor: KnownSensor, clean: Mapping[str, np.ndarray], steps: int, copies: int, seed: int
) -> dict[str, Any]:
    """Train Noise Flow on a sensor's noise; return the gaps of all models, and by condition."""
    random = np.random.default_rng(seed)
    train = draws(sensor, np.tile(clean["train"], [copies, 1, 1, 1]), random, with_truth=False)
    test = draws(sensor, clean["test"][::2], random)
    stddev = float(
        np.sqrt(np.mean([np.square(p.noise, dtype=float).mean() for p in train.values()]))
    )
    models = {"gaussian": nf.GaussianNoise(stddev), "noise_flow": trained(train, steps, seed)}
    if not isinstance(sensor, ModelSensor):
        models["nlf"] = nf.CameraNLF()
    return {
        "steps": steps,
        "patches": {"train": count(train), "test": count(test)},
        "bits": sensor.bits,
        "truth": float(np.concatenate([part.truth for part in test.values()]).mean()),
        "models": {name: gaps(sensor, model, test, seed) for name, model in sorted(models.items())},
    }


if __name__ == "__main__":
    common.parsing.run(main, "studies.known_sensors")
