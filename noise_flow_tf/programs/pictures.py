"""Rendered pictures of a dataset's and of sampled noise, for training and for reports."""

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting, protocol
from noise_flow_tf.evaluation import tables
from noise_flow_tf.layers import tag
from noise_flow_tf.saving.files import replacing
from sidd.errors import reading

_SIDE = 64
_LIGHTS = {"N": "normal light", "L": "low light", "H": "bright light"}
_SHOWN_LIGHTS = ("N", "L")
_LOGARITHMIC = ("beta", "gain")

Rows = dict[str, dict[str, plotting.Picture]]
"""Pictures by label and title."""
History = Sequence[Mapping[str, float]]


class Examples:
    """Patches of test frames, one for each ISO level, with all that is needed to show them."""

    def __init__(self, frames: Sequence[sidd.Frame], noise: str, by_light: bool = False) -> None:
        """Read patches of 64 packed pixels a side, or less, from the middle of some of the frames.

        `noise` is what `dataset.noise_label` calls theirs, and `by_light` takes for each ISO level
        one frame in normal and one in low light, if there are such frames.
        """
        self.noise_label = noise
        of_light = [[f for f in frames if f.brightness == light] for light in _SHOWN_LIGHTS]
        kinds = of_light if by_light and any(of_light) else [frames]
        chosen = sorted(itertools.chain(*map(_varied, kinds)), key=lambda frame: frame.iso)
        pairs = [
            sidd.read_pair(frame.noisy, frame.clean, frame.metadata, frame.camera)
            for frame in chosen
        ]
        side = min([_SIDE, *(length for pair in pairs for length in pair.clean.shape[:2])])
        self.labels = [
            f"{frame.camera}, ISO {frame.iso}"
            + (f", {_LIGHTS[frame.brightness]}" if by_light else "")
            for frame in chosen
        ]
        self.iso = np.array([frame.iso for frame in chosen], np.int32)
        self.camera = [frame.camera for frame in chosen]
        self._nlf = np.array([pair.nlf for pair in pairs], np.float32)
        self._metadata = [pair.metadata for pair in pairs]
        parts = [_middle(pair.noise, side) for pair in pairs]
        self.clean = np.stack([pair.clean[part] for pair, part in zip(pairs, parts, strict=True)])
        noises = [pair.noise[part] for pair, part in zip(pairs, parts, strict=True)]
        self.noise = np.nan_to_num(np.stack(noises))

    def sample(self, model: Any, seed: int = 0) -> np.ndarray:
        """Sample noise `[N, h, w, 4]` of a noise model for the examples."""
        batch = {"clean": self.clean, "iso": self.iso, "camera": self.camera, "nlf": self._nlf}
        return protocol.sample(protocol.distribution(model, batch), (seed, 0)).numpy()

    def strips(self, model: Any) -> dict[str, np.ndarray]:
        """Return each example clean, with its noise and with sampled noise, as uint8 RGB."""
        sampled = self.sample(model)
        return {
            f"clean, {self.noise_label}, sampled/{label}": np.concatenate(
                [self._render(i, noise) for noise in (0.0, self.noise[i], sampled[i])], axis=1
            )
            for i, label in enumerate(self.labels)
        }

    def comparison(self, models: Mapping[str, Any], seed: int = 0) -> Rows:
        """Return by label the samples of each model, with their KL, and the example itself."""
        samples = {title: self.sample(model, seed) for title, model in models.items()}
        rows: Rows = {}
        for i, label in enumerate(self.labels):
            row = {
                title: plotting.Picture(
                    self._render(i, noise[i]), nf.metrics.marginal_kl(self.noise[i], noise[i])
                )
                for title, noise in samples.items()
            }
            row[self.noise_label.capitalize()] = plotting.Picture(self._render(i, self.noise[i]))
            row["Clean"] = plotting.Picture(self._render(i, 0.0))
            rows[label] = row
        return rows

    def _render(self, i: int, noise: np.ndarray | float) -> np.ndarray:
        return sidd.render_packed(np.clip(self.clean[i] + noise, 0, 1), self._metadata[i])


def _middle(noise: np.ndarray, side: int) -> tuple[slice, slice]:
    """Return a square of pixels without NaN if there is one, as near to the middle as can be."""
    middle = (np.array(noise.shape[:2]) - side) // 2
    masked = np.isnan(noise).any(axis=-1)
    if masked.any():
        places = np.argwhere(sidd.unmasked_corners(masked, side))
        if len(places):
            middle = places[np.abs(places - middle).sum(axis=1).argmin()]
    top, left = middle.tolist()
    return slice(top, top + side), slice(left, left + side)


