"""Scores denoisers as in Table 3 of the paper, on whole test images or on SIDD's validation blocks.

Several runs with the same noise and other seeds become one line with mean and standard deviation.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import sidd
from noise_flow_tf.denoising import DenoiserRun, DnCNN, denoise_image, scores
from noise_flow_tf.programs import dataset, sampling_plan
from noise_flow_tf.programs.configs import EvaluateDenoiserConfig
from noise_flow_tf.programs.denoiser_report import Examples, save_figure
from noise_flow_tf.saving import run_folder

_OF_A_KIND = (
    "depth", "width", "noise_scale", "schedule", "lr", "steps_per_epoch", "epochs",
    "n_batch_train", "patch_height", "stride", "noise_model",
)  # fmt: skip


class Trained(NamedTuple):
    """A run, what it was trained on, and its best denoiser."""

    path: str
    noise: str
    seed: int
    settings: dict[str, Any]
    network: DnCNN


class Image(NamedTuple):
    """A test image: packed noisy and clean `[h, w, 4]` in [0, 1], and what is known of it."""

    name: str
    noisy: np.ndarray
    clean: np.ndarray
    known: dict[str, Any]


def load_runs(paths: list[str]) -> list[Trained]:
    """The runs, in the paper's order and by seed."""
    found: dict[tuple[str, int], Trained] = {}
    for path in paths:
        run = DenoiserRun(path)
        if not run.settings.is_file():
            raise ValueError(
                f"{path} is not a run folder of noise-flow train-denoiser: no settings.json"
            )
        settings, network = run.read_settings(), run.load()
        mix = settings.get("gauss_mix")
        noise = settings["noise"] + (f" ({mix:.0%} Gauss)" if mix else "")
        key = noise, settings["seed"]
        if key in found:
            raise ValueError(
                f"{found[key].path} and {path} were both trained on {noise} with seed {key[1]}; "
                "give one of them"
            )
        found[key] = Trained(str(path), *key, settings, network)
        first = next(one for one in found.values() if one.noise == noise)
        for name in _OF_A_KIND:
            if settings.get(name) != first.settings.get(name):
                raise ValueError(
                    f"{first.path} and {path} are not two seeds of one training: --{name} is "
                    f"{first.settings.get(name)} and {settings.get(name)}; evaluate them apart"
                )
    order = scores.in_order(run.noise for run in found.values())
    return sorted(found.values(), key=lambda run: (order.index(run.noise), run.seed))


def of_frames(frames: list[sidd.Frame], left_out: dict[sidd.Frame, str]) -> Iterator[Image]:
    """The frames' images; those that cannot be read go to `left_out`, with the reason."""
    for frame in frames:
        camera = None if frame.camera in sidd.CAMERAS else frame.camera
        try:
            pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata, camera)
        except sidd.SiddError as error:
            left_out[frame] = str(error)
            tqdm.write(f"skipped: {error}")
            continue
        name = f"{frame.instance:04d}_{frame.number:03d}"
        noisy = np.clip(pair.clean + pair.noise, 0, 1)
        yield Image(name, noisy, pair.clean, {"camera": frame.camera, "iso": frame.iso})


def of_blocks(config: EvaluateDenoiserConfig) -> Iterator[Image]:
    leave_out = sidd.RELEASE_EXCLUSIONS if config.release_exclusions else ()
    for block in sidd.read_blocks(*config.blocks, leave_out):
        yield Image(f"{block.image:02d}_{block.number:02d}", block.noisy, block.clean, {})


def score_all(images: Iterable[Image], runs: list[Trained], tile: int) -> list[dict[str, Any]]:
    """A row for each image and run, and for each noisy image itself."""
    rows = []
    for image in images:
        noisy = scores.score(image.clean, image.noisy)
        rows.append({"run": "", "noise": "noisy", "seed": "", "image": image.name})
        rows[-1] |= {**image.known, **noisy}
        for run in runs:
            denoised = denoise_image(run.network, image.noisy, tile)
            rows.append({"run": run.path, "noise": run.noise, "seed": run.seed})
            rows[-1] |= {
                "image": image.name,
                **image.known,
                **scores.score(image.clean, denoised),
            }
    if not rows:
        raise ValueError("there is no image to score")
    return rows


