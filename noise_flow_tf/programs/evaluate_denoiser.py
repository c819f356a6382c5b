"""Scores denoisers as in Table 3 of the paper, on whole test images or on SIDD's validation blocks.

Runs with the same noise and different seeds become one line with mean and standard deviation.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import sidd
from noise_flow_tf.denoising import DenoiserRun, DnCNN, denoise_image, scores
from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.programs import dataset, sampling_plan
from noise_flow_tf.programs.configs import EvaluateDenoiserConfig
from noise_flow_tf.programs.denoiser_report import Examples
from noise_flow_tf.saving import files
from sidd.progress import progress_bar
from sidd.wording import counted

_SAME_TRAINING = (
    "depth", "width", "noise_scale", "schedule", "lr", "steps_per_epoch", "epochs",
    "n_batch_train", "patch_height", "stride", "noise_model",
)  # fmt: skip


Rows = list[dict[str, Any]]


class Trained(NamedTuple):
    """A run: its folder, what it was trained on and how, and its best denoiser."""

    path: str
    settings: dict[str, Any]
    network: DnCNN

    @property
    def kind(self) -> dict[str, Any]:
        """The columns that say what it was trained on."""
        mix = self.settings.get("gauss_mix", 0.0)
        return {"noise": self.settings["noise"], "gauss_mix": mix, "seed": self.settings["seed"]}

    @property
    def title(self) -> str:
        """The paper's name of the denoiser."""
        return scores.title(self.kind["noise"], self.kind["gauss_mix"])


class Image(NamedTuple):
    """A test image: packed noisy and clean `[h, w, 4]` in [0, 1], and its conditions."""

    name: str
    noisy: np.ndarray
    clean: np.ndarray
    conditions: dict[str, Any]


def load_runs(paths: list[str]) -> list[Trained]:
    """Load runs, in the paper's order and by seed."""
    trained: dict[tuple[str, int], Trained] = {}
    for path in paths:
        folder = DenoiserRun(path)
        if not folder.settings.is_file():
            raise ValueError(
                f"{path} is not a run folder of noise-flow train-denoiser: no settings.json"
            )
        settings = folder.read_settings()
        if settings["noise"] not in SOURCES:
            raise ValueError(
                f"{path} was trained on {settings['noise']}, which is none of {', '.join(SOURCES)}"
            )
        run = Trained(str(path), settings, folder.load())
        key = scores.label(run.kind), settings["seed"]
        if key in trained:
            raise ValueError(
                f"{trained[key].path} and {path} were both trained on {key[0]} with seed {key[1]}; "
                "give one of them"
            )
        trained[key] = run
        first = next(one for (label, _), one in trained.items() if label == key[0])
        for name in _SAME_TRAINING:
            if settings.get(name) != first.settings.get(name):
                raise ValueError(
                    f"{first.path} and {path} are not two seeds of one training: --{name} is "
                    f"{first.settings.get(name)} and {settings.get(name)}; evaluate them apart"
                )
    return sorted(trained.values(), key=lambda run: (scores.place(run.kind), run.settings["seed"]))


def of_frames(frames: list[sidd.Frame], left_out: dict[sidd.Frame, str]) -> Iterator[Image]:
    """Yield the frames' images; those that cannot be read go to `left_out`, with the reason."""
    for frame in frames:
        try:
            pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata, frame.camera)
        except sidd.SiddError as error:
            left_out[frame] = str(error)
            tqdm.write(f"skipped: {error}")
            continue
        name = f"{frame.instance:04d}_{frame.number:03d}"
        noisy = np.clip(pair.clean + pair.noise, 0, 1)
        conditions = {"scene": frame.instance, "camera": frame.camera, "iso": frame.iso}
        yield Image(name, noisy, pair.clean, conditions)


def of_blocks(noisy: str, clean: str, release_exclusions: bool) -> Iterator[Image]:
    """Yield SIDD's validation blocks, perhaps without the images that the release leaves out."""
    left_out = sidd.RELEASE_EXCLUSIONS if release_exclusions else ()
    for block in sidd.read_blocks(noisy, clean, left_out):
        name = f"{block.image:02d}_{block.number:02d}"
        yield Image(name, block.noisy, block.clean, {"scene": block.image})


def score_all(images: Iterable[Image], runs: list[Trained], tile: int) -> Rows:
    """Return one row for each image and run, and for each noisy image itself."""
    rows = []
    noisy = {"run": "", "noise": "noisy", "gauss_mix": 0.0, "seed": ""}
    for image in images:
        results = [(noisy, image.noisy)]
        for run in runs:
            denoised = denoise_image(run.network, image.noisy, tile)
            results.append(({"run": run.path, **run.kind}, denoised))
        for columns, result in results:
            about = {**columns, "image": image.name, **image.conditions}
            rows.append({**about, **scores.score(image.clean, result)})
    if not rows:
        raise ValueError("there is no image to score")
    return rows


