"""Scores of noise models on a test set: likelihood and marginal KL divergence."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from noise_flow_tf.evaluation.metrics import marginal_kl, nll_per_dimension
from noise_flow_tf.protocol import Batch, NoiseModel, distribution, latent_and_log_prob, sample

KL_STRIDE = 5
"""The marginal KL is of every 5th patch of a batch, as in the release."""

METRICS = ("nll", "kl", "kl_floor")
"""What is measured of a model; see `ImageScores`."""


class Measured(NamedTuple):
    """What a noise model says of a batch of B patches."""

    nll: np.ndarray
    """`[B]`, nats per dimension."""
    latent: np.ndarray | None
    """`[B, H, W, 4]`, of the real noise; None for a model without a latent."""
    sample: np.ndarray
    """`[B, H, W, 4]`, sampled noise for the same clean patches."""
    again: np.ndarray
    """Another sample for every 5th patch."""


def measure(
    models: Mapping[str, NoiseModel], batches: Iterable[Batch], seed: int = 0
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Measured]]]:
    """Goes through a test set once, with all models side by side.

    Args:
        models: by name.
        batches: of `{"noise", "clean", "iso", "camera", "nlf"}`, in a fixed order.
        seed: of the samples.

    Yields:
        Each batch, and by name what each model says of it.

    Raises:
        ValueError: there is no batch.
    """
    steps = {name: _measuring(model) for name, model in models.items()}
    number = -1
    for number, batch in enumerate(batches):
        told = {
            name: Measured(*map(_array, step(batch, tf.constant([seed, number]))))
            for name, step in steps.items()
        }
        yield {name: np.asarray(tensor) for name, tensor in batch.items()}, told
    if number < 0:
        raise ValueError("the test set has no batch")


class ImageScores:
    """Gathers the scores of models image by image.

    An image's `nll`, nats per dimension, is the mean over its patches; `kl`, nats, is the mean of
    the marginal KL divergence over every 5th patch of each of its batches; `kl_floor` is that of
    two samples of the model itself: what so few pixels give where the model is perfect.
    """

    def __init__(self):
        self._sums: dict[int, dict[str, Any]] = {}

    def add(self, batch: Mapping[str, np.ndarray], told: Mapping[str, Measured]) -> None:
        """Adds a batch of `measure`, whose `frame` `[B]` says of which image each patch is.

        Without `frame`, each patch counts as an image.
        """
        frames = batch.get("frame")
        if frames is None:
            known = sum(row["patches"] for row in self._sums.values())
            frames = known + np.arange(len(batch["iso"]))
        divergences = {
            name: {
                "kl": _kl_of_pairs(batch["noise"][::KL_STRIDE], one.sample[::KL_STRIDE]),
                "kl_floor": _kl_of_pairs(one.sample[::KL_STRIDE], one.again),
            }
            for name, one in told.items()
        }
        for frame in np.unique(frames):
            its, few = frames == frame, (frames == frame)[::KL_STRIDE]
            first = int(np.argmax(its))
            row = self._sums.setdefault(
                int(frame),
                {
                    "iso": int(batch["iso"][first]),
                    "camera": int(batch["camera"][first]),
                    "nlf": batch["nlf"][first].astype(float).tolist(),
                    "patches": 0,
                    "kl_patches": 0,
                    "sums": {name: dict.fromkeys(METRICS, 0.0) for name in told},
                },
            )
            row["patches"] += int(its.sum())
            row["kl_patches"] += int(few.sum())
            for name, one in told.items():
                row["sums"][name]["nll"] += float(one.nll[its].sum(dtype=np.float64))
                for metric, values in divergences[name].items():
                    row["sums"][name][metric] += float(values[few].sum())

    def rows(self) -> list[dict[str, Any]]:
        """One for each image: its number `frame`, its conditions, and `scores`.

        The conditions are `iso`, `camera`, `nlf`, `patches` and `kl_patches`; `scores` has, for
        each model's name, the `METRICS`; the divergences are None for an image without any fifth
        patch.
        """
        return [
            {
                "frame": frame,
                **{name: value for name, value in row.items() if name != "sums"},
                "scores": {
                    name: {metric: _ratio(sums[metric], row[_weight(metric)]) for metric in METRICS}
                    for name, sums in row["sums"].items()
                },
            }
            for frame, row in sorted(self._sums.items())
        ]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Scores over images, each weighted by its patches, with standard errors.

    Args:
        rows: as `ImageScores.rows` gives them; one at least.

    Returns:
        For each model's name the `METRICS`, and `nll_stderr` and `kl_stderr`: the standard error of
        the weighted mean over images, sqrt(m / (m - 1) sum(w^2 (x - mean)^2)) with weights w that
        sum to 1, and None for fewer than two images.

    >>> row = {"patches": 2, "kl_patches": 1}
    >>> scores = [{"a": {"nll": nll, "kl": 0.5, "kl_floor": 0.1}} for nll in (-3.0, -2.0)]
    >>> summarise([{**row, "scores": one} for one in scores])["a"]["nll_stderr"]
    0.5
    """
    summary = {}
    for name in rows[0]["scores"]:
        summary[name] = {}
        for metric in METRICS:
            measured = [row for row in rows if row["scores"][name][metric] is not None]
            values = np.array([row["scores"][name][metric] for row in measured], np.float64)
            weights = np.array([row[_weight(metric)] for row in measured], np.float64)
            mean, error = _weighted_mean(values, weights)
            summary[name][metric] = mean
            if metric != "kl_floor":
                summary[name][f"{metric}_stderr"] = error
    return summary


