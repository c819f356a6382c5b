"""Scores of noise models on a test set: the metrics, their means and standard errors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.evaluation.histograms import kl_of_pairs
from noise_flow_tf.evaluation.metrics import KL_STRIDE, METRICS, Measured, nll_per_dimension
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.protocol import Batch, NoiseModel, distribution, latent_and_log_prob, sample

Row = Mapping[str, Any]
MeanAndError = tuple[float | None, float | None]
Scores = dict[str, dict[str, float | None]]


def measure(
    models: Mapping[str, NoiseModel], batches: Iterable[Batch], seed: int = 0
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Measured]]]:
    """Yield each batch of a test set, and by name what each model says about it.

    Args:
        models: by name.
        batches: of `{"noise", "clean", "iso", "camera", "nlf"}`, in a fixed order.
        seed: of the samples.

    Raises:
        ValueError: there is no batch; noise that is not on the levels of a model of quantised
            noise.
    """
    steps = {name: _measuring(model) for name, model in models.items()}
    batch = None
    for number, batch in enumerate(batches):
        measured = {}
        for name, step in steps.items():
            tensors = step(batch, tf.constant([seed, number]))
            measured[name] = Measured._make(None if t is None else t.numpy() for t in tensors)
            _check_levels(name, measured[name])
        yield {name: np.asarray(tensor) for name, tensor in batch.items()}, measured
    if batch is None:
        raise ValueError("the test set has no batch")


class ImageScores:
    """Gathers the scores of models image by image, from all of its patches."""

    def __init__(self, instances: Sequence[int] | None = None) -> None:
        """Take the scene instance of each frame, by the frame's number, if they are known.

        Standard errors take the frames of an instance as one sample.
        """
        self._instances = instances
        self._rows: dict[int, dict[str, Any]] = {}  # with sums for scores

    def add(self, batch: Mapping[str, np.ndarray], measured: Mapping[str, Measured]) -> None:
        """Add a batch of `measure`, whose `frame` `[B]` says of which image each patch is.

        Without `frame`, each patch counts as an image.
        """
        frames = batch.get("frame")
        if frames is None:
            known = sum(row["patches"] for row in self._rows.values())
            frames = known + np.arange(len(batch["iso"]))
        values = {
            (name, metric): METRICS[metric].values(batch, one)
            for name, one in measured.items()
            for metric in METRICS
        }
        for frame, first in zip(*np.unique(frames, return_index=True), strict=True):
            members = frames == frame
            new = {
                "iso": int(batch["iso"][first]),
                "camera": int(batch["camera"][first]),
                "nlf": batch["nlf"][first].astype(float).tolist(),
                "patches": 0,
                "kl_patches": 0,
                "scores": {name: dict.fromkeys(METRICS, 0.0) for name in measured},
            }
            row = self._rows.setdefault(int(frame), new)
            row["patches"] += int(members.sum())
            row["kl_patches"] += int(members[::KL_STRIDE].sum())
            for (name, metric), of_patches in values.items():
                sums = row["scores"][name]
                if of_patches is None or sums[metric] is None:
                    sums[metric] = None
                else:
                    counted = of_patches[members[:: METRICS[metric].stride]]
                    sums[metric] = sums[metric] + counted.sum(axis=0, dtype=np.float64)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per image: its number `frame`, its conditions, and `scores`.

        It has its scene `instance` if that is known. The conditions are `iso`, `camera`, `nlf`,
        `patches` and `kl_patches`; `scores` has, for each model's name, the `METRICS`, with None
        for what is undefined for the model or the image, or of which the image has no patch.
        """
        rows = []
        for frame, row in sorted(self._rows.items()):
            scores = {
                name: {
                    metric: None
                    if total is None
                    else METRICS[metric].value(total, row[METRICS[metric].weight])
                    for metric, total in sums.items()
                }
                for name, sums in row["scores"].items()
            }
            known = {} if self._instances is None else {"instance": self._instances[frame]}
            rows.append({"frame": frame, **known, **row, "scores": scores})
        return rows


def summarise(rows: Sequence[Row]) -> Scores:
    """Return scores over images, each weighted by its patches, with standard errors.

    Args:
        rows: as `ImageScores.rows` returns them; at least one.

    Returns:
        For each model's name the `METRICS`, and of each also `<name>_stderr`, the standard error
        of the weighted mean over scenes: sqrt(m / (m - 1) sum_scenes((sum_frames w (x - mean))^2))
        with weights w that sum to 1 and m scenes, and None for fewer than two. The frames of one
        scene `instance` are not independent, and count as one sample; a row without counts alone.

    >>> row = {"patches": 2, "kl_patches": 1}
    >>> scores = [{"a": {"nll": nll, "kl": 0.5, "kl_floor": 0.1}} for nll in (-3.0, -2.0)]
    >>> summarise([{**row, "scores": one} for one in scores])["a"]["nll_stderr"]
    0.5
    """
    summary: Scores = {name: {} for name in rows[0]["scores"]}
    instances = _instances(rows)
    for name, scores in summary.items():
        for metric in METRICS.values():
            values = [row["scores"][name].get(metric.name) for row in rows]
            mean, error = _weighted_mean(values, [row[metric.weight] for row in rows], instances)
            scores[metric.name], scores[f"{metric.name}_stderr"] = mean, error
    return summary


