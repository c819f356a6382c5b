"""The conditions of the noise: the clean image, the ISO level and the camera."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

CAMERAS = ("IP", "GP", "S6", "N6", "G4")
"""SIDD's cameras in index order: iPhone 7, Pixel, Galaxy S6 Edge, Nexus 6, LG G4."""

ISO_LEVELS = (100, 400, 800, 1600, 3200)
"""The ISO levels of SIDD that the model has a gain for."""

CLEAN_RANGE = (-0.5, 1.5)
"""The clean raw intensities that models accept: [0, 1], with a margin for noise."""

_NORMALISE = "normalise raw values as (raw - black level) / (white level - black level)"

_CODE = re.compile(r"[A-Z0-9]{2,8}")


class Conditions(NamedTuple):
    """The validated conditions of a batch.

    Attributes:
        clean: `[B, H, W, 4]` float32, the packed clean raw image in [0, 1].
        iso: `[B]` float32, the ISO level itself.
        iso_index: `[B]` int32, the index of the level; of the lower one between two levels.
        camera: `[B]` int32, the camera's index.
        iso_above: `[B]` int32, the index of the camera's next level; that of the level itself if
            there is none.
        iso_fraction: `[B]` float32 in [0, 1), the position of log ISO from its level to the next.
    """

    clean: tf.Tensor
    iso: tf.Tensor
    iso_index: tf.Tensor
    camera: tf.Tensor
    iso_above: tf.Tensor
    iso_fraction: tf.Tensor

    def at_iso(self, table: tf.Tensor) -> tf.Tensor:
        """Look up `[B]` values in a table of one per level, linear in log ISO between levels."""
        table = tf.convert_to_tensor(table)
        value, above = (tf.gather(table, index) for index in (self.iso_index, self.iso_above))
        return value + self.iso_fraction * (above - value)

    def at_iso_of_each(self, tables: tf.Tensor) -> tf.Tensor:
        """Look up `[B]` values in tables `[B, levels]`, one per image, as `at_iso` does."""
        value = tf.gather(tables, self.iso_index, batch_dims=1)
        above = tf.gather(tables, self.iso_above, batch_dims=1)
        return value + self.iso_fraction * (above - value)


