"""What is said of a training step that was not finite: which patches, where, and why."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from noise_flow_tf.training.strategies import over_replicas

_MOST = 1024
_NO_PATCH = -1.0


class DivergedError(ValueError):
    """Training met a loss or a gradient that is not finite; no weight has been moved by it."""


class StepRecord:
    """What the last step found out about its patches, in variables that outlive a failed step.

    XLA needs a fixed size: of a larger batch, the first 1024 patches of each replica are recorded.
    """

    def __init__(self, strategy: tf.distribute.Strategy, conditions: Sequence[str]) -> None:
        """Make the variables; `conditions` are the names of what is known of each patch."""
        self._strategy, self._conditions = strategy, conditions
        own = {  # each replica writes its own
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.SUM,
        }
        with strategy.scope():
            self._patches = tf.Variable(tf.fill([2 + len(conditions), _MOST], _NO_PATCH), **own)
            self._bad = tf.Variable(tf.zeros([2]), **own)  # this replica, how many of all
            self._step = tf.Variable(tf.zeros([], tf.int64), **own)

    def write(
        self,
        step: tf.Tensor,
        losses: tf.Tensor,
        gradients: Sequence[tf.Tensor],
        images: Sequence[tf.Tensor],
        conditions: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """Record a step, counted from 0, in its graph; return whether all replicas are finite.

        Each replica has written its patches before any replica learns that one is not finite.
        """
        per_patch = tf.math.is_finite(losses)
        values = tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)
        finite = tf.reduce_all(per_patch) & tf.reduce_all(tf.math.is_finite(values))
        pixels = tf.math.is_finite(tf.reduce_sum(tf.add_n(images), axis=[1, 2, 3]))
        known = [tf.broadcast_to(conditions[name], tf.shape(losses)) for name in self._conditions]
        rows = tf.stack([tf.cast(row[:_MOST], tf.float32) for row in (pixels, per_patch, *known)])
        padding = [[0, 0], [0, _MOST - tf.shape(rows)[1]]]
        rows = tf.pad(rows, padding, constant_values=_NO_PATCH)
        with tf.control_dependencies([self._step.assign(step), self._patches.assign(rows)]):
            bad = tf.cast(~finite, tf.float32)
        bad_replicas = over_replicas(bad)
        with tf.control_dependencies([self._bad.assign(tf.stack([bad, bad_replicas]))]):
            return bad_replicas < 0.5

    def failure(self, steps_per_epoch: int | None) -> str | None:
        """Return one line about the last step, or None if it was finite; then forget it."""
        local = self._strategy.experimental_local_results
        here, anywhere = np.sum([value.numpy() for value in local(self._bad)], axis=0)
        for value in local(self._bad):
            value.assign(tf.zeros([2]))
        if not anywhere:
            return None
        patches = np.concatenate([value.numpy() for value in local(self._patches)], axis=1)
        step = int(local(self._step)[0].numpy())
        epoch, step = divmod(step, steps_per_epoch) if steps_per_epoch else (None, step)
        place = f"step {step + 1}" if epoch is None else f"epoch {epoch + 1}, step {step + 1}"
        is_own = (patches[0] != _NO_PATCH) & bool(here)
        return describe(place, patches[:, is_own], self._conditions)


def describe(place: str, patches: np.ndarray, conditions: Sequence[str]) -> str:
    """Return one line about a step that was not finite.

    The suspects are the patches whose pixels are not finite, else those whose loss is not, else
    all of them.

    Args:
        place: of the step.
        patches: `[2 + C, B]`: whether pixels and loss are finite, then the conditions; no column
            if they are on another machine.
        conditions: their names.
    """
    start = f"training diverged: the loss or its gradient is not finite at {place}, "
    if not patches.size:
        return f"{start}on another machine, whose message says more; no weight has been moved by it"
    bad_pixels, bad_losses = patches[:2] == 0
    suspects = next((bad for bad in (bad_pixels, bad_losses) if bad.any()), ~bad_losses)
    known = [
        f"{name} {', '.join(f'{value:.0f}' for value in np.unique(values[suspects]))}"
        for name, values in zip(conditions, patches[2:], strict=True)
    ]
    start += f"in {suspects.sum()} of {len(suspects)} patches"
    start += f", of {' and '.join(known)}" if known else ""
    if bad_pixels.any():
        advice = "the noise or the clean image there is not finite"
    else:
        advice = "a lower learning rate (--lr) may help"
    return f"{start}; {advice}; no weight has been moved by it"
