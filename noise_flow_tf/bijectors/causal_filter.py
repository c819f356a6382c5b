"""Correlated noise by a causal filter: each value is predicted from the values before it."""

import functools
from typing import Any

import tensorflow as tf
from tensorflow_probability.python.internal import parameter_properties, tensor_util

from noise_flow_tf.bijectors.one_pass import OnePassBijector
from noise_flow_tf.bijectors.shapes import sizes


def neighbours(reach: int) -> list[tuple[int, int]]:
    """Return the offsets (rows, columns) of the causal neighbourhood, in raster order.

    >>> neighbours(1)
    [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    """
    rows = range(-reach, 1)
    columns = range(-reach, reach + 1)
    return [(i, j) for i in rows for j in columns if (i, j) < (0, 0)]


class CausalFilter(OnePassBijector):
    """Correlates an image `[..., H, W, C]` by a linear autoregression in raster order.

    With y_p the row vector of the C channels at pixel p, and y = 0 outside the image,

        inverse(y)_p = y_p own + sum over neighbours o of y_(p + o) others_o

    where `own` is upper triangular with a positive diagonal, so that a channel depends on those
    before it. The Jacobian is triangular: log |det d inverse(y) / d y| = H W sum(log diag(own)).
    Of standard-normal x, forward(x) is Gaussian noise with one correlation everywhere but near the
    border. It is a proper density for an image of any size, as each value has a normalised one
    given those before it.

    The inverse is one pass over the neighbours. The forward direction goes through the rows one
    after the other, and within a row takes log2(W) steps, each over the whole row: the recursion
    s_j = s_(j-1) F + b_j becomes s_j = s_(j-2^k) F^(2^k) + b_j^(k).

    >>> layer = CausalFilter(own=tf.eye(4)[None], others=tf.zeros([1, 4, 4, 4]))
    >>> float(tf.reduce_sum(layer.forward(tf.ones([1, 3, 2, 4]))))
    24.0
    """

    def __init__(self, own: Any, others: Any, validate_args: bool = False) -> None:
        """Make the bijector for one batch.

        Args:
            own: `[..., C, C]`, upper triangular, with a positive diagonal.
            others: `[..., N, C, C]`, for `neighbours(reach)`: N is 4 or 12 for a reach of 1 or 2.
            validate_args: whether to check `own` now.

        Raises:
            ValueError: another number of neighbours.
        """
        parameters = dict(locals())
        with tf.name_scope("causal_filter"):
            self._own = tensor_util.convert_nonref_to_tensor(own, tf.float32)
            self._others = tensor_util.convert_nonref_to_tensor(others, tf.float32)
            self._reach = next((r for r in (1, 2, 3) if self._count() == len(neighbours(r))), 0)
            if not self._reach:
                raise ValueError(f"others must be of 4, 12 or 24 neighbours; got {self._count()}")
            if validate_args:
                tf.debugging.assert_positive(
                    tf.linalg.diag_part(self._own), "own must have a positive diagonal"
                )
            super().__init__(parameters, "causal_filter", validate_args)

    def _count(self) -> int:
        return self._others.shape[-3]

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {
            "own": parameter_properties.ParameterProperties(event_ndims=2),
            "others": parameter_properties.ParameterProperties(event_ndims=3),
        }

    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own, others = tf.convert_to_tensor(self._own), tf.convert_to_tensor(self._others)
        reach = self._reach
        *_, height, width, _ = sizes(y)
        rank = y.shape.rank
        sides = [[0, 0]] * (rank - 3) + [[reach, 0], [reach, reach], [0, 0]]
        padded = tf.pad(y, sides)
        value = _times(y, own)
        for number, (row, column) in enumerate(neighbours(reach)):
            i, j = reach + row, reach + column
            part = padded[..., i : i + height, j : j + width, :]
            value += _times(part, others[..., number, :, :])
        return value, _log_det(y, own)

    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own, others = tf.convert_to_tensor(self._own), tf.convert_to_tensor(self._others)
        y = tf.ensure_shape(_forward(x, own, others, self._reach, x.shape.rank), x.shape)
        return y, -_log_det(x, own)


