"""What the noise is conditioned on: the clean image, the ISO level and the camera."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

CAMERAS = ("IP", "GP", "S6", "N6", "G4")
"""SIDD's cameras in index order: iPhone 7, Pixel, Galaxy S6 Edge, Nexus 6, LG G4."""

ISO_LEVELS = (100, 400, 800, 1600, 3200)
"""The ISO levels of SIDD that the model has a gain for."""


class Conditions(NamedTuple):
    """The validated conditions of a batch.

    Attributes:
        clean: `[B, H, W, 4]` float32, the packed clean raw image in [0, 1].
        iso: `[B]` float32, the ISO level itself.
        iso_index: `[B]` int32, its position in `ISO_LEVELS`.
        camera: `[B]` int32, the camera's position in `CAMERAS`.
    """

    clean: tf.Tensor
    iso: tf.Tensor
    iso_index: tf.Tensor
    camera: tf.Tensor


def resolve(clean: Any, iso: Any, camera: Any) -> Conditions:
    """Checks the conditions of a batch and gives every example its own ISO and camera.

    Args:
        clean: `[B, H, W, 4]`, the packed clean raw image in [0, 1].
        iso: one level of `ISO_LEVELS` for the whole batch, or `[B]` of them.
        camera: an index into `CAMERAS` or a code such as `"S6"`, for the whole batch or `[B]`.

    Raises:
        ValueError: a wrong shape, or an ISO or camera that the model does not know. For tensors
            inside a `tf.function` the latter is a `tf.errors.InvalidArgumentError` at run time.
    """
    clean = tf.convert_to_tensor(clean, tf.float32)
    if clean.shape.rank != 4 or clean.shape[-1] not in (4, None):
        raise ValueError(
            "clean must be packed raw images of shape [B, H, W, 4]; "
            f"got shape {_shape_text(clean.shape)}"
        )
    batch = clean.shape[0] or tf.shape(clean)[0]
    index = _per_example(iso_index(iso), batch, "iso")
    levels = tf.constant(ISO_LEVELS, tf.float32)
    return Conditions(
        clean=clean,
        iso=tf.gather(levels, index),
        iso_index=index,
        camera=_per_example(camera_index(camera), batch, "camera"),
    )


def iso_index(iso: Any) -> tf.Tensor:
    """Positions in `ISO_LEVELS`, int32 of the shape of `iso`.

    >>> iso_index([100, 3200]).numpy().tolist()
    [0, 4]
    """
    if tf.is_symbolic_tensor(iso):
        matches = tf.cast(iso, tf.float32)[..., tf.newaxis] == tf.constant(ISO_LEVELS, tf.float32)
        return _checked_argmax(matches, iso, "ISO", ISO_LEVELS)
    values = np.asarray(iso)
    known = values.dtype.kind in "iuf" and np.isin(values, ISO_LEVELS).all()
    if not known:
        raise ValueError(f"unknown ISO {_text(values)}; the model knows ISO {_listed(ISO_LEVELS)}")
    return tf.constant(np.searchsorted(ISO_LEVELS, values), tf.int32)


def camera_index(camera: Any) -> tf.Tensor:
    """Positions in `CAMERAS`, int32 of the shape of `camera`.

    >>> camera_index("S6").numpy().item()
    2
    """
    if tf.is_symbolic_tensor(camera):
        table = CAMERAS if camera.dtype == tf.string else tuple(range(len(CAMERAS)))
        matches = camera[..., tf.newaxis] == tf.constant(table, camera.dtype)
        return _checked_argmax(matches, camera, "camera", CAMERAS)
    values = np.asarray(camera)
    if values.dtype.kind == "O":
        values = np.asarray([v.decode() if isinstance(v, bytes) else v for v in values.flat])
        values = values.reshape(np.shape(camera))
    if values.dtype.kind in "SU" and np.isin(values.astype(str), CAMERAS).all():
        return tf.constant(np.vectorize(CAMERAS.index)(values.astype(str)), tf.int32)
    if values.dtype.kind in "iu" and np.isin(values, range(len(CAMERAS))).all():
        return tf.constant(values, tf.int32)
    raise ValueError(
        f"unknown camera {_text(values)}; the model knows {_listed(CAMERAS)}, "
        f"or their indices 0 to {len(CAMERAS) - 1}"
    )


def _checked_argmax(matches: tf.Tensor, values: tf.Tensor, what: str, table: tuple) -> tf.Tensor:
    known = tf.reduce_all(tf.reduce_any(matches, axis=-1))
    message = f"unknown {what}; the model knows {_listed(table)}; got"
    with tf.control_dependencies([tf.debugging.Assert(known, [message, values])]):
        return tf.argmax(matches, axis=-1, output_type=tf.int32)


def _per_example(index: tf.Tensor, batch: int | tf.Tensor, what: str) -> tf.Tensor:
    size = index.shape.num_elements()
    if index.shape.rank not in (0, 1) or (isinstance(batch, int) and size not in (1, batch, None)):
        raise ValueError(
            f"{what} must be one value for all or one for each of the {batch} examples; "
            f"got shape {_shape_text(index.shape)}"
        )
    return tf.broadcast_to(index, [batch])


def _shape_text(shape: tf.TensorShape) -> str:
    return str(shape.as_list()) if shape.rank is not None else "unknown"


def _listed(table: tuple) -> str:
    return ", ".join(map(str, table))


def _text(values: np.ndarray) -> str:
    return str(values.tolist())
