"""What the noise is conditioned on: the clean image, the ISO level and the camera."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

CAMERAS = ("IP", "GP", "S6", "N6", "G4")
"""SIDD's cameras in index order: iPhone 7, Pixel, Galaxy S6 Edge, Nexus 6, LG G4."""

ISO_LEVELS = (100, 400, 800, 1600, 3200)
"""The ISO levels of SIDD that the model has a gain for."""

_CODE = re.compile(r"[A-Z0-9]{2,}")


class Conditions(NamedTuple):
    """The validated conditions of a batch.

    Attributes:
        clean: `[B, H, W, 4]` float32, the packed clean raw image in [0, 1].
        iso: `[B]` float32, the ISO level itself.
        iso_index: `[B]` int32, its position in the table of levels; between two levels the lower.
        camera: `[B]` int32, the camera's position in the list of cameras.
        iso_fraction: `[B]` float32 in [0, 1), how far ISO is from its level to the next one, by
            their logarithms; None where only the levels themselves are allowed.
    """

    clean: tf.Tensor
    iso: tf.Tensor
    iso_index: tf.Tensor
    camera: tf.Tensor
    iso_fraction: tf.Tensor | None = None

    def split(self, sizes: Sequence[int]) -> list["Conditions"]:
        """The conditions of as many images each as `sizes` says, one after the other."""
        parts = [[None] * len(sizes) if v is None else tf.split(v, sizes) for v in self]
        return [Conditions(*part) for part in zip(*parts, strict=True)]

    def at_iso(self, table: tf.Tensor) -> tf.Tensor:
        """The values `[B]` of a table of one value a level, linear in log ISO between levels."""
        value = tf.gather(table, self.iso_index)
        if self.iso_fraction is None:
            return value
        above = tf.gather(table, tf.minimum(self.iso_index + 1, tf.shape(table)[0] - 1))
        return value + self.iso_fraction * (above - value)


@dataclass(frozen=True)
class Known:
    """The cameras and ISO levels that a model has parameters for.

    Attributes:
        cameras: codes of two or more capitals and digits, in index order.
        iso_levels: rising whole numbers.
        iso_interpolation: whether ISO values between two levels are allowed.

    >>> Known(iso_interpolation=True).iso_index([100, 500]).numpy().tolist()
    [0, 1]
    """

    cameras: tuple[str, ...] = CAMERAS
    iso_levels: tuple[int, ...] = ISO_LEVELS
    iso_interpolation: bool = False

    @classmethod
    def of(cls, model: Any) -> "Known":
        """What a model knows; SIDD's where it does not say, as the baselines."""
        return getattr(model, "known", None) or cls()

    def __post_init__(self):
        for code in self.cameras:
            if not (isinstance(code, str) and _CODE.fullmatch(code)):
                raise ValueError(
                    f"a camera's code is two or more capitals and digits, such as S6; got {code!r}"
                )
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ValueError(
                "cameras must be one or more codes, each once; got "
                f"{_listed(self.cameras) or 'none'}"
            )
        levels = np.asarray(self.iso_levels)
        if levels.dtype.kind not in "iu" or levels.min() < 1 or np.any(np.diff(levels) <= 0):
            raise ValueError(
                f"iso_levels must be rising whole numbers; got {_listed(self.iso_levels)}"
            )

    def resolve(self, clean: Any, iso: Any, camera: Any) -> Conditions:
        """Checks the conditions of a batch and gives every example its own ISO and camera.

        Args:
            clean: `[B, H, W, 4]`, the packed clean raw image in [0, 1].
            iso: one ISO level for the whole batch, or `[B]` of them.
            camera: an index or a code such as `"S6"`, for the whole batch or `[B]`.

        Raises:
            ValueError: a wrong shape, or an ISO or camera that is not known. For tensors inside a
                `tf.function` the latter is a `tf.errors.InvalidArgumentError` at run time.
        """
        clean = packed(clean)
        batch = clean.shape[0] or tf.shape(clean)[0]
        index = _per_example(self.iso_index(iso), batch, "iso")
        levels = tf.gather(tf.constant(self.iso_levels, tf.float32), index)
        camera = _per_example(self.camera_index(camera), batch, "camera")
        if not self.iso_interpolation:
            return Conditions(clean, levels, index, camera)
        iso = _per_example(tf.cast(iso, tf.float32), batch, "iso")
        steps = np.diff(np.log(np.float32(self.iso_levels)), append=np.float32(np.inf))
        fraction = tf.math.log(iso / levels) / tf.gather(tf.constant(steps, tf.float32), index)
        return Conditions(clean, iso, index, camera, fraction)

    def iso_index(self, iso: Any) -> tf.Tensor:
        """Positions in `iso_levels`, int32 of the shape of `iso`; between two levels the lower."""
        levels = self.iso_levels
        if tf.is_symbolic_tensor(iso):
            value = tf.cast(iso, tf.float32)[..., tf.newaxis]
            table = tf.constant(levels, tf.float32)
            if not self.iso_interpolation:
                return _position(value == table, iso, f"ISO; the model knows {_listed(levels)}")
            above = tf.constant([*levels[1:], np.nextafter(np.float32(levels[-1]), np.inf)])
            within = (value >= table) & (value < above)
            return _position(within, iso, f"ISO; the model knows {levels[0]} to {levels[-1]}")
        values = np.asarray(iso)
        known = values.dtype.kind in "iuf"
        if self.iso_interpolation:
            known = known and np.all((values >= levels[0]) & (values <= levels[-1]))
        else:
            known = known and np.isin(values, levels).all()
        if not known:
            between = " and what lies between" if self.iso_interpolation else ""
            raise ValueError(
                f"unknown ISO {_text(values)}; the model knows ISO {_listed(levels)}{between}"
            )
        return tf.constant(np.searchsorted(levels, values, side="right") - 1, tf.int32)

    def camera_index(self, camera: Any) -> tf.Tensor:
        """Positions in `cameras`, int32 of the shape of `camera`."""
        cameras = self.cameras
        if tf.is_symbolic_tensor(camera):
            table = cameras if camera.dtype == tf.string else tuple(range(len(cameras)))
            matches = camera[..., tf.newaxis] == tf.constant(table, camera.dtype)
            return _position(matches, camera, f"camera; the model knows {_listed(cameras)}")
        values = np.asarray(camera)
        if values.dtype.kind == "O":
            values = np.asarray([v.decode() if isinstance(v, bytes) else v for v in values.flat])
            values = values.reshape(np.shape(camera))
        if values.dtype.kind in "SU" and np.isin(values.astype(str), cameras).all():
            return tf.constant(np.vectorize(cameras.index)(values.astype(str)), tf.int32)
        if values.dtype.kind in "iu" and np.isin(values, range(len(cameras))).all():
            return tf.constant(values, tf.int32)
        raise ValueError(
            f"unknown camera {_text(values)}; the model knows {_listed(cameras)}, "
            f"or their indices 0 to {len(cameras) - 1}"
        )