@tf.function(reduce_retracing=True, autograph=False)
def _forward(x: tf.Tensor, own: tf.Tensor, others: tf.Tensor, reach: int, rank: int) -> tf.Tensor:
    """Go through the rows, in a graph: without one, each row's operations are started from Python.

    Args:
        x: `[..., H, W, C]`.
        own: `[..., C, C]`.
        others: `[..., N, C, C]`.
        reach: of the neighbourhood; a graph for each.
        rank: of x, for a graph for each, as one for all shapes would not know it.
    """
    inverse = tf.linalg.inv(own)
    # What precedes a value, multiplied by the inverse of its own matrix.
    before = -tf.matmul(others, inverse[..., tf.newaxis, :, :])
    places = neighbours(reach)
    above = {place: n for n, place in enumerate(places) if place[0] < 0}
    steps = _powers([before[..., places.index((0, -k)), :, :] for k in range(1, reach + 1)])
    driven = _times(x, inverse)
    rows = tf.transpose(driven, _first(rank, -3))  # [H, ..., W, C]

    def body(earlier: tuple[tf.Tensor, ...], row: tf.Tensor) -> tuple[tf.Tensor, ...]:
        value = row
        for (i, j), number in above.items():
            part = _shifted(earlier[-i - 1], j)
            value += _row_times(part, before[..., number, :, :])
        return _along(value, steps, reach), *earlier[:-1]

    start = tuple(tf.zeros_like(rows[0]) for _ in range(reach))
    done = tf.scan(body, rows, initializer=start)[0]
    return tf.reshape(tf.transpose(done, _last(rank, -3)), tf.shape(x))


def _times(image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Multiply the pixels `[..., H, W, C]` by one matrix `[..., C, C]` for each image."""
    return _row_times(image, matrix[..., tf.newaxis, :, :])


def _row_times(row: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Multiply the vectors `[..., W, C]` by matrices `[..., C, D]`, as a sum of few products.

    For so few channels it is as fast as `tf.matmul`, and batches may broadcast.
    """
    channels = matrix.shape[-2]
    return tf.add_n([row[..., c : c + 1] * matrix[..., c : c + 1, :] for c in range(channels)])


def _log_det(image: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    *_, height, width, _ = sizes(image)
    pixels = tf.cast(height * width, tf.float32)
    return pixels * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(own)), axis=-1)


def _shifted(row: tf.Tensor, by: int) -> tf.Tensor:
    """Return the row `[..., W, C]` whose place j has what was at j + by, and zeros outside."""
    sides = [[0, 0]] * (row.shape.rank - 2) + [[max(-by, 0), max(by, 0)], [0, 0]]
    width = tf.shape(row)[-2]
    return tf.pad(row, sides)[..., max(by, 0) : max(by, 0) + width, :]


def _powers(weights: list[tf.Tensor]) -> list[tuple[int, tf.Tensor]]:
    """Return by distance 1, 2, 4, .. the powers of the companion matrix `[..., rC, rC]` of a row.

    The state is [y_j, y_(j-1), ..]; there are powers for rows of up to 2^16 pixels.
    """
    channels = weights[0].shape[-1]
    top = tf.concat(weights, axis=-2)  # [..., rC, C]
    reach = len(weights)
    passed_on = tf.eye(reach * channels, (reach - 1) * channels, batch_shape=tf.shape(top)[:-2])
    power = tf.concat([top, passed_on], axis=-1)
    powers = []
    for k in range(16):
        powers.append((2**k, power))
        power = tf.matmul(power, power)
    return powers


def _along(row: tf.Tensor, steps: list[tuple[int, tf.Tensor]], reach: int) -> tf.Tensor:
    """Solve y_j = row_j + sum over k of y_(j-k) weights_k in a row `[..., W, C]`."""
    channels, width = row.shape[-1], sizes(row)[-2]
    state = tf.pad(row, [[0, 0]] * (row.shape.rank - 1) + [[0, (reach - 1) * channels]])
    for distance, power in steps:

        def longer(state: tf.Tensor = state, d: int = distance, p: tf.Tensor = power) -> tf.Tensor:
            moved = tf.pad(state[..., :-d, :], [[0, 0]] * (state.shape.rank - 2) + [[d, 0], [0, 0]])
            return state + _row_times(moved, p)

        if not isinstance(width, int):
            state = tf.cond(width > distance, longer, functools.partial(tf.identity, state))
        elif width > distance:
            state = longer()
    return state[..., :channels]


def _first(rank: int, axis: int) -> list[int]:
    axes = list(range(rank))
    return [axes.pop(axis), *axes]


def _last(rank: int, axis: int) -> list[int]:
    """Return the inverse permutation of `_first`."""
    axes = list(range(1, rank))
    axes.insert(rank + axis, 0)
    return axes
