"""The noise level function fitted by maximum likelihood, for each camera and ISO."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow as tf

from noise_flow_tf.baselines.fitted import Batches, FittedGaussian, space_of, table_of
from noise_flow_tf.baselines.moments import fit_nlf, moments
from noise_flow_tf.bijectors import OnePassBijector, SignalDependent
from noise_flow_tf.conditions import Conditions

BETAS = ("log_beta1", "log_beta2")


class FittedNLF(FittedGaussian):
    """Heteroscedastic Gaussian noise, n ~ N(0, beta1 * max(clean, 0) + beta2), Eq. 5 and 6.

    Each camera has betas of its own at each ISO level: what the camera NLF would be if the metadata
    were right.

    >>> model = FittedNLF({"log_beta1": [[-6.0]], "log_beta2": [[-9.0]]}, ["S6"], [100])
    >>> model.num_parameters, model(tf.zeros([1, 2, 2, 4]), 100, "S6").event_shape.as_list()
    (2, [2, 2, 4])
    """

    kind = "fitted_nlf"
    per_level = frozenset(BETAS)

    @classmethod
    def fit(cls, batches: Batches, cameras: Sequence[str]) -> Self:
        found = {pair: fit_nlf(of) for pair, of in moments(batches, cameras).items()}
        return cls.of_betas(found, cameras)

    @classmethod
    def of_betas(
        cls, betas: dict[tuple[int, int], tuple[float, float]], cameras: Sequence[str]
    ) -> Self:
        """Make the model of (beta1, beta2) by the camera's index and the ISO level."""
        space = space_of(betas, cameras)
        logs = {pair: np.log(both) for pair, both in betas.items()}
        tables = (table_of({pair: both[i] for pair, both in logs.items()}, space) for i in (0, 1))
        return cls(dict(zip(BETAS, tables, strict=True)), **space)

    @classmethod
    def shapes(cls, cameras: int, levels: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(BETAS, (cameras, levels))

    def bijectors(self, conditions: Conditions, training: bool) -> list[OnePassBijector]:
        betas = (tf.exp(self.at(name, conditions)) for name in BETAS)
        return [SignalDependent(conditions.clean, *betas)]
