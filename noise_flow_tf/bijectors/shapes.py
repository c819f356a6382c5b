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


def as_batch(images: tf.Tensor) -> tf.Tensor:
    """Images `[..., H, W, C]` with any batch dimensions as `[B, H, W, C]`."""
    if images.shape.rank == 4:
        return images
    known = sizes(images)
    count = 1
    for size in known[:-3]:
        count = count * size
    return tf.reshape(images, [count, *known[-3:]])


def same_event(image: tf.Tensor, other: tf.Tensor, name: str, other_name: str) -> tf.Tensor:
    """`image`, once its `[H, W, C]` are those of `other`; else the error says both by name.

    Broadcasting would score an image of one pixel against one of many.

    Raises:
        ValueError: they differ; tf.errors.InvalidArgumentError where a graph learns it only when
            it runs.
    """
    ours, theirs = image.shape[-3:], other.shape[-3:]
    message = f"{name} must have the height, width and channels of {other_name}"
    if not ours.is_compatible_with(theirs):
        raise ValueError(f"{message}; got {image.shape.as_list()} and {other.shape.as_list()}")
    if ours.is_fully_defined() and theirs.is_fully_defined():
        return image
    ours, theirs = tf.shape(image)[-3:], tf.shape(other)[-3:]
    same = tf.reduce_all(tf.equal(ours, theirs))
    with tf.control_dependencies([tf.debugging.Assert(same, [message + "; got", ours, theirs])]):
        return tf.identity(image)