def paired_difference(rows: Sequence[Row], name: str, other: str, metric: str) -> MeanAndError:
    """Return how far a model's metric is above another's on the same images, with standard error.

    Images differ far more from each other than models do on one image, so this distinguishes
    models that the standard errors of their means do not.

    Args:
        rows: as `ImageScores.rows` returns them.
        name: a model.
        other: the model whose metric is subtracted.
        metric: a name of `METRICS`.

    Returns:
        The weighted mean of the differences, and its standard error; see `summarise`.
    """
    pairs = [[row["scores"][which].get(metric) for which in (name, other)] for row in rows]
    differences = [None if None in pair else pair[0] - pair[1] for pair in pairs]
    weights = [row[METRICS[metric].weight] for row in rows]
    return _weighted_mean(differences, weights, _instances(rows))


def evaluate(
    models: Mapping[str, NoiseModel],
    batches: Iterable[Batch],
    seed: int = 0,
    instances: Sequence[int] | None = None,
) -> Scores:
    """Return the test scores of noise models: `summarise` of `ImageScores` of `measure`.

    For standard errors over images, batches have a `frame`, too; for those over scenes, `instances`
    has the scene instance of each frame.
    """
    scores = ImageScores(instances)
    for batch, measured in measure(models, batches, seed):
        scores.add(batch, measured)
    return summarise(scores.rows())


def sampled_kl(model: NoiseModel, batches: Iterable[Batch], seed: int = 0) -> Callable[[], float]:
    """Return a function, compiled once, that measures the present marginal KL of a model in nats.

    It samples every 5th patch of each batch alone, and returns the mean over them.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    @own_graph()
    def step(batch: Batch, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        subset = {name: tensor[::KL_STRIDE] for name, tensor in batch.items()}
        return subset["noise"], sample(distribution(model, subset), seed)

    def kl() -> float:
        values = [
            kl_of_pairs(*(tensor.numpy() for tensor in step(batch, tf.constant([seed, number]))))
            for number, batch in enumerate(batches)
        ]
        return float(np.concatenate(values).mean())

    return kl


def _measuring(model: NoiseModel) -> Callable[[Batch, tf.Tensor], tuple]:
    @tf.function(reduce_retracing=True, autograph=False)
    @own_graph()
    def step(batch: Batch, seed: tf.Tensor) -> tuple:
        p = distribution(model, batch)
        noise = batch["noise"]
        subset = {name: tensor[::KL_STRIDE] for name, tensor in batch.items()}
        of_subset = distribution(model, subset)
        latent, nll, log_mass = None, None, None
        if getattr(p, "is_mass", False):
            real = subset["noise"]
            log_mass = -nll_per_dimension(of_subset.log_prob(real), real)
        else:
            try:
                latent, log_prob = latent_and_log_prob(p, noise)
                nll = nll_per_dimension(log_prob, noise)
            except NotImplementedError:  # TFP's word for a distribution without a density
                pass
        other = tf.random.experimental.stateless_fold_in(seed, 1)
        return nll, latent, sample(p, seed), sample(of_subset, other), log_mass

    return step


def _check_levels(name: str, measured: Measured) -> None:
    if measured.log_mass is not None and not np.isfinite(measured.log_mass).all():
        raise ValueError(
            f"the noise is not on the levels of {name}, which has the mass of quantised noise and "
            "no density; leave this model out, or fit it to noise with the same levels"
        )


def _instances(rows: Sequence[Row]) -> list[Any]:
    return [row.get("instance", ("of its own", number)) for number, row in enumerate(rows)]


def _weighted_mean(
    values: Sequence[float | None], weights: Sequence[float], instances: Sequence[Any]
) -> MeanAndError:
    triples = zip(values, weights, instances, strict=True)
    measured = [(x, w, instance) for x, w, instance in triples if x is not None and w]
    if not measured:
        return None, None
    x, w = np.array([triple[:2] for triple in measured], np.float64).T
    w = w / w.sum()
    mean = float(w @ x)
    sums: dict[Any, float] = {}
    for part, (_, _, instance) in zip(w * (x - mean), measured, strict=True):
        sums[instance] = sums.get(instance, 0.0) + part
    count = len(sums)
    if count < 2:
        return mean, None
    spread = np.sum(np.square(list(sums.values())))
    return mean, float(np.sqrt(spread * count / (count - 1)))
