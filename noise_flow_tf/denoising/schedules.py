"""How fast a denoiser learns, and when."""

import tf_keras

from noise_flow_tf.training import schedules

_DIVISORS = (1, 10, 20)
_EPOCHS = (30, 60)


def learning_rate(schedule: str, rate: float, epochs: int, steps_per_epoch: int):
    """A Keras learning rate for a whole training.

    Args:
        schedule: `"release"`, `rate`, a tenth of it after epoch 30, and a twentieth after epoch 60;
            or `"cosine"` of `noise_flow_tf.training.schedules`.
        rate: the highest learning rate.
        epochs: how many the training has.
        steps_per_epoch: how many each of them has.

    Raises:
        ValueError: another schedule.

    >>> rate = learning_rate("release", 1e-3, 100, steps_per_epoch=7)
    >>> [round(float(rate(step)), 6) for step in (0, 209, 210, 419, 420)]
    [0.001, 0.001, 0.0001, 0.0001, 5e-05]
    """
    if schedule != "release":
        return schedules.learning_rate(schedule, rate, epochs * steps_per_epoch)
    last_steps = [epoch * steps_per_epoch - 1 for epoch in _EPOCHS]
    return tf_keras.optimizers.schedules.PiecewiseConstantDecay(
        last_steps, [rate / divisor for divisor in _DIVISORS]
    )


def adam(
    schedule: str, rate: float, epochs: int, steps_per_epoch: int
) -> tf_keras.optimizers.Optimizer:
    """The optimiser, Adam(0.9, 0.999, epsilon 1e-8), with a `learning_rate`."""
    return tf_keras.optimizers.Adam(
        learning_rate(schedule, rate, epochs, steps_per_epoch),
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
    )
