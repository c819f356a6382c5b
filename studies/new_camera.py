"""A camera added to a model from a few image pairs: python -m studies.new_camera.

A model is trained without one camera. The camera is added to it, and its own parameters alone are
trained on 1, 2, 5 and 10 of its image pairs; for comparison, whole models are trained from scratch
on the same pairs. All are scored on the camera's test frames.
"""

import json
from collections import Counter
from pathlib import Path

from studies import common  # isort: skip
import numpy as np
from matplotlib.figure import Figure

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting

PAIRS = (1, 2, 5, 10)
_SHOWN = 0.4


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser("new_camera", __doc__)
    parser.option("camera", metavar="CODE", default="S6", help="the camera left out")
    parser.option("steps", type=int, default=300, help="of training for an added camera")
    parser.option("fresh_steps", type=int, default=600, help="of training from scratch")
    args = parser.parse_args(arguments)
    others = [camera for camera in nf.CAMERAS if camera != args.camera]
    first_data = common.batches(common.frames("train", others), True, args.seed)
    first = nf.NoiseFlow(seed=args.seed, cameras=others)
    common.train(first, first_data, args.epochs * len(first_data))

    test = common.batches(common.frames("test", [args.camera]), shuffle=False)
    others_test = common.batches(common.frames("test", others), shuffle=False)
    before = common.nll(first.with_camera(args.camera), test)
    others_before = common.nll(first, others_test)
    available = _in_turn(common.frames("train", [args.camera]))
    scores: dict[str, list[float]] = {"added camera": [], "from scratch": []}
    for pairs in PAIRS:
        data = common.batches(available[:pairs], True, args.seed)
        added = nf.fit_camera(first.with_camera(args.camera), args.camera, data, args.steps)
        fresh = nf.NoiseFlow(seed=args.seed, cameras=[args.camera])
        common.train(fresh, data, args.fresh_steps)
        scores["added camera"].append(common.nll(added, test))
        scores["from scratch"].append(common.nll(fresh, test))
        assert common.nll(added, others_test) == others_before
        print(pairs, {name: round(values[-1], 4) for name, values in scores.items()}, flush=True)

    whole = common.nll(nf.load(args.reference), test)
    levels = {"mean of the other cameras": before, "trained with all": whole}
    print({name: round(value, 4) for name, value in levels.items()})

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = {"camera": args.camera, "pairs": PAIRS, "nll": scores, "levels": levels}
    with sidd.replacing(out / "nll.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    figure = draw(results)
    with sidd.replacing(out / "nll.png") as path:
        figure.savefig(path, format="png")


def draw(results: dict) -> Figure:
    """Plot the NLL against the number of pairs."""
    chart = plotting.Chart(
        {name: (results["pairs"], values) for name, values in results["nll"].items()},
        f"Camera {results['camera']}, added to a model of the others",
        "image pairs of the new camera",
        "test NLL (nats per dimension)",
        results["levels"],
    )
    figure = plotting.charts(chart)
    best = min(results["nll"]["added camera"])
    figure.axes[0].set_ylim(best - 0.05, best + _SHOWN)  # the first values would hide the rest
    return figure


def _in_turn(frames: list[sidd.Frame]) -> list[sidd.Frame]:
    """Sort frames to take the ISO levels in turn, from the middle one outwards."""
    middle = np.log(nf.ISO_LEVELS[len(nf.ISO_LEVELS) // 2])
    rank = {iso: abs(np.log(iso) - middle) for iso in nf.ISO_LEVELS}
    counts: Counter[int] = Counter()
    order = []
    for frame in frames:
        order.append((counts[frame.iso], rank[frame.iso], frame.instance, frame.number))
        counts[frame.iso] += 1
    return [frame for _, frame in sorted(zip(order, frames, strict=True), key=lambda x: x[0])]


if __name__ == "__main__":
    common.parsing.run(main, "studies.new_camera")
