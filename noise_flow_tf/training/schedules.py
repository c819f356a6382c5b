"""When to learn how fast, and when to evaluate."""

import tf_keras

_WARMUP = 0.05
_FLOOR = 1e-3


def learning_rate(schedule: str, rate: float, steps: int):
    """A Keras learning rate.

    Args:
        schedule: `"release"`, constant; or `"cosine"`, a linear warm-up over the first 5% of the
            steps, then half a cosine down to a thousandth of the peak.
        rate: the constant, or the peak.
        steps: how many steps the whole training has.

    Raises:
        ValueError: another schedule.
    """
    if schedule == "release":
        return rate
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


def adam(schedule: str, rate: float, steps: int) -> tf_keras.optimizers.Optimizer:
    """The release's optimiser, Adam(0.9, 0.999, epsilon 1e-8), with a `learning_rate`."""
    return tf_keras.optimizers.Adam(
        learning_rate(schedule, rate, steps), beta_1=0.9, beta_2=0.999, epsilon=1e-8
    )


def evaluation_epochs(epochs: int, every: int) -> list[int]:
    """The epochs, counted from 1, after which the release evaluates the test set.

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