def comparison_figure(rows: Rows, noise: str) -> Figure:
    """Draw `Examples.comparison`, as Figure 5 of the paper; `noise` as in `Examples`."""
    return plotting.comparison(
        rows, f"Sampled and {noise} noise of the test set, rendered to sRGB (KL in nats)"
    )


def shown(figures: Mapping[str, Figure]) -> list[str]:
    """Return a line of Markdown for each figure in `pictures/`, with its title in words."""
    return [
        f"![{' '.join(_title_of(figure).split())}](pictures/{name}.png)"
        for name, figure in figures.items()
    ]


def _title_of(figure: Figure) -> str:
    return figure.get_suptitle() or figure.get_supylabel() or figure.axes[0].get_title()


def save(path: Path, rows: Rows) -> None:
    """Save rows of pictures in an .npz file."""
    about: list[tuple[str, str, float | None]] = []
    images: dict[str, Any] = {}
    for label, row in rows.items():
        for title, picture in row.items():
            images[str(len(about))] = picture.image
            about.append((label, title, picture.kl))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **images)


def load(path: Path) -> Rows:
    """Return the rows of pictures that `save` wrote.

    Raises:
        ValueError: they are missing or damaged.
    """
    rows: Rows = {}
    with (
        reading(path, "holds no pictures of noise-flow evaluate"),
        np.load(path, allow_pickle=False) as arrays,
    ):
        for number, (label, title, kl) in enumerate(json.loads(str(arrays["about"]))):
            rows.setdefault(label, {})[title] = plotting.Picture(arrays[str(number)], kl)
    return rows


def _varied(frames: Sequence[sidd.Frame]) -> list[sidd.Frame]:
    """Choose a frame for each ISO level, if possible of another camera than the levels before."""
    chosen: dict[int, sidd.Frame] = {}
    for iso in sorted({frame.iso for frame in frames}):
        seen = {frame.camera for frame in chosen.values()}
        candidates = [frame for frame in frames if frame.iso == iso]
        chosen[iso] = min(candidates, key=lambda frame: frame.camera in seen)
    return list(chosen.values())


def history(
    rows: History,
    baselines: Mapping[str, Mapping[str, float]],
    summaries: Mapping[str, Collection[str]],
    noise: str,
    kl_floor: float | None = None,
) -> dict[str, plotting.Chart]:
    """Chart what training measured and learned, as in Figures 4, 6 and 7 of the paper.

    Args:
        rows: one per epoch, as in `history.csv`.
        baselines: scores whose `nll`, in nats per dimension, and `kl`, in nats, are level lines.
        summaries: by group, the labels of what the model learns, as `NoiseFlow.summaries` has them.
        noise: what the dataset's noise is, as in `Examples`.
        kl_floor: of the trained model, in nats; a level line of the KL.

    Returns:
        By name `nll`, `kl`, and one chart for each group.
    """
    nll, kl = (
        {tables.TITLES[name]: score[metric] for name, score in baselines.items()}
        for metric in ("nll", "kl")
    )
    if kl_floor is not None:
        kl["floor: two samples of the model"] = kl_floor
    curves = {
        "nll": plotting.Chart(
            {"training": against_epoch(rows, "nll"), "test": against_epoch(rows, "val_nll")},
            title=f"Negative log-likelihood of {noise} noise",
            xlabel="epoch",
            ylabel="NLL in nats per dimension",
            levels=nll,
            top=_top(rows, nll.values()),
        ),
        "kl": plotting.Chart(
            {"test": against_epoch(rows, "val_kl")},
            title=f"Marginal KL divergence, sampled to {noise}",
            xlabel="epoch",
            ylabel="KL in nats (logarithmic)",
            levels=kl,
            logarithmic=True,
        ),
    }
    for group, labels in summaries.items():
        curves[group.replace(" ", "_")] = plotting.Chart(
            {label: against_epoch(rows, tag(group, label)) for label in labels},
            title=f"Learned {group}, from {noise} noise",
            xlabel="epoch",
            ylabel=f"{group} (logarithmic)" if group in _LOGARITHMIC else group,
            logarithmic=group in _LOGARITHMIC,
        )
    return curves


def _top(rows: History, levels: Collection[float]) -> float | None:
    """Return the highest NLL to show: those of the first epochs would flatten the rest."""
    measured = against_epoch(rows, "nll")[1]
    if not measured or not all(measured[-1] < level for level in levels):
        return None
    highest = max(levels)
    return highest + 0.3 * (highest - measured[-1])


def against_epoch(rows: History, name: str) -> tuple[list[float], list[float]]:
    """Return the epochs in which something was measured, and what."""
    measured = [row for row in rows if name in row]
    return [row["epoch"] for row in measured], [row[name] for row in measured]