def write(
    config,
    out: Path,
    runs: list[Trained],
    rows: list[dict[str, Any]],
    where: str,
    left_out: list[str],
) -> str:
    """Writes the numbers; gives the table."""
    overall = scores.summary(rows)
    table = scores.table(overall)
    margins = scores.margins(rows)
    split = {by: scores.summary(rows, by) for by in ("camera", "iso") if by in rows[0]}
    count = sum(row["noise"] == "noisy" for row in rows)
    text = [
        f"# Denoising, trained on sampled and on real noise: {where}",
        "",
        f"Mean PSNR (dB, peak 1) and SSIM (data range 1, and the release's 2) over {count} "
        f"{'blocks' if config.blocks else 'images'}, with the standard deviation over runs with "
        "other seeds; in parentheses the relative improvement of DnCNN-NF in RMSE and DSSIM, as in "
        "Table 3 of the paper. Its numbers are of SIDD's validation blocks.",
        "",
        table,
        "",
        *[
            f"DnCNN-NF is {scores.told(margin, 2)} dB above {scores.title(noise)} (with the same "
            f"seed; at least {margin['least']:.2f})."
            for noise, margin in margins.items()
        ],
        "",
        *[line for by, of in split.items() for line in (scores.table_by(of, by), "")],
        *[_told(run) for run in runs],
        "",
        *[f"Frame left out: {reason}" for reason in left_out],
    ]
    if not config.blocks:
        text += ["![denoised](denoised.png)", ""]
    numbers = {
        "images": where,
        "count": count,
        "left_out": left_out,
        "scores": overall,
        "margins": margins,
        **{
            f"by_{by}": [
                {"noise": noise, by: value, **score} for (noise, value), score in of.items()
            ]
            for by, of in split.items()
        },
        "paper": scores.PAPER,
        "runs": [{"path": r.path, "weights": sampling_plan.fingerprint(r.network)} for r in runs],
    }
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    run_folder.write_text(out / "scores.csv", lines.getvalue())
    run_folder.write_text(out / "report.json", json.dumps(numbers, indent=2) + "\n")
    run_folder.write_text(out / "report.md", "\n".join(text))
    return table


def _told(run: Trained) -> str:
    s = run.settings
    steps = s["steps_per_epoch"] * s["epochs"]
    return (
        f"- {scores.title(run.noise)}, seed {run.seed}: `{run.path}`, depth {s['depth']}, width "
        f"{s['width']}, noise scale {s['noise_scale']:g}, {steps} steps of {s['n_batch_train']} "
        f"patches of {s['patch_height']} x {s['patch_height']} at stride {s['stride']}, schedule "
        f"{s['schedule']} at {s['lr']:g}"
    )


def run(config: EvaluateDenoiserConfig) -> None:
    """Does it; raises ValueError or OSError for bad input."""
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    runs = load_runs(config.runs)
    frames = [] if config.blocks else dataset.frames(config, "test")
    left_out: dict[sidd.Frame, str] = {}
    if config.blocks:
        images, where, total = of_blocks(config), "SIDD's validation blocks", None
    else:
        images, total = of_frames(frames, left_out), len(frames)
        where = f"test images of {dataset.told(config)}"
    out.mkdir(parents=True, exist_ok=True)
    with DenoiserRun(out).locked():
        bar = tqdm(images, "scoring", total=total, unit="image", leave=False)
        rows = score_all(bar, runs, config.tile)
        (out / "denoised.png").unlink(missing_ok=True)
        print(f"\n{write(config, out, runs, rows, where, [*left_out.values()])}\n")
        if frames:
            first = {scores.title(run.noise): run.network for run in reversed(runs)}
            examples = Examples([frame for frame in frames if frame not in left_out])
            save_figure(examples.figure(dict(reversed(first.items()))), out / "denoised.png")
    print(f"report    {out / 'report.md'}")