@dataclass(frozen=True)
class ConditionSpace:
    """The cameras and ISO levels that a model has parameters for.

    Attributes:
        cameras: codes of two to eight capitals and digits, in index order.
        iso_levels: rising whole numbers.
        iso_interpolation: whether ISO values between two levels of a camera are allowed.
        camera_levels: the ISO levels of each camera, in index order; empty if all cameras have all
            levels.

    >>> ConditionSpace(iso_interpolation=True).iso_index([100, 500]).numpy().tolist()
    [0, 1]
    """

    cameras: tuple[str, ...] = CAMERAS
    iso_levels: tuple[int, ...] = ISO_LEVELS
    iso_interpolation: bool = False
    camera_levels: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, model: Any) -> "ConditionSpace":
        """Return a model's conditions; those of SIDD for a model without, such as a baseline."""
        return getattr(model, "condition_space", None) or cls()

    def __post_init__(self) -> None:
        for code in self.cameras:
            if not (isinstance(code, str) and _CODE.fullmatch(code)):
                raise ValueError(
                    f"a camera's code is two to eight capitals and digits, such as S6; got {code!r}"
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
        if self.camera_levels and len(self.camera_levels) != len(self.cameras):
            raise ValueError(
                f"camera_levels must be levels for each of the {len(self.cameras)} cameras; got "
                f"{len(self.camera_levels)}"
            )
        for code, own in zip(self.cameras, self.camera_levels, strict=False):
            if not own or [level for level in self.iso_levels if level in own] != list(own):
                raise ValueError(
                    f"camera_levels of {code} must be some of the ISO levels "
                    f"{_listed(self.iso_levels)}, rising; got {_listed(own) or 'none'}"
                )
        if {*self.camera_levels} == {self.iso_levels}:
            object.__setattr__(self, "camera_levels", ())

    def levels_of(self, camera: Any) -> tuple[int, ...]:
        """Return the ISO levels of one camera, an index or a code."""
        index = int(self._camera_numbers(camera))
        return self.camera_levels[index] if self.camera_levels else self.iso_levels

    def supports(self, iso: float, camera: Any) -> bool:
        """Return whether a camera has an ISO: one of its levels, or between two of them."""
        levels = self.levels_of(camera)
        between = self.iso_interpolation and levels[0] <= iso <= levels[-1]
        return iso in levels or between

    def check(self, iso: Any, camera: Any) -> None:
        """Raise a ValueError for an unknown ISO or camera, or an ISO that its camera does not have.

        Args:
            iso: one ISO, or several.
            camera: one index or code, or as many as there are ISO.
        """
        self.iso_index(iso)
        numbers = self._camera_numbers(camera)
        if not self.camera_levels:
            return
        pairs = np.broadcast(np.asarray(iso), numbers)
        for value, number in sorted({(v.item(), int(n)) for v, n in pairs}):
            if not self.supports(value, number):
                raise ValueError(self._not_of_camera(value, number))

    def _not_of_camera(self, iso: float, camera: int) -> str:
        levels = self.levels_of(camera)
        others = [c for c, own in zip(self.cameras, self.camera_levels, strict=True) if iso in own]
        text = f"camera {self.cameras[camera]} has no ISO {iso:.10g}"
        text += f" (cameras with this level: {_listed(others)})" if others else ""
        text += f"; supported for {self.cameras[camera]}: {_listed(levels)}"
        if levels[0] <= iso <= levels[-1]:
            text += "; with iso_interpolation also values between them"
        elif self.iso_interpolation:
            text += " and values between them"
        return text

    def resolve(self, clean: Any, iso: Any, camera: Any) -> Conditions:
        """Check the conditions of a batch and broadcast them to its examples.

        Args:
            clean: `[B, H, W, 4]`, the packed clean raw image in [0, 1].
            iso: one ISO level for the whole batch, or `[B]` of them.
            camera: an index or a code such as `"S6"`, for the whole batch or `[B]`.

        Raises:
            ValueError: a wrong shape, or an unknown ISO or camera. For tensors inside a
                `tf.function` the latter is a `tf.errors.InvalidArgumentError` at run time.
        """
        clean = packed(clean)
        batch = clean.shape[0] if clean.shape[0] is not None else tf.shape(clean)[0]
        index = per_example(self.iso_index(iso), batch, "iso")
        number = per_example(self.camera_index(camera), batch, "camera")
        if self.camera_levels and not any(map(tf.is_symbolic_tensor, (iso, camera))):
            self.check(iso, camera)
        if not tf.executing_eagerly():
            # XLA drops assertions; NaN keeps the results of unknown conditions from being used.
            unknown = (index < 0) | (number < 0)
            clean = _nan_where(unknown, clean)
            index, number = tf.maximum(index, 0), tf.maximum(number, 0)
        if not (self.camera_levels or self.iso_interpolation):
            levels = tf.gather(tf.constant(self.iso_levels, tf.float32), index)
            return Conditions(clean, levels, index, number, index, tf.zeros_like(levels))
        value = per_example(tf.cast(iso, tf.float32), batch, "iso")
        place = tf.stack([number, index], axis=-1)
        below, above, level, step = (
            column for t in _tables(self) for column in tf.unstack(tf.gather_nd(t, place), axis=-1)
        )
        has_iso = (below >= 0) & ((value == level) | (self.iso_interpolation & (above > below)))
        if not tf.executing_eagerly():
            message = ["a camera does not have this ISO; got ISO", value, "of cameras", number]
            assertion = tf.debugging.Assert(tf.reduce_all(has_iso | unknown), message)
            with tf.control_dependencies([assertion]):
                clean = _nan_where(~has_iso, clean)
            below = tf.maximum(below, 0)
        fraction = tf.math.log(value / level) / step
        return Conditions(clean, value, below, number, above, fraction)

    def iso_index(self, iso: Any) -> tf.Tensor:
        """Return indices of levels, int32 of the shape of `iso`; the lower one between two."""
        levels = self.iso_levels
        if tf.is_symbolic_tensor(iso):
            value = tf.cast(iso, tf.float32)[..., tf.newaxis]
            table = tf.constant(levels, tf.float32)
            if not self.iso_interpolation:
                return _match(value == table, iso, f"ISO; supported ISO levels: {_listed(levels)}")
            above = tf.constant([*levels[1:], np.nextafter(np.float32(levels[-1]), np.inf)])
            within = (value >= table) & (value < above)
            return _match(within, iso, f"ISO; supported ISO: {levels[0]} to {levels[-1]}")
        values = np.asarray(iso)
        supported = values.dtype.kind in "iuf"
        if supported and self.iso_interpolation:
            supported = self._are_between(values)
        elif supported:
            supported = bool(np.isin(values, levels).all())
        if not supported:
            between = ""
            if self.iso_interpolation:
                between = " and values between them"
            elif values.dtype.kind in "iuf" and self._are_between(values):
                between = "; with iso_interpolation also values between them"
            raise ValueError(
                f"unknown ISO {values.tolist()}; supported ISO levels: {_listed(levels)}{between}"
            )
        return tf.constant(np.searchsorted(levels, values, side="right") - 1, tf.int32)

    def _are_between(self, values: np.ndarray) -> bool:
        levels = self.iso_levels
        return bool(np.all((values >= levels[0]) & (values <= levels[-1])))

    def camera_index(self, camera: Any) -> tf.Tensor:
        """Return indices in `cameras`, int32 of the shape of `camera`."""
        cameras = self.cameras
        if tf.is_symbolic_tensor(camera):
            table = cameras if camera.dtype == tf.string else tuple(range(len(cameras)))
            matches = camera[..., tf.newaxis] == tf.constant(table, camera.dtype)
            return _match(matches, camera, f"camera; supported cameras: {_listed(cameras)}")
        return tf.constant(self._camera_numbers(camera), tf.int32)

    def _camera_numbers(self, camera: Any) -> np.ndarray:
        cameras = self.cameras
        values = np.asarray(camera)
        if values.dtype.kind == "O":
            values = np.asarray([v.decode() if isinstance(v, bytes) else v for v in values.flat])
            values = values.reshape(np.shape(camera))
        if values.dtype.kind in "SU" and np.isin(values.astype(str), cameras).all():
            return np.vectorize(cameras.index)(values.astype(str))
        if values.dtype.kind in "iu" and np.isin(values, range(len(cameras))).all():
            return values
        raise ValueError(
            f"unknown camera {values.tolist()}; supported cameras: {_listed(cameras)}, "
            f"or their indices 0 to {len(cameras) - 1}"
        )


class Conditioned:
    """A model that knows some cameras and ISO levels.

    Attributes:
        condition_space: which they are.
    """

    condition_space: ConditionSpace

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the codes of the supported cameras, in index order."""
        return self.condition_space.cameras

    @property
    def iso_levels(self) -> tuple[int, ...]:
        """Return the supported ISO levels."""
        return self.condition_space.iso_levels

    @property
    def camera_levels(self) -> tuple[tuple[int, ...], ...]:
        """Return the ISO levels of each camera; empty if all cameras have all `iso_levels`."""
        return self.condition_space.camera_levels

    @property
    def iso_interpolation(self) -> bool:
        """Whether an ISO between two levels of a camera is accepted; it can be set."""
        return self.condition_space.iso_interpolation

    @iso_interpolation.setter
    def iso_interpolation(self, allowed: bool) -> None:
        self.condition_space = replace(self.condition_space, iso_interpolation=bool(allowed))


@functools.lru_cache
def _tables(space: ConditionSpace) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each camera at each level, which of the camera's own levels are next to it.

    Returns:
        `[cameras, levels, 2]` int32, the indices of its level there or below, -1 if there is none,
        and of the one above, the same if there is none; and `[cameras, levels, 2]` float32, the
        lower level and the step in log ISO to the upper one.
    """
    levels = np.array(space.iso_levels, np.float32)
    has = np.array([np.isin(space.iso_levels, space.levels_of(c)) for c in space.cameras])
    end, places = len(levels), np.arange(len(levels))
    below = np.maximum.accumulate(np.where(has, places, -1), axis=1)
    own = np.pad(np.where(has, places, end), [(0, 0), (0, 1)], constant_values=end)
    above = np.minimum.accumulate(own[:, ::-1], axis=1)[:, -2::-1]
    above = np.where(above == end, below, above)
    steps = np.log(levels[above]) - np.log(levels[below])
    steps = np.where(above == below, np.float32(np.inf), steps)
    return (
        np.stack([below, above], axis=-1).astype(np.int32),
        np.stack([levels[below], steps], axis=-1).astype(np.float32),
    )


def packed(clean: Any, name: str = "clean") -> tf.Tensor:
    """Check packed raw images `[B, H, W, 4]` and convert them to a float32 tensor.

    Intensities are normalised, 0 at the black level and 1 at the white one. The noise of a real
    image exceeds [0, 1] slightly; values outside `CLEAN_RANGE` are in other units.

    Raises:
        ValueError: another shape, no pixels, integers, NaN, values outside `CLEAN_RANGE`. In a
            graph, wrong values are a `tf.errors.InvalidArgumentError` when it runs; under XLA,
            which cannot raise it, the image becomes NaN.
    """
    if not tf.is_tensor(clean):
        clean = np.asarray(clean)
    kind = tf.as_dtype(clean.dtype)
    if not kind.is_floating:
        raise ValueError(
            f"{name} must be floating-point raw intensities in [0, 1]; got {kind.name}; "
            f"{_NORMALISE}"
        )
    clean = tf.cast(clean, tf.float32)
    if clean.shape.rank != 4 or clean.shape[-1] not in (4, None):
        raise ValueError(
            f"{name} must be packed raw images of shape [B, H, W, 4]; "
            f"got shape {_shape_text(clean.shape)}"
        )
    if 0 in clean.shape[1:3]:
        raise ValueError(f"{name} has no pixels: its shape is {_shape_text(clean.shape)}")
    return _in_range(clean, name)


def _in_range(clean: tf.Tensor, name: str) -> tf.Tensor:
    low, high = CLEAN_RANGE
    axes = [1, 2, 3]
    least, most = tf.reduce_min(clean, axes), tf.reduce_max(clean, axes)
    # XLA's minimum and maximum ignore NaN; a sum does not.
    is_number = tf.math.is_finite(tf.reduce_sum(clean, axes))
    within = (least >= low) & (most <= high) & is_number
    if tf.executing_eagerly():
        if not np.all(within):
            raise ValueError(
                f"{name} must be raw intensities in [0, 1] ({low:g} to {high:g} is accepted); got "
                f"{_range_text(clean.numpy())}; {_NORMALISE}"
            )
        return clean
    message = f"{name} must be raw intensities in [0, 1], none below {low:g} or above {high:g}"
    data = [f"{message}; got, by image, from", least, "to", most, _NORMALISE]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(within), data)]):
        return _nan_where(~within, clean)


