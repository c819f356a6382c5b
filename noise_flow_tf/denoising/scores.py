"""How good denoised images are, and the paper's Table 3 of it."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.evaluation.tables import markdown

Row = Mapping[str, Any]

SCORES = ("psnr", "ssim", "ssim_range2")
SSIM_WINDOW = 11
"""The least side, in packed pixels, of an image that has an SSIM."""
_LEAST_ERROR = 1e-10


def score(clean: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """Return PSNR and SSIM of an image `[H, W, 4]` in [0, 1].

    Returns:
        `psnr`, dB for a peak of 1, at most 100; `ssim`, with Gaussian weights of standard deviation
        1.5, population covariance and data range 1, the mean over the four packed channels; and
        `ssim_range2`, the same with data range 2, as in the release.

    Raises:
        ValueError: an image below 11 pixels a side, the width of SSIM's window.

    >>> score(np.zeros([16, 16, 4]), np.full([16, 16, 4], 0.1))["psnr"]
    20.0
    """
    if min(clean.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs images of {SSIM_WINDOW} packed pixels a side at least; got "
            f"{clean.shape[0]} x {clean.shape[1]}"
        )
    clean, image = np.asarray(clean, float), np.asarray(image, float)
    error = max(float(np.mean(np.square(image - clean))), _LEAST_ERROR)
    ssim = partial(
        structural_similarity,
        clean,
        image,
        channel_axis=-1,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    return {
        "psnr": round(-10 * math.log10(error), 10),
        "ssim": float(ssim(data_range=1)),
        "ssim_range2": float(ssim(data_range=2)),
    }


def rmse_gain(psnr: float, ours: float) -> float:
    """Return the part of another's root-mean-square error that is gone in ours, from both PSNRs.

    >>> f"{rmse_gain(43.63, 48.52):.1%}"
    '43.0%'
    """
    return 1 - 10 ** ((psnr - ours) / 20)


def dssim_gain(ssim: float, ours: float) -> float:
    """Return the part of another's dissimilarity (1 - SSIM) / 2 that is gone in ours.

    >>> f"{dssim_gain(0.984, 0.992):.1%}"
    '50.0%'
    """
    return (ours - ssim) / (1 - ssim) if ssim < 1 else 0.0


def title(noise: str, gauss_mix: float = 0.0) -> str:
    """Return the paper's name of a denoiser, from what it was trained on.

    >>> title("noise_flow"), title("noise_flow", gauss_mix=0.5)
    ('DnCNN-NF', 'DnCNN-NF (50% Gauss)')
    """
    name = "Noisy input" if noise == "noisy" else SOURCES[noise].title
    return f"{name}{_mix(gauss_mix)}"


def label(row: Row) -> str:
    """Return a name of what a row's denoiser was trained on, for JSON and messages.

    >>> label({"noise": "noise_flow", "gauss_mix": 0.5})
    'noise_flow (50% Gauss)'
    """
    return f"{row['noise']}{_mix(row.get('gauss_mix', 0.0))}"


def _kind(row: Row) -> dict[str, Any]:
    return {"noise": row["noise"], "gauss_mix": row.get("gauss_mix", 0.0)}


def _mix(gauss_mix: float) -> str:
    return f" ({100 * gauss_mix:g}% Gauss)" if gauss_mix else ""


def place(row: Row) -> tuple[int, float]:
    """Return the key to sort rows by, in the paper's order, the noisy input first."""
    return ["noisy", *SOURCES].index(row["noise"]), row.get("gauss_mix", 0.0)


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean, and the sample standard deviation of two values or more."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": spread}


def with_std(value: Mapping[str, float | None], digits: int) -> str:
    """Return a mean with its standard deviation as text.

    >>> with_std(mean_and_std([1.0, 2.0]), 2), with_std(mean_and_std([1.0]), 2)
    ('1.50 ± 0.71', '1.00')
    """
    text = f"{value['mean']:.{digits}f}"
    return text if value["std"] is None else f"{text} ± {value['std']:.{digits}f}"


