"""Learning rates, the optimiser, and when to evaluate."""

from collections.abc import Mapping

import tf_keras

from noise_flow_tf.training.adam import Adam

_WARMUP = 0.05
_FLOOR = 1e-3


def learning_rate(
    schedule: str, rate: float, steps: int, drops: Mapping[int, float] | None = None
) -> float | tf_keras.optimizers.schedules.LearningRateSchedule:
    """Return a Keras learning rate.

    Args:
        schedule: `"release"`, constant but for `drops`; or `"cosine"`, a linear warm-up over the
            first 5% of the steps, then half a cosine down to a thousandth of the peak.
        rate: the constant, or the peak.
        steps: how many steps the whole training has.
        drops: for the release's schedule, after how many steps `rate` is divided by what.

    Raises:
        ValueError: another schedule.

    >>> rate = learning_rate("release", 1e-3, 700, {210: 10, 420: 20})
    >>> [round(float(rate(step)), 6) for step in (0, 209, 210, 419, 420)]
    [0.001, 0.001, 0.0001, 0.0001, 5e-05]
    """
    if schedule == "release":
        if not drops:
            return rate
        return tf_keras.optimizers.schedules.PiecewiseConstantDecay(
            [step - 1 for step in drops], [rate, *(rate / divisor for divisor in drops.values())]
        )
    if schedule == "cosine":
        warmup = max(1, round(_WARMUP * steps))
        return tf_keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=rate / warmup,
            decay_steps=max(1, steps - warmup),
            alpha=_FLOOR,
            warmup_target=rate,
            warmup_steps=warmup,
        )
    raise ValueError(f"unknown schedule {schedule!r}; allowed are cosine and release")


def adam(
    schedule: str, rate: float, steps: int, drops: Mapping[int, float] | None = None
) -> tf_keras.optimizers.Optimizer:
    """Return the release's optimiser, Adam(0.9, 0.999, epsilon 1e-8), with a `learning_rate`."""
    return Adam(learning_rate(schedule, rate, steps, drops), beta_1=0.9, beta_2=0.999, epsilon=1e-8)


def evaluation_epochs(epochs: int, every: int) -> list[int]:
    """Return the epochs, counted from 1, after which the release evaluates the test set.

    Each one of the first ten, each 10th of the first hundred, then each `every`-th; and the last.

    >>> evaluation_epochs(160, every=50)[8:]
    [9, 10, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 151, 160]
    """
    return [
        epoch + 1
        for epoch in range(epochs)
        if epoch < 10
        or (epoch < 100 and epoch % 10 == 0)
        or epoch % every == 0
        or epoch == epochs - 1
    ]
