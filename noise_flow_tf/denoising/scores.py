"""How good denoised images are, and the paper's Table 3 of it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

from noise_flow_tf.evaluation.tables import markdown

Row = Mapping[str, Any]

SCORES = ("psnr", "ssim", "ssim_range2")
SSIM_WINDOW = 11
"""The least side, in packed pixels, of an image that has an SSIM."""
_LEAST_ERROR = 1e-10

TITLES = {
    "noisy": "Noisy input",
    "gauss": "DnCNN-Gauss",
    "camera_nlf": "DnCNN-CamNLF",
    "noise_flow": "DnCNN-NF",
    "real": "DnCNN-Real",
}
"""The paper's names of what a denoiser was trained on."""

PAPER = {
    "gauss": {"psnr": 43.63, "ssim": 0.968},
    "camera_nlf": {"psnr": 44.99, "ssim": 0.982},
    "noise_flow": {"psnr": 48.52, "ssim": 0.992},
    "real": {"psnr": 47.08, "ssim": 0.989},
}
"""Table 3 of the paper, on SIDD's validation blocks."""


def score(clean: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of an image `[H, W, 4]` in [0, 1].

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
    error = max(float(np.mean(np.square(np.asarray(image, float) - clean))), _LEAST_ERROR)
    ssim = {
        name: float(
            structural_similarity(
                np.asarray(clean, float),
                np.asarray(image, float),
                data_range=data_range,
                channel_axis=-1,
                gaussian_weights=True,
                use_sample_covariance=False,
            )
        )
        for name, data_range in (("ssim", 1), ("ssim_range2", 2))
    }
    return {"psnr": round(-10 * math.log10(error), 10), **ssim}


def rmse_gain(psnr: float, ours: float) -> float:
    """The part of another's root-mean-square error that is gone in ours, from both PSNRs.

    >>> f"{rmse_gain(43.63, 48.52):.1%}"
    '43.0%'
    """
    return 1 - 10 ** ((psnr - ours) / 20)


def dssim_gain(ssim: float, ours: float) -> float:
    """The part of another's structural dissimilarity (1 - SSIM) / 2 that is gone in ours.

    >>> f"{dssim_gain(0.984, 0.992):.1%}"
    '50.0%'
    """
    return (ours - ssim) / (1 - ssim) if ssim < 1 else 0.0


def title(noise: str) -> str:
    """The paper's name of a denoiser, from what it was trained on.

    >>> title("noise_flow"), title("noise_flow (50% Gauss)")
    ('DnCNN-NF', 'DnCNN-NF (50% Gauss)')
    """
    name, _, rest = noise.partition(" ")
    return f"{TITLES[name]} {rest}".strip()


def in_order(noises: Iterable[str]) -> list[str]:
    """What was trained on, each once, in the paper's order."""
    place = list(TITLES)
    return sorted({*noises}, key=lambda noise: (place.index(noise.split()[0]), noise))


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """The mean, and the sample standard deviation where there are two values or more."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": spread}


def told(value: Mapping[str, float | None], digits: int) -> str:
    """A mean with its standard deviation.

    >>> told(mean_and_std([1.0, 2.0]), 2), told(mean_and_std([1.0]), 2)
    ('1.50 ± 0.71', '1.00')
    """
    text = f"{value['mean']:.{digits}f}"
    return text if value["std"] is None else f"{text} ± {value['std']:.{digits}f}"


def summary(rows: Iterable[Row], by: str | None = None) -> dict[Any, dict[str, Any]]:
    """Means over images, then mean and standard deviation over runs.

    Args:
        rows: one for each run and image: `noise`, `seed`, the scores, and what `by` names.
        by: the column that images are told apart by, such as "camera"; None for all together.

    Returns:
        For each noise, or each (noise, value of `by`), `runs`, how many, and for each score its
        `mean` and `std`, over runs.
    """
    groups: dict[Any, dict[Any, list[Row]]] = {}
    for row in rows:
        key = row["noise"] if by is None else (row["noise"], row[by])
        groups.setdefault(key, {}).setdefault(row["seed"], []).append(row)
    return {
        key: {
            "runs": len(runs),
            **{
                name: mean_and_std([np.mean([row[name] for row in of]) for of in runs.values()])
                for name in SCORES
            },
        }
        for key, runs in groups.items()
    }


def margins(rows: Iterable[Row], ours: str = "noise_flow") -> dict[str, dict[str, Any]]:
    """By how many dB one noise's denoisers are better than the others', seed by seed.

    Returns:
        For each other noise that has runs of the same seeds, `mean` and `std` of the differences in
        PSNR, and `least`, the smallest one.
    """
    runs: dict[tuple[str, Any], list[float]] = {}
    for row in rows:
        runs.setdefault((row["noise"], row["seed"]), []).append(row["psnr"])
    means = {key: float(np.mean(values)) for key, values in runs.items()}
    differences: dict[str, list[float]] = {}
    for (noise, seed), mean in means.items():
        if noise not in (ours, "noisy") and (ours, seed) in means:
            differences.setdefault(noise, []).append(means[ours, seed] - mean)
    return {
        noise: {**mean_and_std(values), "least": min(values)}
        for noise, values in differences.items()
    }


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Table 3 in Markdown: PSNR and SSIM by what was trained on, and the paper's beside them.

    In parentheses the relative improvement of Noise Flow in RMSE and DSSIM, as in the paper.

    Args:
        scores: of `summary`.
    """
    ours = scores.get("noise_flow")

    def cell(score: Mapping, metric: str, digits: int, gain: Callable) -> str:
        text = told(score[metric], digits)
        if score is ours:
            return f"**{text}**"
        if ours is None:
            return text
        return f"{text} ({gain(score[metric]['mean'], ours[metric]['mean']):.1%})"

    def paper(noise: str, metric: str, gain: Callable) -> str:
        if noise not in PAPER:
            return ""
        value, best = PAPER[noise][metric], PAPER["noise_flow"][metric]
        return f"**{value}**" if noise == "noise_flow" else f"{value} ({gain(value, best):.1%})"

    head = ["trained on", "runs", "PSNR", "SSIM", "SSIM, range 2", "paper: PSNR", "paper: SSIM"]
    lines = [
        [
            title(noise),
            str(scores[noise]["runs"]) if noise != "noisy" else "",
            cell(scores[noise], "psnr", 2, rmse_gain),
            cell(scores[noise], "ssim", 4, dssim_gain),
            cell(scores[noise], "ssim_range2", 4, dssim_gain),
            paper(noise, "psnr", rmse_gain),
            paper(noise, "ssim", dssim_gain),
        ]
        for noise in in_order(scores)
    ]
    return markdown([head, *lines])


def table_by(scores: Mapping[tuple[str, Any], Mapping[str, Any]], name: str) -> str:
    """Mean PSNR / SSIM in Markdown, a line for each value of what `summary` went `by`."""
    noises = in_order(noise for noise, _ in scores)
    values = sorted({value for _, value in scores})
    lines = [
        [
            str(value),
            *(
                f"{scores[noise, value]['psnr']['mean']:.2f} / "
                f"{scores[noise, value]['ssim']['mean']:.4f}"
                for noise in noises
            ),
        ]
        for value in values
    ]
    return markdown([[name, *map(title, noises)], *lines])
