"""Shapes of tensors in graphs."""

import tensorflow as tf


def sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The sizes of the axes: whole numbers where they are known, which make no nodes in a graph.

    >>> sizes(tf.zeros([2, 3]))
    [2, 3]
    """
    known = x.shape.as_list()
    if None not in known:
        return known
    asked = tf.unstack(tf.shape(x))
    return [a if k is None else k for k, a in zip(known, asked, strict=True)]
