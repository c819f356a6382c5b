"""Why a KL is 0.026 where the paper has 0.008: python -m studies.paper_kl --model PATH.

Noise is drawn from a model, the released one for instance, on the clean test images of the offline
dataset, with their cameras and ISO levels, and takes the place of real noise. The marginal KL of
more samples of the same model to it is then the least that any model has. One thing at a time is
changed in how samples are drawn or the KL is computed; differences are paired, image by image, and
their standard errors are over the images, each of a scene of its own.
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studies import common  # isort: skip
import numpy as np
import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf.evaluation.histograms import KL_EDGES, divergence
from noise_flow_tf.evaluation.tables import markdown
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.protocol import NoiseModel, distribution, sample
from sidd.progress import progress_bar

_SIZE = 32
_BATCH = 140
_REAL, _FIRST = 11, 12  # numbers of draws

KL = Callable[[np.ndarray, np.ndarray], float]


class Image(NamedTuple):
    """A clean packed image `[h, w, 4]` in [0, 1], and its conditions."""

    clean: np.ndarray
    iso: int
    camera: str
    brightness: str


class Row(NamedTuple):
    """One thing that was changed: what, and the mean KL of each image, in nats."""

    group: str
    what: str
    kl: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    parser = common.parsing.Parser(prog="studies.paper_kl", description=__doc__.partition("\n")[0])
    parser.option("model", metavar="PATH", required=True, help="a run, SavedModel or checkpoint")
    parser.option("out", metavar="FOLDER", default="runs/paper_kl", help="output folder")
    parser.option("dataset", metavar="ROOT", default=common.DATASET, help="the offline dataset")
    parser.option("seed", type=int, default=0, help="of the samples")
    args = parser.parse_args(arguments)
    model = nf.load(args.model)
    root = sidd.write_synthetic(args.dataset, exist_ok=True)
    rows = measure(model, images(root), args.seed)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    table = as_table(rows)
    with sidd.replacing(out / "paper_kl.json") as path:
        found = [{"group": r.group, "what": r.what, "kl": r.kl.tolist()} for r in rows]
        path.write_text(json.dumps(found, indent=2) + "\n")
    with sidd.replacing(out / "paper_kl.md") as path:
        path.write_text(table + "\n")
    print(table)


def images(root: Path) -> list[Image]:
    """Read the clean test images of a dataset, one per scene instance."""
    found = []
    for frame in sidd.select_frames(sidd.index(root), "test", frame_range=(10, 11)):
        clean = sidd.read_pair(frame.noisy, frame.clean, frame.metadata).clean
        found.append(Image(clean, frame.iso, frame.camera, frame.brightness))
    return found


def measure(model: NoiseModel, shots: Sequence[Image], seed: int) -> list[Row]:
    """Return the KL of each image after each change, the unchanged one first."""
    by_averages = Sampler(model, shots, seed)
    by_moments = Sampler(functools.partial(model, training=True), shots, seed)
    cuts = [cut(shot.clean, _SIZE) for shot in shots]
    real, base = by_averages(_REAL), by_averages(_FIRST)
    rows = [Row("", "samples of the model, as in the release's evaluation", mean_kl(real, base))]

    def add(group: str, what: str, real: Any, synthetic: Any, kl: KL | None = None) -> None:
        rows.append(Row(group, what, mean_kl(real, synthetic, kl)))

    for temperature in (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.15, 1.2):
        scaled = by_averages(_FIRST, temperature)
        add("sampling temperature", f"{temperature:g}", real, scaled)
    group = "batch norm's mode while sampling"
    for temperature in (1.0, 0.8, 0.6):
        drawn = by_moments(_FIRST, temperature)
        add(group, f"moments of the image's patches, temperature {temperature:g}", real, drawn)
    group = "conditions while sampling"
    others = [shots[(number + 1) % len(shots)] for number in range(len(shots))]
    wrong = by_averages(_FIRST, conditions=others)
    add(group, "camera and ISO of another image", real, wrong)
    wrong = by_averages(_FIRST, conditions=_next_camera(shots))
    add(group, "another camera, the right ISO", real, wrong)
    group = "bins of the histogram"
    for bins in (16, 32, 128, 256, 1024):
        edges = np.concatenate([[-1000.0], np.linspace(-0.1, 0.1, bins + 1), [1000.0]])
        add(group, f"{bins} on [-0.1, 0.1]", real, base, marginal(edges))
    for reach in (0.05, 0.2):
        edges = np.concatenate([[-1000.0], np.linspace(-reach, reach, 65), [1000.0]])
        add(group, f"64 on [-{reach:g}, {reach:g}]", real, base, marginal(edges))
    group = "bins that are empty in the samples"
    for least in (1e-5, 1e-10):
        add(group, f"count, as if they had {least:g}", real, base, with_least(least))
    group = "patch size"
    for size in (8, 16, 64):
        add(
            group, f"{size} x {size}", by_averages(_REAL, size=size), by_averages(_FIRST, size=size)
        )
    whole, other = ([noise.reshape(1, -1) for noise in draws] for draws in (real, base))
    add(group, "one histogram of all patches of an image", whole, other)
    group = "number of patches"
    for what, step in (("every 5th", 5), ("the first of each image", 10**6)):
        add(group, what, [n[::step] for n in real], [n[::step] for n in base])
    group = "which patches"
    for iso in sorted({shot.iso for shot in shots}):
        rows.append(_only(rows[0], group, f"ISO {iso}", [shot.iso == iso for shot in shots]))
    for code, light in (("L", "low"), ("N", "normal"), ("H", "high")):
        keep = [shot.brightness == code for shot in shots]
        if any(keep):
            rows.append(_only(rows[0], group, f"{light} brightness", keep))
    for dark in (True, False):
        halves = [_half(clean, dark) for clean in cuts]
        first, second = (
            [n[keep] for n, keep in zip(draws, halves, strict=True)] for draws in (real, base)
        )
        add(group, f"the {'darker' if dark else 'brighter'} half of each image", first, second)
    group = "the files of a camera"
    clipped = [np.clip(clean + n, 0, 1) - clean for clean, n in zip(cuts, real, strict=True)]
    add(group, "the noise is clipped with the image to [0, 1], samples are not", clipped, base)
    coarse = [np.rint((c + n) * 1023) / 1023 - c for c, n in zip(cuts, real, strict=True)]
    add(group, "the noisy image has 10 bits", coarse, base)
    return rows


class Sampler:
    """Draws noise of a model for the patches of images."""

    def __init__(self, model: NoiseModel, shots: Sequence[Image], seed: int) -> None:
        self._model, self._shots, self._seed = model, shots, seed

        @tf.function(reduce_retracing=True, autograph=False)
        @own_graph()
        def step(batch: dict[str, tf.Tensor], seed: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
            return sample(distribution(model, batch), seed, temperature)

        self._step = step

    def __call__(
        self,
        draw: int,
        temperature: float = 1.0,
        size: int = _SIZE,
        conditions: Sequence[Image] | None = None,
    ) -> list[np.ndarray]:
        """Return noise for each image, `[patches, size, size, 4]`; equal draws share the latent."""
        noise = []
        pairs = zip(self._shots, conditions or self._shots, strict=True)
        for number, (shot, other) in enumerate(progress_bar([*pairs], "sampling", leave=False)):
            clean = cut(shot.clean, size)
            most = _BATCH * _SIZE**2 // size**2
            parts = []
            for start in range(0, len(clean), most):
                part = clean[start : start + most]
                batch = {
                    "clean": tf.constant(part),
                    "iso": tf.fill([len(part)], other.iso),
                    "camera": tf.fill([len(part)], sidd.CAMERAS.index(other.camera)),
                }
                seed = tf.constant([self._seed + draw, 1000 * number + start])
                parts.append(self._step(batch, seed, tf.constant(temperature, tf.float32)).numpy())
            noise.append(np.concatenate(parts))
        return noise


def cut(image: np.ndarray, size: int) -> np.ndarray:
    """Return the whole patches of an image `[h, w, 4]`, row by row, `[n, size, size, 4]`."""
    rows, columns = (side // size for side in image.shape[:2])
    kept = image[: rows * size, : columns * size].reshape(rows, size, columns, size, 4)
    return np.ascontiguousarray(kept.swapaxes(1, 2)).reshape(-1, size, size, 4)


def marginal(edges: np.ndarray) -> KL:
    """Return the release's KL, with other bins."""
    return lambda real, synthetic: divergence(*_histograms(real, synthetic, edges))


