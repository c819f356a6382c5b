"""Scores of noise models on a test set: likelihood and marginal KL divergence."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from noise_flow_tf.baselines import CameraNLF
from noise_flow_tf.metrics import marginal_kl, nll_per_dimension

KL_STRIDE = 5
"""The marginal KL is of every 5th patch of a batch, as in the release."""

Batch = Mapping[str, tf.Tensor]
BatchModel = Callable[[Batch], Any]


def for_batches(model: Any) -> BatchModel:
    """A noise model that is called like `NoiseFlow`, called with a batch instead."""
    return lambda batch: model(batch["clean"], batch["iso"], batch["camera"])


def camera_nlf(batch: Batch) -> Any:
    """The camera's noise level function from each image's own metadata, `batch["nlf"]` `[B, 2]`."""
    nlf = CameraNLF(batch["nlf"][:, 0], batch["nlf"][:, 1])
    return for_batches(nlf)(batch)


def gaussian_stddev(batches: Iterable[Batch]) -> float:
    """The standard deviation of all noise values of a training set, for `GaussianNoise`."""
    count, total, squares = 0, 0.0, 0.0
    for batch in batches:
        noise = np.asarray(batch["noise"], np.float64)
        count += noise.size
        total += noise.sum()
        squares += np.square(noise).sum()
    if not count:
        raise ValueError("the training set has no batch")
    return float(np.sqrt(squares / count - (total / count) ** 2))


def evaluate(
    models: Mapping[str, BatchModel], batches: Iterable[Batch], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Test NLL and marginal KL of noise models.

    Args:
        models: by name, what gives a batch's distribution of the noise.
        batches: of `{"noise", "clean", "iso", "camera", "nlf"}`, in a fixed order.
        seed: of the samples that the KL is measured on.

    Returns:
        For each name `nll`, nats per dimension, the mean over patches; and `kl`, nats, the mean
        over batches of the mean over every 5th patch.
    """
    steps = {name: _log_prob_and_sample(model) for name, model in models.items()}
    nll = {name: [] for name in models}
    kl = {name: [] for name in models}
    for number, batch in enumerate(batches):
        real = np.asarray(batch["noise"])
        for name, step in steps.items():
            per_patch, sample = step(batch, tf.constant([seed, number]))
            nll[name].append(per_patch.numpy())
            pairs = zip(real[::KL_STRIDE], sample.numpy()[::KL_STRIDE], strict=True)
            kl[name].append(np.mean([marginal_kl(*pair) for pair in pairs]))
    if not any(nll.values()):
        raise ValueError("the test set has no batch")
    return {
        name: {"nll": float(np.concatenate(nll[name]).mean()), "kl": float(np.mean(kl[name]))}
        for name in models
    }


def _log_prob_and_sample(model: BatchModel):
    @tf.function(reduce_retracing=True)
    def step(batch, seed):
        p = model(batch)
        noise = batch["noise"]
        sample = p.bijector.forward(tf.random.stateless_normal(tf.shape(noise), seed))
        return nll_per_dimension(p.log_prob(noise), noise), sample

    return step
