"""Shapes of tensors in graphs."""

import tensorflow as tf


def sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Return the sizes of the axes, as integers if they are static: these add no graph nodes.

    >>> sizes(tf.zeros([2, 3]))
    [2, 3]
    """
    static = x.shape.as_list()
    if None not in static:
        return static
    dynamic = tf.unstack(tf.shape(x))
    return [d if s is None else s for s, d in zip(static, dynamic, strict=True)]


def as_batch(images: tf.Tensor) -> tf.Tensor:
    """Reshape images `[..., H, W, C]` with any batch dimensions to `[B, H, W, C]`."""
    if images.shape.rank == 4:
        return images
    shape = sizes(images)
    count = 1
    for size in shape[:-3]:
        count = count * size
    return tf.reshape(images, [count, *shape[-3:]])


def same_event(image: tf.Tensor, other: tf.Tensor, name: str, other_name: str) -> tf.Tensor:
    """Return `image` after checking that its `[H, W, C]` are those of `other`.

    Broadcasting would score an image of one pixel against one of many. The names are for the error.

    Raises:
        ValueError: they differ; a tf.errors.InvalidArgumentError if a graph only finds out when it
            runs.
    """
    message = f"{name} must have the height, width and channels of {other_name}"
    return _same(image, other, slice(-3, None), message)


def same_batch(image: tf.Tensor, other: tf.Tensor, name: str, other_name: str) -> tf.Tensor:
    """Return `image` `[B, H, W, C]` after checking that B is that of `other`.

    Raises:
        ValueError: they differ; a tf.errors.InvalidArgumentError if a graph only finds out when it
            runs.
    """
    return _same(image, other, slice(0, 1), f"{name} must be one image for each of {other_name}")


def _same(image: tf.Tensor, other: tf.Tensor, axes: slice, message: str) -> tf.Tensor:
    ours, theirs = image.shape[axes], other.shape[axes]
    if not ours.is_compatible_with(theirs):
        raise ValueError(f"{message}; got {image.shape.as_list()} and {other.shape.as_list()}")
    if ours.is_fully_defined() and theirs.is_fully_defined():
        return image
    ours, theirs = tf.shape(image)[axes], tf.shape(other)[axes]
    same = tf.reduce_all(tf.equal(ours, theirs))
    with tf.control_dependencies([tf.debugging.Assert(same, [message + "; got", ours, theirs])]):
        return tf.identity(image)
