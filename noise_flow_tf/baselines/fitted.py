"""What the fitted baselines share: conditions, parameters, and the data that they are fitted to."""

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import tensorflow as tf

from noise_flow_tf.baselines.baseline import Baseline
from noise_flow_tf.conditions import Conditioned, ConditionSpace, packed
from noise_flow_tf.distribution import NoiseDistribution

Batches = Iterable[Mapping[str, Any]]
"""Batches of `noise` and `clean` `[B, H, W, 4]`, `iso` `[B]` and `camera` `[B]`."""

Condition = tuple[int, int]
"""A camera's index and an ISO level."""


class Group(NamedTuple):
    """The part of a batch that has one camera and ISO: `[n, H, W, 4]`, float64."""

    noise: np.ndarray
    clean: np.ndarray


class Fitted(tf.Module, Conditioned, abc.ABC):
    """A noise model whose parameters are fitted, for the cameras and ISO levels of its data.

    It refuses every camera and ISO that it was not fitted on.

    Attributes:
        condition_space: the cameras and ISO levels that it was fitted on.
        parameters: by name, the variables; those per level are `[cameras, levels, ...]`, and 0
            where a camera has not the level.
    """

    kind: ClassVar[str]
    """The name in `saving.kinds.BASELINES`."""
    per_level: ClassVar[frozenset[str]] = frozenset()
    """The parameters that have values for each ISO level."""

    def __init__(
        self,
        parameters: Mapping[str, Any],
        cameras: Sequence[str],
        iso_levels: Sequence[int],
        camera_levels: Sequence[Sequence[int]] = (),
    ) -> None:
        """Make the model of known parameters; `fit` makes that of data.

        Args:
            parameters: by name, an array of the shape that `shapes` states.
            cameras: codes, in index order.
            iso_levels: rising whole numbers.
            camera_levels: the levels of each camera, if not all cameras have all levels.

        Raises:
            ValueError: other names or shapes, values that are not finite, or conditions that
                `ConditionSpace` refuses.
        """
        super().__init__(name=self.kind)
        self.condition_space = ConditionSpace(
            tuple(cameras), tuple(iso_levels), camera_levels=tuple(map(tuple, camera_levels))
        )
        shapes = self.shapes(len(self.condition_space.cameras), len(self.iso_levels))
        if parameters.keys() != shapes.keys():
            raise ValueError(
                f"{self.kind} has the parameters {', '.join(shapes)}; got {', '.join(parameters)}"
            )
        self.parameters = {}
        for name, shape in shapes.items():
            value = np.asarray(parameters[name], np.float32)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(
                    f"{name} of {self.kind} must be finite numbers of shape {list(shape)}; got "
                    f"shape {list(value.shape)}"
                )
            self.parameters[name] = tf.Variable(value, name=name)

    @classmethod
    @abc.abstractmethod
    def fit(cls, batches: Batches, cameras: Sequence[str]) -> Self:
        """Fit a model to noise.

        Args:
            batches: read more than once; see `Batches`. Cameras are indices or codes.
            cameras: the codes by index; those without data are refused by the model.

        Raises:
            ValueError: no data, values that are not finite, an unknown camera, an ISO that is no
                whole number, or noise that the model cannot have.
        """

    @classmethod
    @abc.abstractmethod
    def shapes(cls, cameras: int, levels: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters for a number of cameras and of ISO levels."""

    @property
    def num_parameters(self) -> int:
        """Return how many numbers were fitted, without those of levels that a camera has not."""
        space, levels = self.condition_space, len(self.iso_levels)
        used = sum(len(space.levels_of(camera)) for camera in range(len(space.cameras)))
        count = 0
        for name, shape in self.shapes(len(space.cameras), levels).items():
            rest = int(np.prod(shape[2:], dtype=int))
            count += rest * (used if name in self.per_level else int(np.prod(shape[:2], dtype=int)))
        return count

    def arguments(self) -> dict[str, Any]:
        """Return what makes the same model again, as JSON can hold it."""
        space = self.condition_space
        return {
            "parameters": {name: v.numpy().tolist() for name, v in self.parameters.items()},
            "cameras": space.cameras,
            "iso_levels": space.iso_levels,
            "camera_levels": space.camera_levels,
        }

    def at(self, name: str, conditions: Any) -> tf.Tensor:
        """Look up a parameter per level, `[B, ...]`, by `Conditions`; linear in log ISO between."""
        table = tf.gather(self.parameters[name], conditions.camera)
        if table.shape.rank == 2:
            return conditions.at_iso_of_each(table)
        below = tf.gather(table, conditions.iso_index, batch_dims=1)
        above = tf.gather(table, conditions.iso_above, batch_dims=1)
        shape = tf.concat([tf.shape(below)[:1], tf.ones_like(tf.shape(below)[1:])], axis=0)
        return below + tf.reshape(conditions.iso_fraction, shape) * (above - below)


class FittedGaussian(Fitted, Baseline):
    """A fitted model whose noise is standard-normal latents through its `bijectors`."""

    def __call__(
        self, clean: Any, iso: Any, camera: Any, training: bool = False
    ) -> NoiseDistribution:
        """Return the distribution of the noise, batch `[B]`, event `[H, W, 4]`.

        Raises:
            ValueError: as `ConditionSpace.resolve`, for a camera or ISO that it was not fitted on.
        """
        return NoiseDistribution(self, self.condition_space.resolve(clean, iso, camera))


def groups(batches: Batches, cameras: Sequence[str]) -> Iterator[tuple[Condition, Group]]:
    """Yield the parts of batches that have one camera and ISO each.

    Raises:
        ValueError: no batch, values that are not finite, another shape, an unknown camera, an ISO
            that is no whole number, or batches that can be read only once.
    """
    if iter(batches) is batches:
        raise ValueError("batches are read more than once: give a dataset or a list, no iterator")
    space, empty = ConditionSpace(tuple(cameras)), True
    for batch in batches:
        clean = packed(batch["clean"]).numpy()
        noise = np.asarray(batch["noise"])
        if noise.shape != clean.shape:
            raise ValueError(
                f"noise and clean of a batch must have one shape; got {list(noise.shape)} and "
                f"{list(clean.shape)}"
            )
        if not np.isfinite(noise).all():
            raise ValueError("the noise of a batch holds NaN or infinite values")
        iso = np.broadcast_to(np.asarray(batch["iso"]), len(noise))
        if np.any(iso != np.rint(iso)) or np.any(iso < 1):
            raise ValueError(f"ISO must be positive whole numbers; got {iso.tolist()}")
        index = space.camera_index(np.asarray(batch["camera"])).numpy()
        camera = np.broadcast_to(index, len(noise))
        for pair in sorted({(int(c), int(i)) for c, i in zip(camera, iso, strict=True)}):
            empty = False
            members = (camera == pair[0]) & (iso == pair[1])
            yield pair, Group(noise[members].astype(float), clean[members].astype(float))
    if empty:
        raise ValueError("there is no noise to fit: the batches are empty")


def space_of(conditions: Iterable[Condition], cameras: Sequence[str]) -> dict[str, Any]:
    """Return the arguments `cameras`, `iso_levels` and `camera_levels` of fitted conditions.

    Cameras keep their indices. One without data would have no level, so it is an error.

    Raises:
        ValueError: a camera without data.
    """
    pairs = sorted({*conditions})
    levels = [tuple(iso for c, iso in pairs if c == camera) for camera in range(len(cameras))]
    if missing := [code for code, own in zip(cameras, levels, strict=True) if not own]:
        raise ValueError(
            f"there is no noise of camera {', '.join(missing)} to fit; leave it out of cameras"
        )
    return {
        "cameras": tuple(cameras),
        "iso_levels": tuple(sorted({iso for _, iso in pairs})),
        "camera_levels": levels,
    }


def table_of(
    values: Mapping[Condition, Any], space: Mapping[str, Any], shape: tuple[int, ...] = ()
) -> np.ndarray:
    """Return values by condition as an array `[cameras, levels, ...]`, 0 where there is none."""
    levels = space["iso_levels"]
    table = np.zeros((len(space["cameras"]), len(levels), *shape))
    for (camera, iso), value in values.items():
        table[camera, levels.index(iso)] = value
    return table
