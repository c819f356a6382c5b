"""Adam over all variables at once."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable(package="noise_flow_tf")
class Adam(tf_keras.optimizers.Optimizer):
    """Keras' Adam, with the moments of all variables in two vectors.

    A noise model has 93 small variables. Keras updates one after the other, in about 37 operations
    each, which take longer than the arithmetic in them. The numbers are the same but for rounding.

    >>> adam = Adam(1e-2)
    >>> variable = tf.Variable([1.0, 2.0])
    >>> step = adam.apply_gradients([(tf.constant([3.0, -4.0]), variable)])
    >>> [round(value, 4) for value in variable.numpy().tolist()]
    [0.99, 2.01]
    """

    def __init__(
        self,
        learning_rate: Any,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "Adam",
    ) -> None:
        """Take a learning rate, or a Keras schedule of it, and what Keras' Adam takes."""
        super().__init__(name, weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Make the moments of the variables that every step moves."""
        super().build(var_list)
        if hasattr(self, "_sizes"):
            return
        self._sizes = [variable.shape.num_elements() for variable in var_list]
        self._momentum = self.add_variable([sum(self._sizes)], name="m")
        self._velocity = self.add_variable([sum(self._sizes)], name="v")

    def _distributed_apply_gradients_fn(
        self, distribution: tf.distribute.Strategy, grads_and_vars: Sequence[tuple], **_: Any
    ) -> tf.Tensor:
        """Take a step on each replica; Keras' own method of this name goes through the variables.

        Raises:
            ValueError: not all variables have a gradient.
        """
        gradients, variables = zip(*grads_and_vars, strict=True)
        if len(variables) != len(self._sizes):
            raise ValueError(
                f"Adam takes one gradient for each of the {len(self._sizes)} variables; got "
                f"{len(variables)}"
            )
        step = (self._velocity, gradients, variables)
        distribution.extended.update(self._momentum, self._move, args=step, group=False)
        return self.iterations.assign_add(1)

    def _move(
        self,
        momentum: tf.Variable,
        velocity: tf.Variable,
        gradients: Sequence[Any],
        variables: Sequence[tf.Variable],
    ) -> None:
        gradient = tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)
        step = tf.cast(self.iterations + 1, tf.float32)
        decay_1, decay_2 = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        rate = self.learning_rate * tf.sqrt(1 - decay_2) / (1 - decay_1)
        momentum.assign_add((gradient - momentum) * (1 - self.beta_1))
        velocity.assign_add((tf.square(gradient) - velocity) * (1 - self.beta_2))
        moves = momentum * rate / (tf.sqrt(velocity) + self.epsilon)
        for variable, move in zip(variables, tf.split(moves, self._sizes), strict=True):
            variable.assign_sub(tf.reshape(move, variable.shape))

    def get_config(self) -> dict[str, Any]:
        rate = self._serialize_hyperparameter(self._learning_rate)
        betas = {"beta_1": self.beta_1, "beta_2": self.beta_2}
        return {"name": self.name, "learning_rate": rate, **betas, "epsilon": self.epsilon}
