"""Interpolation of an ISO level left out of training: python -m studies.iso_interpolation.

A model is trained without one ISO level and scored on that level's test frames: with the gain
interpolated, and with the gain of either neighbour. For comparison, a run of train.py with the
level is scored, too.
"""

import json
from pathlib import Path

from studies import common  # isort: skip
import noise_flow_tf as nf
import sidd


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser("iso_interpolation", __doc__)
    parser.option("iso", type=int, default=800, help="the level left out, not the first or last")
    args = parser.parse_args(arguments)
    place = nf.ISO_LEVELS.index(args.iso)
    others = [iso for iso in nf.ISO_LEVELS if iso != args.iso]
    test = common.batches(common.frames("test", isos=[args.iso]), shuffle=False)

    train = common.batches(common.frames("train", isos=others), True, args.seed)
    model = nf.NoiseFlow(seed=args.seed, iso_levels=others)
    common.train(model, train, args.epochs * len(train))
    scores = {"trained with the level": common.nll(nf.load(args.reference), test)}
    for neighbour in (nf.ISO_LEVELS[place - 1], nf.ISO_LEVELS[place + 1]):
        scores[f"as ISO {neighbour}"] = common.nll(model, test, neighbour)
    model.iso_interpolation = True
    scores["interpolated"] = common.nll(model, test)
    for name, score in scores.items():
        print(f"{name:24} {score:.4f}")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with sidd.replacing(out / "nll.json") as path:
        path.write_text(json.dumps({"iso": args.iso, "nll": scores}, indent=2) + "\n")


if __name__ == "__main__":
    common.parsing.run(main, "studies.iso_interpolation")