def with_least(least: float) -> KL:
    """Return the KL over all bins of real noise, where empty bins of samples have `least`."""

    def kl(real: np.ndarray, synthetic: np.ndarray) -> float:
        p, q = _histograms(real, synthetic, KL_EDGES)
        return divergence(p, np.maximum(q, least))

    return kl


def mean_kl(
    real: Sequence[np.ndarray], synthetic: Sequence[np.ndarray], kl: KL | None = None
) -> np.ndarray:
    """Return, of each image, the mean KL of its patches, by default the release's."""
    kl = kl or marginal(KL_EDGES)
    return np.array(
        [np.mean([kl(*pair) for pair in zip(*both, strict=True)])
         for both in zip(real, synthetic, strict=True)]
    )  # fmt: skip


def as_table(rows: Sequence[Row]) -> str:
    """Return the KL of each change and its difference from the unchanged one, as Markdown."""
    first = rows[0].kl
    lines = [["what is changed", "to", "KL", "difference"]]
    group = None
    for row in rows:
        known = ~np.isnan(row.kl)
        mean, error = _mean_and_error(row.kl[known])
        about = "" if row.group == group else row.group
        group = row.group
        if row is rows[0]:
            lines.append(["nothing", row.what, f"{mean:.4f} ± {error:.4f}", ""])
            continue
        difference = mean - first.mean()
        if known.all():
            paired, error = _mean_and_error(row.kl - first)
            lines.append([about, row.what, f"{mean:.4f}", f"{paired:+.4f} ± {error:.4f}"])
        else:
            lines.append([about, row.what, f"{mean:.4f} ± {error:.4f}", f"{difference:+.4f}"])
    return markdown(lines)


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _histograms(
    real: np.ndarray, synthetic: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, ...]:
    return tuple(np.histogram(noise, edges)[0] / noise.size for noise in (real, synthetic))


def _only(row: Row, group: str, what: str, keep: Sequence[bool]) -> Row:
    return Row(group, what, np.where(keep, row.kl, np.nan))


def _half(clean: np.ndarray, dark: bool) -> np.ndarray:
    means = clean.mean(axis=(1, 2, 3))
    order = np.argsort(means)
    return np.sort(order[: len(order) // 2] if dark else order[len(order) // 2 :])


def _next_camera(shots: Sequence[Image]) -> list[Image]:
    """Return, for each image, one of another camera, the next in the order of SIDD's cameras."""
    cameras = sidd.CAMERAS
    return [s._replace(camera=cameras[(cameras.index(s.camera) + 1) % len(cameras)]) for s in shots]


if __name__ == "__main__":
    common.parsing.run(main, "studies.paper_kl")