def paired_difference(
    rows: Sequence[Mapping[str, Any]], name: str, other: str, metric: str
) -> tuple[float | None, float | None]:
    """By how much a model's metric is above another's on the same images, with standard error.

    Images differ far more from each other than models do on one image, so this tells models apart
    that the standard errors of their means do not.

    Args:
        rows: as `ImageScores.rows` gives them.
        name: a model.
        other: the model whose metric is subtracted.
        metric: one of `METRICS`.

    Returns:
        The weighted mean of the differences, and its standard error; see `summarise`.
    """
    pairs = [[row["scores"][which][metric] for which in (name, other)] for row in rows]
    measured = [i for i, pair in enumerate(pairs) if None not in pair]
    values = np.array([pairs[i][0] - pairs[i][1] for i in measured])
    return _weighted_mean(values, np.array([rows[i][_weight(metric)] for i in measured], float))


def evaluate(
    models: Mapping[str, NoiseModel], batches: Iterable[Batch], seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Test NLL and marginal KL of noise models: `summarise` of `ImageScores` of `measure`.

    Args:
        models: by name.
        batches: of `{"noise", "clean", "iso", "camera", "nlf"}` and, for standard errors over
            images, `frame`, in a fixed order.
        seed: of the samples that the KL is measured on.
    """
    scores = ImageScores()
    for batch, told in measure(models, batches, seed):
        scores.add(batch, told)
    return summarise(scores.rows())


def sampled_kl(model: NoiseModel, batches: Iterable[Batch], seed: int = 0) -> Callable[[], float]:
    """A function that measures the marginal KL of a model as it is then, and compiles once.

    It samples nothing but every 5th patch of each batch, and gives the mean over them, in nats.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch, seed):
        few = {name: tensor[::KL_STRIDE] for name, tensor in batch.items()}
        return few["noise"], sample(distribution(model, few), seed)

    def kl() -> float:
        values = [
            _kl_of_pairs(*(tensor.numpy() for tensor in step(batch, tf.constant([seed, number]))))
            for number, batch in enumerate(batches)
        ]
        return float(np.concatenate(values).mean())

    return kl


def _measuring(model: NoiseModel):
    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch, seed):
        p = distribution(model, batch)
        noise = batch["noise"]
        latent, log_prob = latent_and_log_prob(p, noise)
        few = {name: tensor[::KL_STRIDE] for name, tensor in batch.items()}
        other = tf.random.experimental.stateless_fold_in(seed, 1)
        return (
            nll_per_dimension(log_prob, noise),
            latent,
            sample(p, seed),
            sample(distribution(model, few), other),
        )

    return step


def _array(tensor: tf.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.numpy()


def _kl_of_pairs(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    return np.array([marginal_kl(*pair) for pair in zip(real, synthetic, strict=True)])


def _weight(metric: str) -> str:
    return "patches" if metric == "nll" else "kl_patches"


def _ratio(total: float, count: int) -> float | None:
    return total / count if count else None


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> tuple[float | None, float | None]:
    count = len(values)
    if not count:
        return None, None
    weights = weights / weights.sum()
    mean = float(weights @ values)
    if count < 2:
        return mean, None
    spread = np.sum(np.square(weights * (values - mean)))
    return mean, float(np.sqrt(spread * count / (count - 1)))
