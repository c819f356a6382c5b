"""How good denoised images are, and the paper's Table 3 of it."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from skimage.metrics import structural_similarity

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

    >>> score(np.zeros([16, 16, 4]), np.full([16, 16, 4], 0.1))["psnr"]
    20.0
    """
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
    return (ours - ssim) / (1 - ssim)


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation; that of a single value is NaN."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return {"mean": float(np.mean(values)), "std": spread}


def summary(
    rows: Iterable[Mapping[str, object]], by: str | None = None
) -> dict[str, dict[str, object]]:
    """Means over images, then mean and standard deviation over runs.

    Args:
        rows: one for each run and image: `noise`, `run`, the scores, and what `by` names.
        by: the column that images are told apart by, such as "camera"; None for all together.

    Returns:
        For each noise, or each (noise, value of `by`), `runs`, how many, and for each score its
        `mean` and `std`, over runs.
    """
    groups: dict[object, dict[object, list]] = {}
    for row in rows:
        key = row["noise"] if by is None else (row["noise"], row[by])
        groups.setdefault(key, {}).setdefault(row["run"], []).append(row)
    return {
        key: {
            "runs": len(runs),
            **{
                name: over_seeds([np.mean([row[name] for row in of]) for of in runs.values()])
                for name in ("psnr", "ssim", "ssim_range2")
            },
        }
        for key, runs in groups.items()
    }


def table(scores: Mapping[str, Mapping[str, object]]) -> str:
    """Table 3 in Markdown: PSNR and SSIM by what was trained on, and the paper's beside them.

    In parentheses the relative improvement of Noise Flow in RMSE and DSSIM, as in the paper.

    Args:
        scores: of `summary`.
    """
    ours = scores.get("noise_flow")

    def cell(score: Mapping, metric: str, digits: int, gain) -> str:
        text = f"{score[metric]['mean']:.{digits}f}"
        if not math.isnan(score[metric]["std"]):
            text += f" ± {score[metric]['std']:.{digits}f}"
        if ours is None or score is ours:
            return f"**{text}**" if score is ours else text
        return f"{text} ({gain(score[metric]['mean'], ours[metric]['mean']):.1%})"

    def paper(noise: str) -> list[str]:
        if noise not in PAPER:
            return ["", ""]
        psnr, ssim = PAPER[noise]["psnr"], PAPER[noise]["ssim"]
        if noise == "noise_flow":
            return [f"**{psnr}**", f"**{ssim}**"]
        best = PAPER["noise_flow"]
        return [
            f"{psnr} ({rmse_gain(psnr, best['psnr']):.1%})",
            f"{ssim} ({dssim_gain(ssim, best['ssim']):.1%})",
        ]

    head = ["trained on", "runs", "PSNR", "SSIM", "SSIM, range 2", "paper: PSNR", "paper: SSIM"]
    lines = [
        [
            TITLES[noise],
            str(scores[noise]["runs"]) if noise != "noisy" else "",
            cell(scores[noise], "psnr", 2, rmse_gain),
            cell(scores[noise], "ssim", 4, dssim_gain),
            cell(scores[noise], "ssim_range2", 4, dssim_gain),
            *paper(noise),
        ]
        for noise in TITLES
        if noise in scores
    ]
    return markdown(head, lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned."""
    rows = [list(head), *map(list, lines)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
