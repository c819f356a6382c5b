"""The report of noise-flow camera: scores beside the noise level function, and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

import noise_flow_tf as nf
from noise_flow_tf import evaluation, plotting
from noise_flow_tf.evaluation import analysis, tables
from noise_flow_tf.programs import pictures
from noise_flow_tf.programs.configs import CameraConfig
from noise_flow_tf.saving import files
from noise_flow_tf.saving.run_folder import RunFolder
from noise_flow_tf.training.own_cameras import NLF, CalibratedNLF, Fitted, OfCamera

if TYPE_CHECKING:
    from noise_flow_tf.programs.camera import Data

TITLES = {
    "gaussian": "Gaussian",
    "camera_nlf": "Calibrated NLF",
    "added": "Noise Flow with the camera added",
    "own": "Noise Flow of this camera alone",
}
_EQUAL = 0.0005
_WHAT = {
    "added": "its own parameters in the model of the other cameras, all else as it was",
    "own": "a separate model, all of whose parameters are trained",
}


@dataclass(frozen=True)
class Scored:
    """Scores on held-out noise, of all and by ISO, and the variance over intensity.

    `scores` has by model the metrics, and `ratio`, the standard deviation of samples divided by
    that of the noise; `by_iso` has `images` and `scores` of each ISO level.
    """

    models: dict[str, Any]
    scores: evaluation.scores.Scores
    by_iso: dict[int, dict[str, Any]]
    variance: dict[Any, dict[str, Any]]


def score(
    camera: str, fitted: Mapping[str, Fitted], nlf: Mapping[int, NLF], data: "Data", seed: int
) -> Scored:
    """Score the fitted models and the baselines on the held-out patches."""
    models: dict[str, Any] = {
        "gaussian": nf.GaussianNoise(data.train.noise_stddev()),
        "camera_nlf": CalibratedNLF(nlf),
        **{name: OfCamera(one.model, camera) for name, one in fitted.items()},
    }
    images, variance = evaluation.ImageScores(), analysis.VarianceOverIntensity()
    squares: dict[int, dict[str, float]] = {}
    for batch, measured in evaluation.measure(models, data.held_out_batches(), seed):
        images.add(batch, measured)
        iso, noise = int(batch["iso"][0]), batch["noise"]
        samples = {name: one.sample for name, one in measured.items()}
        variance.add((camera, iso), batch["clean"], {"real": noise, **samples})
        sums = squares.setdefault(iso, {})
        for name, values in {"real": noise, **samples}.items():
            sums[name] = sums.get(name, 0.0) + float(np.square(values, dtype=float).sum())
    rows = images.rows()
    by_iso = {}
    for iso in sorted(squares):
        own = [row for row in rows if row["iso"] == iso]
        by_iso[iso] = {
            "images": len(own),
            "scores": _with_ratio(evaluation.summarise(own), squares[iso]),
        }
    total = {name: sum(one[name] for one in squares.values()) for name in ("real", *models)}
    return Scored(
        models, _with_ratio(evaluation.summarise(rows), total), by_iso, variance.results()
    )


def write(
    folder: RunFolder,
    config: CameraConfig,
    scored: Scored,
    kept: str,
    fitted: Mapping[str, Fitted],
    nlf: Mapping[int, NLF],
    data: "Data",
    minutes: float,
    moves_to: RunFolder,
) -> None:
    """Write `report.md`, `report.json` and pictures, and print the scores.

    `moves_to` is where messages say that things are.
    """
    drawn = figures(config.name, scored, kept, nlf, data)
    for name, figure in drawn.items():
        files.write_figure(folder.pictures / f"{name}.png", figure)
    titles = {name: TITLES[name] for name in scored.models}
    table = _table(scored.scores, titles, kept)
    verdict = verdicts(scored, kept)
    split = "; ".join(data.split)
    files.write_markdown(
        folder.report_text,
        [
            f"# Noise of {config.name}",
            f"Held-out noise ({split}); NLL in nats per dimension, KL in nats between the "
            "histograms of single values, and the standard deviation of samples divided by that of "
            "the noise. The weights and the model that is kept were chosen by this NLL; the "
            "calibration is of all bursts.",
            table,
            "\n".join(f"- {line}" for line in verdict),
            *_by_iso(scored, titles),
            _training(fitted),
            _masked(data),
            f"All in {minutes:.1f} minutes. The calibration: [burst/report.md](burst/report.md).",
            "\n".join(pictures.shown(drawn)),
            *[
                f"![Variance against intensity at ISO {iso}, with its fit]"
                f"(burst/pictures/photon_transfer_{iso}.png)"
                for iso in nlf
            ],
        ],
    )
    numbers = {
        "camera": config.name,
        "kept": kept,
        "verdict": verdict,
        "scores": scored.scores,
        "by_iso": scored.by_iso,
        "nlf": {str(iso): list(values) for iso, values in nlf.items()},
        "fits": {
            name: {"start_nll": one.start, "nll": one.nll, "steps": one.steps}
            for name, one in fitted.items()
        },
        "split": data.split,
        "masked_share": {"train": data.train.masked_share, "test": data.held_out.masked_share},
        "minutes": minutes,
    }
    files.write_json(folder.report, numbers)
    print(f"\n{table}\n")
    for line in verdict:
        print(line)
    print(f"\nreport    {moves_to.report_text}")
    print(f"pictures  {moves_to.pictures}")
    print(
        f"model     noise-flow sample --model {moves_to.path} --camera {config.name} --clean FILE"
    )


def verdicts(scored: Scored, kept: str) -> list[str]:
    """Say which model was kept, and which ones the noise level function beats, and where."""
    lines = [f"kept: {TITLES[kept]} ({_WHAT[kept]})"]
    groups = {"": scored.scores, **{f" at ISO {i}": g["scores"] for i, g in scored.by_iso.items()}}
    for name in (name for name in _WHAT if name in scored.models):
        for where, scores in groups.items():
            if where and len(scored.by_iso) == 1:
                continue
            lines.append(f"{TITLES[name]}{where} {_against_nlf(scores[name], scores)}")
    return lines


def _against_nlf(one: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    behind = one["nll"] - scores["camera_nlf"]["nll"]
    amount = f"{abs(behind):.4f} nats per dimension"
    if abs(behind) < _EQUAL:
        return f"is as good as the calibrated NLF, within {_EQUAL} nats per dimension"
    if behind > 0:
        return f"is beaten by the calibrated NLF, its own baseline, by {amount}"
    return f"is better than the calibrated NLF by {amount}"


def figures(
    camera: str, scored: Scored, kept: str, nlf: Mapping[int, NLF], data: "Data"
) -> dict[str, Figure]:
    """Draw the variance over intensity, and crops of real and sampled noise."""
    examples = pictures.Examples(data.held_out.frames, "real")
    names = {"Gaussian": "gaussian", "Calibrated NLF": "camera_nlf", "Noise Flow": kept}
    shown = {title: scored.models[name] for title, name in names.items()}
    drawn = {
        "variance": plotting.variance_grid(
            scored.variance,
            {(camera, iso): values for iso, values in nlf.items()},
            "real",
            kept,
            ["measured", "calibrated NLF", "Noise Flow"],
        ),
    }
    return {
        "samples": pictures.comparison_figure(examples.comparison(shown), "real"),
        **drawn,
    }


def _with_ratio(
    scores: evaluation.scores.Scores, squares: Mapping[str, float]
) -> evaluation.scores.Scores:
    return {
        name: {**one, "ratio": float(np.sqrt(squares[name] / squares["real"]))}
        for name, one in scores.items()
    }


def _table(
    scores: Mapping[str, Mapping[str, float | None]], titles: Mapping[str, str], kept: str
) -> str:
    rows = [["", "NLL", "KL", "deviation of samples / real"]]
    shown = {name: scores[name] for name in titles}
    cells_of = [tables.numbers(metric, shown) for metric in tables.compared()]
    for name, title in titles.items():
        kept_one = f"{title} (kept)" if name == kept else title
        ratio = f"{scores[name]['ratio']:.3f}"
        rows.append([kept_one, *(cells[name] for cells in cells_of), ratio])
    return tables.markdown(rows)


def _by_iso(scored: Scored, titles: Mapping[str, str]) -> list[str]:
    if len(scored.by_iso) == 1:
        return []
    return [tables.groups("ISO", {str(i): g for i, g in scored.by_iso.items()}, titles)]


def _training(fitted: Mapping[str, Fitted]) -> str:
    rows = [["", "NLL from the calibration", "NLL after training", "best after steps"]]
    for name, one in fitted.items():
        rows.append([TITLES[name], f"{one.start:.4f}", f"{one.nll:.4f}", str(one.steps)])
    return tables.markdown(rows)


def _masked(data: "Data") -> str:
    shares = data.train.masked_share, data.held_out.masked_share
    if not any(shares):
        return ""
    return (
        f"Places left out, since a patch there has a masked pixel: {shares[0]:.1%} of the training "
        f"frames, {shares[1]:.1%} of the held-out ones."
    )