def _nan_where(wrong: tf.Tensor, clean: tf.Tensor) -> tf.Tensor:
    """Replace the images `[B, H, W, 4]` that are `wrong` `[B]` by NaN."""
    poison = tf.where(wrong, np.float32(np.nan), np.float32(0.0))
    return clean + poison[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _range_text(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return f"{np.isnan(values).sum()} NaN among {values.size} values"
    return f"{values.min():g} to {values.max():g}"


def per_example(value: tf.Tensor, batch: int | tf.Tensor, name: str) -> tf.Tensor:
    """Broadcast one value for all, or check one for each, of the `batch` examples, to `[B]`.

    Raises:
        ValueError: another shape.
    """
    size = value.shape.num_elements()
    if value.shape.rank not in (0, 1) or (isinstance(batch, int) and size not in (1, batch, None)):
        raise ValueError(
            f"{name} must be one value for all or one for each of the {batch} examples; "
            f"got shape {_shape_text(value.shape)}"
        )
    return tf.broadcast_to(value, [batch])


def slice_batch(conditions: Any, slices: tuple) -> Any:
    """Slice the batch of conditions: a NamedTuple of clean images and of tensors `[B]`."""
    clean, *per_image = conditions
    rest = () if any(part is Ellipsis for part in slices) else (...,)
    images = clean[(*slices, *rest, slice(None), slice(None), slice(None))]
    return type(conditions)(images, *(value[slices] for value in per_image))


def _match(matches: tf.Tensor, values: tf.Tensor, description: str) -> tf.Tensor:
    """Return the index at which each row of `matches` is true; if none, fail, or -1 under XLA."""
    is_match = tf.reduce_any(matches, axis=-1)
    message = [f"unknown {description}; got", values]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_match), message)]):
        return tf.where(is_match, tf.argmax(matches, axis=-1, output_type=tf.int32), -1)


def _shape_text(shape: tf.TensorShape) -> str:
    return str(shape.as_list()) if shape.rank is not None else "unknown"


def _listed(table: Sequence) -> str:
    return ", ".join(map(str, table))