def write(
    config: EvaluateDenoiserConfig, runs: list[Trained], rows: Rows, left_out: list[str]
) -> str:
    """Write `scores.csv`, `report.json` and `report.md`; return the table."""
    out, where = Path(config.out), "SIDD's validation blocks"
    if not config.blocks:
        where = f"test images of {dataset.title(config)}"
    overall = scores.summary(rows)
    margins = scores.margins(rows)
    gaps = scores.psnr_gaps(rows)
    split = {by: scores.summary(rows, by) for by in ("camera", "iso") if by in rows[0]}
    numbers = {
        "images": where,
        "count": sum(row["noise"] == "noisy" for row in rows),
        "left_out": left_out,
        "scores": overall,
        "margins": margins,
        "pgap": gaps,
        **{f"by_{by}": list(of.values()) for by, of in split.items()},
        "paper": {name: source.paper for name, source in SOURCES.items() if source.paper},
        "runs": [{"path": r.path, "weights": sampling_plan.fingerprint(r.network)} for r in runs],
    }
    table = scores.table(overall)
    paragraphs = [
        f"# Denoising, trained on sampled noise and on that of pairs: {where}",
        f"Mean PSNR (dB, peak 1) and SSIM (data range 1, and the release's 2) over "
        f"{counted(numbers['count'], 'block' if config.blocks else 'image')}, with the standard "
        "deviation over runs with different seeds; the best is bold, and in parentheses is the "
        "relative improvement of DnCNN-NF in RMSE and DSSIM where it is better, as in Table 3 of "
        "the paper. Its numbers are of SIDD's validation blocks.",
        table,
        "\n".join(map(_compared, margins.values())),
        *scores.gap_lines(gaps),
        *(scores.table_by(of, by) for by, of in split.items()),
        "\n".join(map(_described, runs)),
        "\n".join(f"Left out: {reason}" for reason in left_out),
        "" if config.blocks else "![Test images, noisy, denoised and clean](denoised.png)",
    ]
    files.write_csv(out / "scores.csv", rows)
    files.write_json(out / "report.json", numbers)
    files.write_markdown(out / "report.md", paragraphs)
    return table


def _compared(margin: Mapping[str, Any]) -> str:
    """Return by how many dB Noise Flow's denoiser is better or worse than another."""
    other = scores.title(margin["noise"], margin["gauss_mix"])
    if margin["mean"] < 0:
        behind = scores.with_std({**margin, "mean": -margin["mean"]}, 2)
        return f"DnCNN-NF is {behind} dB below {other} (with the same seed)."
    least = f"with the same seed; at least {margin['least']:.2f}"
    return f"DnCNN-NF is {scores.with_std(margin, 2)} dB above {other} ({least})."


def _described(run: Trained) -> str:
    s = run.settings
    steps = s["steps_per_epoch"] * s["epochs"]
    path = s.get("sidd_path")
    is_offline = path is None or sidd.read_manifest(path) is not None
    simulated = SOURCES[s["noise"]].of_dataset and is_offline
    return (
        f"- {run.title}, seed {s['seed']}: `{run.path}`, depth {s['depth']}, width {s['width']}, "
        f"noise scale {s['noise_scale']:g}, {counted(steps, 'step')} of "
        f"{counted(s['n_batch_train'], 'patch')} of "
        f"{s['patch_height']} x {s['patch_height']} at stride {s['stride']}, schedule "
        f"{s['schedule']} at {s['lr']:g}"
        + ("; the noise of its training pairs is simulated" if simulated else "")
    )


def run(config: EvaluateDenoiserConfig) -> None:
    """Score the runs and write the report.

    Raises:
        ValueError: runs, a dataset or blocks that do not fit.
        OSError: a file that cannot be written.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    runs = load_runs(config.runs)
    frames: list[sidd.Frame] = []
    left_out: dict[sidd.Frame, str] = {}
    if config.blocks:
        images = of_blocks(config.blocks[0], config.blocks[1], config.release_exclusions)
    else:
        frames = dataset.frames(config, "test")
        images = of_frames(frames, left_out)
    files.make_folders(out)
    with DenoiserRun(out).locked():
        bar = progress_bar(images, "scoring", total=len(frames) or None, unit="image", leave=False)
        rows = score_all(bar, runs, config.tile)
        (out / "denoised.png").unlink(missing_ok=True)
        print(f"\n{write(config, runs, rows, [*left_out.values()])}\n")
        if frames:
            networks: dict[str, DnCNN] = {}
            for one in runs:
                networks.setdefault(one.title, one.network)
            readable = [frame for frame in frames if frame not in left_out]
            examples = Examples(readable, dataset.noise_label(config))
            files.write_figure(out / "denoised.png", examples.figure(networks))
    print(f"report    {out / 'report.md'}")