def summary(rows: Iterable[Row], by: str | None = None) -> dict[Any, dict[str, Any]]:
    """Return means over images, then mean and standard deviation over runs.

    Args:
        rows: one for each run and image: `noise`, `seed`, the scores, and the column `by`; also
            `gauss_mix` if some batches were Gaussian.
        by: a column of images to group them by, such as "camera"; None for all together.

    Returns:
        For each `label`, or each (`label`, value of `by`): `noise`, `gauss_mix`, `by`; `runs`, how
        many; and for each score its `mean` and `std`, over runs. In the paper's order.
    """
    groups: dict[Any, dict[Any, list[Row]]] = {}
    for row in sorted(rows, key=place):
        key = label(row) if by is None else (label(row), row[by])
        groups.setdefault(key, {}).setdefault(row["seed"], []).append(row)
    results = {}
    for key, runs in groups.items():
        ((first, *_), *_) = runs.values()
        results[key] = _kind(first) | ({by: first[by]} if by else {}) | {"runs": len(runs)}
        for name in SCORES:
            means = [float(np.mean([row[name] for row in of])) for of in runs.values()]
            results[key][name] = mean_and_std(means)
    return results


def margins(rows: Iterable[Row], ours: str = "noise_flow") -> dict[str, dict[str, Any]]:
    """Return by how many dB one noise's denoisers are better than the others', seed by seed.

    Returns:
        For each other `label` that has runs of the same seeds, `noise`, `gauss_mix`, `mean` and
        `std` of the differences in PSNR, and `least`, the smallest one.
    """
    runs: dict[tuple[str, Any], list[Row]] = {}
    for row in rows:
        runs.setdefault((label(row), row["seed"]), []).append(row)
    means = {key: float(np.mean([row["psnr"] for row in of])) for key, of in runs.items()}
    results: dict[str, dict[str, Any]] = {}
    for (other, seed), (first, *_) in runs.items():
        if other not in (ours, "noisy") and (ours, seed) in means:
            margin = results.setdefault(other, _kind(first) | {"values": []})
            margin["values"].append(means[ours, seed] - means[other, seed])
    for margin in results.values():
        values = margin.pop("values")
        margin |= {**mean_and_std(values), "least": min(values)}
    return results


def psnr_gaps(rows: Iterable[Row], real: str = "real") -> dict[str, dict[str, Any]]:
    """Return the PGap of each noise, in dB: how far training on it is behind real noise.

    PGap = PSNR of the denoiser that was trained on the real pairs - PSNR of the one that was
    trained on the other noise, both under the same conditions, on the same real test images (Yue
    et al., "Dual adversarial network", ECCV 2020). Lower is better; below 0, training on the other
    noise is better than on the pairs.

    Args:
        rows: as `summary` takes them, with `image`; and `scene`, if some images show the same.
        real: the `label` of the real noise.

    Returns:
        For each other `label` that has runs of the same seeds, `noise` and `gauss_mix`; `runs`, the
        number of those seeds; the `mean` over seeds and images; its `stderr` over scenes, whose
        images count as one sample, None for fewer than two; and `floor`, the root mean square
        difference between two seeds' denoisers trained on real noise, None for one seed.
    """
    psnr: dict[tuple[str, Any], dict[Any, float]] = {}
    kinds: dict[str, dict[str, Any]] = {}
    scenes: dict[Any, Any] = {}
    for number, row in enumerate(rows):
        image = row.get("image", number)
        psnr.setdefault((label(row), row["seed"]), {})[image] = row["psnr"]
        kinds.setdefault(label(row), _kind(row))
        scenes[image] = row.get("scene", image)
    seeds = [seed for name, seed in psnr if name == real]
    means = [float(np.mean(list(psnr[real, seed].values()))) for seed in seeds]
    floor = float(np.std(means, ddof=1) * math.sqrt(2)) if len(means) > 1 else None
    gaps: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        shared = [seed for seed in seeds if (name, seed) in psnr]
        if name in (real, "noisy") or not shared:
            continue
        of_scene: dict[Any, list[float]] = {}
        for seed in shared:
            for image, value in psnr[name, seed].items():
                if image in psnr[real, seed]:
                    difference = psnr[real, seed][image] - value
                    of_scene.setdefault(scenes[image], []).append(difference)
        if not of_scene:
            continue
        values = np.concatenate(list(of_scene.values()))
        mean, count = float(values.mean()), len(of_scene)
        sums = [sum(d - mean for d in scene) / len(values) for scene in of_scene.values()]
        error = math.sqrt(sum(s**2 for s in sums) * count / (count - 1)) if count > 1 else None
        gaps[name] = {**kind, "runs": len(shared), "mean": mean, "stderr": error, "floor": floor}
    return gaps


