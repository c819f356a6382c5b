"""Rendered patches, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

_LABEL_INCHES = 0.22


@dataclass(frozen=True)
class Picture:
    """One rendered patch.

    Attributes:
        image: uint8 RGB `[H, W, 3]`.
        kl: of its noise to the dataset's, shown below it.
        caption: shown below it otherwise.
    """

    image: np.ndarray
    kl: float | None = None
    caption: str | None = None


def comparison(
    rows: Mapping[str, Mapping[str, Picture]], title: str = "", inches: float = 1.8
) -> Figure:
    """Draw rows of rendered patches, as in Figure 5 of the paper.

    Args:
        rows: by the row's label (camera and ISO), the pictures by the column's title.
        title: above the figure.
        inches: the width of a picture.
    """
    columns: Sequence[str] = list(next(iter(rows.values())))
    shapes = [pictures[columns[0]].image.shape for pictures in rows.values()]
    heights = [inches * height / width + _LABEL_INCHES for height, width, _ in shapes]
    size = (inches * len(columns) + _LABEL_INCHES, sum(heights) + 2 * _LABEL_INCHES)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(
        len(rows), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(label, fontsize=8)
        for axis, column in zip(line, columns, strict=True):
            picture = pictures[column]
            axis.imshow(picture.image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if picture.kl is not None:
                axis.set_xlabel(f"KL {picture.kl:.4f}", fontsize=7)
            elif picture.caption:
                axis.set_xlabel(picture.caption, fontsize=7)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=9)
    return figure


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """Return the square of `side` pixels, or less, in the middle of an image `[H, W, ...]`."""
    side = min(side, *image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
