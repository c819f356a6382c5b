"""The compiled core as far as TensorFlow sees it, computed by the references of its operations.

It leaves a callback in graphs, as the core does, and takes plain tensors in place of variables.
"""

import numpy as np
import tensorflow as tf


class FakeCore:
    """Takes the place of `noise_flow_tf.native.graph`; counts what it computes."""

    def __init__(self):
        self.passes = self.draws = 0

    def latent_and_log_prob(self, ops, noise, clean, training, with_latent=True):
        assert noise.shape.is_compatible_with(clean.shape)
        self.passes += 1
        value, log_det, moved = _through_host(noise), 0.0, []
        for bijector in bijectors(ops):
            value, part, updates = bijector.moving_inverse_and_log_det(value)
            log_det += part
            moved += updates
        assert bool(moved) == (training and any(op.averages for op in ops))
        constant = 0.5 * np.log(2 * np.pi)
        return value, log_det - tf.reduce_sum(0.5 * value**2 + constant, [1, 2, 3]), moved

    def noise_of(self, ops, latent, clean):
        assert latent.shape.is_compatible_with(clean.shape)
        self.draws += 1
        value = _through_host(latent)
        for bijector in reversed(bijectors(ops)):
            value = bijector.forward(value)
        return value

    def noise_array(self, ops, latent, clean):
        return self.noise_of(ops, latent, clean).numpy()


def bijectors(ops):
    """The bijectors of operations whose parameters are read now."""
    return [op.reference(*map(tf.convert_to_tensor, op.parameters)) for op in ops]


@tf.custom_gradient
def _through_host(x):
    y = tf.ensure_shape(tf.numpy_function(np.copy, [x], tf.float32), x.shape)
    return y, lambda upstream: upstream


def callbacks(graph):
    """How many callbacks a graph and the functions in it hold."""
    definition = graph.as_graph_def() if hasattr(graph, "as_graph_def") else graph
    nodes = [definition.node, *(function.node_def for function in definition.library.function)]
    return sum(node.op.endswith("PyFunc") for group in nodes for node in group)