def gap_lines(gaps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return `psnr_gaps` in Markdown."""
    if not gaps:
        return []
    head = ["trained on", "seeds", "PGap (dB)"]
    lines = [head]
    for gap in gaps.values():
        error = "" if gap["stderr"] is None else f" ± {gap['stderr']:.2f}"
        name = title(gap["noise"], gap["gauss_mix"])
        lines.append([name, str(gap["runs"]), f"{gap['mean']:.2f}{error}"])
    floor = next(iter(gaps.values()))["floor"]
    known = "" if floor is None else f" Two seeds on the pairs differ by {floor:.2f} dB (RMS)."
    return [
        "PGap (Yue et al., ECCV 2020): PSNR after training on the pairs, less that after training "
        "on other noise, with the same seeds, in dB; lower is better. Standard errors are over "
        f"scenes.{known}",
        markdown(lines),
    ]


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return Table 3 in Markdown: PSNR and SSIM by what was trained on, and the paper's numbers.

    The best value is bold. In parentheses is the relative improvement of Noise Flow in RMSE and
    DSSIM where it is better, as in the paper; `scores` are of `summary`.
    """
    ours = scores.get("noise_flow")
    papers = SOURCES["noise_flow"].paper or {}

    def cell(score: Mapping, metric: str, digits: int, gain: Callable) -> str:
        text = _bold_if_best(score, scores.values(), metric, digits)
        if score is ours or ours is None:
            return text
        better = gain(score[metric]["mean"], ours[metric]["mean"])
        return f"{text} ({better:.1%})" if better > 0 else text

    def paper(score: Mapping, metric: str, gain: Callable) -> str:
        source = None if score["gauss_mix"] else SOURCES.get(score["noise"])
        if source is None or source.paper is None:
            return ""
        value = source.paper[metric]
        return f"**{value}**" if score is ours else f"{value} ({gain(value, papers[metric]):.1%})"

    head = ["trained on", "runs", "PSNR", "SSIM", "SSIM, range 2", "paper: PSNR", "paper: SSIM"]
    lines = [
        [
            title(score["noise"], score["gauss_mix"]),
            str(score["runs"]) if score["noise"] != "noisy" else "",
            cell(score, "psnr", 2, rmse_gain),
            cell(score, "ssim", 4, dssim_gain),
            cell(score, "ssim_range2", 4, dssim_gain),
            paper(score, "psnr", rmse_gain),
            paper(score, "ssim", dssim_gain),
        ]
        for score in scores.values()
    ]
    return markdown([head, *lines])


def table_by(scores: Mapping[Any, Mapping[str, Any]], by: str) -> str:
    """Return mean PSNR / SSIM in Markdown, one line for each value of what `summary` went `by`.

    The best of a line is bold.
    """
    titles = {which: title(one["noise"], one["gauss_mix"]) for (which, _), one in scores.items()}
    lines = [[by, *titles.values()]]
    for value in sorted({one[by] for one in scores.values()}):
        cells = [scores[which, value] for which in titles]
        means = [{name: {"mean": c[name]["mean"], "std": None} for name in SCORES} for c in cells]
        lines.append([
            str(value),
            *(
                f"{_bold_if_best(c, means, 'psnr', 2)} / {_bold_if_best(c, means, 'ssim', 4)}"
                for c in means
            ),
        ])  # fmt: skip
    return markdown(lines)


def _bold_if_best(score: Mapping, scores: Collection[Mapping], metric: str, digits: int) -> str:
    """Return a score as text, bold if none of two or more is higher by the digits shown."""
    text = with_std(score[metric], digits)
    highest = max(round(other[metric]["mean"], digits) for other in scores)
    best = len(scores) > 1 and round(score[metric]["mean"], digits) >= highest
    return f"**{text}**" if best else text