def packed(clean: Any) -> tf.Tensor:
    """Packed raw images `[B, H, W, 4]` as a float32 tensor; ValueError for another shape."""
    clean = tf.convert_to_tensor(clean, tf.float32)
    if clean.shape.rank != 4 or clean.shape[-1] not in (4, None):
        raise ValueError(
            "clean must be packed raw images of shape [B, H, W, 4]; "
            f"got shape {_shape_text(clean.shape)}"
        )
    return clean


def resolve(clean: Any, iso: Any, camera: Any) -> Conditions:
    """`Known.resolve` with the cameras and ISO levels of SIDD."""
    return Known().resolve(clean, iso, camera)


def iso_index(iso: Any) -> tf.Tensor:
    """Positions in `ISO_LEVELS`, int32 of the shape of `iso`.

    >>> iso_index([100, 3200]).numpy().tolist()
    [0, 4]
    """
    return Known().iso_index(iso)


def camera_index(camera: Any) -> tf.Tensor:
    """Positions in `CAMERAS`, int32 of the shape of `camera`.

    >>> camera_index("S6").numpy().item()
    2
    """
    return Known().camera_index(camera)


def _position(matches: tf.Tensor, values: tf.Tensor, what: str) -> tf.Tensor:
    known = tf.reduce_all(tf.reduce_any(matches, axis=-1))
    with tf.control_dependencies([tf.debugging.Assert(known, [f"unknown {what}; got", values])]):
        return tf.argmax(matches, axis=-1, output_type=tf.int32)


def _per_example(value: tf.Tensor, batch: int | tf.Tensor, what: str) -> tf.Tensor:
    size = value.shape.num_elements()
    if value.shape.rank not in (0, 1) or (isinstance(batch, int) and size not in (1, batch, None)):
        raise ValueError(
            f"{what} must be one value for all or one for each of the {batch} examples; "
            f"got shape {_shape_text(value.shape)}"
        )
    return tf.broadcast_to(value, [batch])


def _shape_text(shape: tf.TensorShape) -> str:
    return str(shape.as_list()) if shape.rank is not None else "unknown"


def _listed(table: Sequence) -> str:
    return ", ".join(map(str, table))


def _text(values: np.ndarray) -> str:
    return str(values.tolist())
