"""Noise Flow of one's own camera, beside its noise level function: python -m studies.own_camera.

Two parts. Real noise of a Nikon D7000 (`--flats`, 19 exposures of a flat field, three frames each):
the program for bursts and both fits on every other exposure, scored on those between. Simulated
sensors of known truth: the NLL of both fits against the number of pairs, with the floor, which is
the entropy of the sensor's own noise.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies import common  # isort: skip
import numpy as np

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting
from noise_flow_tf.programs import burst, camera_report
from noise_flow_tf.programs.camera import Data, fit_models
from noise_flow_tf.programs.configs import BurstConfig
from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst

FLATS = "../shared/real/d7000_iso100_flats.npz"
PAIRS = (1, 2, 4, 8, 16)
DARKEST = 0.006
"""The lowest mean of an exposure that is tested on: the camera clips darker ones at 0."""

_WHITE = 16383
_ISO = 100


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser("own_camera", __doc__)
    parser.option("model", metavar="PATH", default="runs/demo", help="the model of other cameras")
    parser.option("flats", metavar="FILE", default=FLATS, help="the D7000's frames")
    parser.option("steps", type=int, default=600, help="of training a model of the camera alone")
    args = parser.parse_args(arguments)
    base = nf.load(args.model)
    results: dict[str, Any] = {"simulated": simulated(base, PAIRS, args.steps, args.seed)}
    if Path(args.flats).is_file():
        results["d7000"] = d7000(base, Path(args.flats), args.steps, args.seed)
    else:
        print(f"{args.flats}: no such file; the D7000 is left out")
    print(json.dumps(results, indent=2))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with sidd.replacing(out / "nll.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    with sidd.replacing(out / "nll.png") as path:
        plotting.charts(chart(results["simulated"])).savefig(path, format="png")


def d7000(base: nf.NoiseFlow, flats: Path, steps: int, seed: int) -> dict[str, Any]:
    """Fit to the 1st, 3rd, ... exposure, and score on the others that the camera did not clip."""
    levels = np.load(flats)["levels"]
    means = levels.mean(axis=(1, 2, 3)) / _WHITE
    parts = {
        "train": levels[::2],
        "test": levels[1::2][means[1::2] >= DARKEST],
    }
    sensor = SimulatedSensor(black=0, white=_WHITE)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for part, exposures in parts.items():
            for number, frames in enumerate(exposures):
                _write_levels(place / part / f"{number:02d}", sensor, frames)
        written = {
            part: burst.run(
                BurstConfig(
                    bursts=[str(place / part)], camera="D7000", out=str(place / f"{part}_pairs"),
                    min_frames=3, pairs_per_burst=0, seed=seed,
                )
            )
            for part in parts
        }  # fmt: skip
        nlf = {_ISO: written["train"].calibrations[_ISO].nlf}
        data = _data([written[part].pairs for part in parts], "D7000", place / "cache", seed)
        return fit_and_score(base, "D7000", nlf, data, steps, seed)


def simulated(
    base: nf.NoiseFlow, counts: Sequence[int], steps: int, seed: int
) -> dict[str, list[float]]:
    """Return the NLL of each model for each number of pairs, and the entropy of the noise."""
    sensor = SimulatedSensor(slope=6e-4, read=2e-3, row=0.0)
    scores: dict[str, list[float]] = {"pairs": list(counts)}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for part, scenes in (("train", 4), ("test", 2)):
            for number in range(scenes):
                scene = textured_scene((256, 384), seed=100 * scenes + number)
                write_burst(place / part / str(number), sensor, scene, 10, seed=number, iso=_ISO)
        for count in counts:
            bursts = min(count, 4)
            folders = [str(place / "train" / str(number)) for number in range(bursts)]
            trained = _pairs(folders, place / f"train{count}", -(-count // bursts))
            tested = _pairs([str(place / "test")], place / f"test{count}", 4)
            nlf = {_ISO: trained.calibrations[_ISO].nlf}
            data = _data([trained.pairs, tested.pairs], "SIM", place / "cache", seed)
            found = fit_and_score(base, "SIM", nlf, data, steps, seed)
            for name, score in found["scores"].items():
                scores.setdefault(name, []).append(score["nll"])
            scores.setdefault("mean of other cameras", []).append(found["mean start"])
            scores.setdefault("floor", []).append(floor(data, sensor))
            print(count, {name: round(values[-1], 4) for name, values in scores.items()})
    return scores


def floor(data: Data, sensor: SimulatedSensor) -> float:
    """Return the mean entropy of the noise, in nats per dimension, as if it were Gaussian."""
    total, count = 0.0, 0
    for batch in data.held_out_batches():
        variance = sensor.slope * batch["clean"].numpy() + sensor.offset
        total += float(np.sum(0.5 * np.log(2 * np.pi * np.e * variance), dtype=float))
        count += variance.size
    return total / count


def fit_and_score(
    base: nf.NoiseFlow,
    camera: str,
    nlf: Mapping[int, tuple[float, float]],
    data: Data,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """Fit both models, and return their scores beside the baselines', and which one is kept."""
    fitted = fit_models(base, camera, nlf, data, steps, seed)
    scored = camera_report.score(camera, fitted, nlf, data, seed)
    mean = nf.Trainer(base.with_camera(camera, sorted(nlf)), camera)
    mean.compile()
    batches = data.held_out_batches().map(
        lambda b: {**b, "camera": b["camera"] + len(base.cameras)}
    )
    return {
        "nlf": {str(iso): list(values) for iso, values in nlf.items()},
        "kept": min(fitted, key=lambda name: fitted[name].nll),
        "mean start": mean.evaluate(batches, verbose=0, return_dict=True)["nll"],
        "starts": {name: one.start for name, one in fitted.items()},
        "scores": scored.scores,
    }


def chart(scores: Mapping[str, list[float]]) -> plotting.Chart:
    """Return the NLL against the number of pairs."""
    shown = {"camera_nlf": "calibrated NLF", "added": "camera added", "own": "camera alone"}
    return plotting.Chart(
        {title: (scores["pairs"], scores[name]) for name, title in shown.items()},
        "A simulated sensor",
        "image pairs",
        "held-out NLL (nats per dimension)",
        {"floor": scores["floor"][-1]},
    )


def _pairs(folders: Sequence[str], out: Path, count: int) -> burst.Result:
    config = BurstConfig(bursts=[*folders], camera="SIM", out=str(out), pairs_per_burst=count)
    return burst.run(config)


def _data(roots: Sequence[Path], camera: str, cache: Path, seed: int) -> Data:
    train, held_out = (
        sidd.Patches(
            sidd.select_frames(sidd.index(root), cameras=[camera], own=True),
            16, cache=cache, seed=seed, cameras=[camera], progress=False,
        )
        for root in roots
    )  # fmt: skip
    return Data(train, held_out, [])


def _write_levels(folder: Path, sensor: SimulatedSensor, frames: np.ndarray) -> None:
    like = sidd.read_dng(
        next(write_burst(folder, sensor, np.zeros((64, 64)), 1, iso=_ISO).iterdir())
    )
    next(folder.iterdir()).unlink()
    for number, levels in enumerate(frames):
        sidd.write_dng(folder / f"{number}.dng", levels, like)


if __name__ == "__main__":
    common.parsing.run(main, "studies.own_camera")
