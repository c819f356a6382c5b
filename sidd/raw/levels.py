"""The levels of a DNG: black, white and the linearization table, from its tags."""

import numpy as np

from sidd.errors import SiddError
from sidd.raw.tags import Directory

_LINEARIZATION, _REPEAT, _BLACK, _DELTA_H, _DELTA_V, _WHITE = (
    50712,
    50713,
    50714,
    50715,
    50716,
    50717,
)


def black_levels(raw: Directory, shape: tuple[int, int]) -> np.ndarray:
    """Return the black level [2, 2] of each place of the cell at the active area's origin.

    That is BlackLevel, of any repeat size that fits into 2x2 cells, plus BlackLevelDeltaH and
    BlackLevelDeltaV, if they alternate with the cell as well.

    Args:
        raw: the directory of the raw image.
        shape: [H, W] of the active area.

    Raises:
        SiddError: without a black level, or for one that does not repeat by 2x2 cells.
    """
    values = raw.numbers(_BLACK)
    if values is None:
        raise SiddError("has no BlackLevel (tag 50714), without which noise cannot be measured")
    if not np.isfinite(values).all():
        raise SiddError(f"its BlackLevel is not finite: {values.tolist()}")
    repeat = raw.numbers(_REPEAT)
    rows, columns = (1, 1) if repeat is None else (int(value) for value in repeat[:2])
    if rows < 1 or columns < 1 or values.size != rows * columns:
        raise SiddError(f"BlackLevel has {values.size} values for a repeat of {rows} x {columns}")
    cell = np.tile(values.reshape(rows, columns), (2, 2))  # even in both directions
    black = cell[:2, :2]
    if not np.array_equal(cell, np.tile(black, (rows, columns))):
        raise SiddError(
            f"its BlackLevel repeats every {rows} x {columns} pixels; 2 x 2 is supported"
        )
    return black + _delta(raw, _DELTA_V, shape[0])[:, None] + _delta(raw, _DELTA_H, shape[1])[None]


def _delta(raw: Directory, code: int, length: int) -> np.ndarray:
    """Return BlackLevelDeltaH or BlackLevelDeltaV of the two columns or rows of a cell."""
    name, values = ("BlackLevelDeltaV", "BlackLevelDeltaH")[code == _DELTA_H], raw.numbers(code)
    if values is None or not values.any():
        return np.zeros(2)
    if values.size != length:
        raise SiddError(f"{name} has {values.size} values for {length} rows or columns")
    if not np.array_equal(values, np.resize(values[:2], length)):
        raise SiddError(
            f"{name} differs from row to row or column to column; only black levels that repeat by "
            "2 x 2 cells are supported"
        )
    return values[:2]


def white_level(raw: Directory, bits: int) -> float:
    """Return the white level, black included.

    Without a WhiteLevel it is 2^bits - 1, as DNG says, if the samples are packed (10, 12 or 14
    bits); of 16 bits, few cameras use all.

    Raises:
        SiddError: if it is not known.
    """
    values = raw.numbers(_WHITE)
    if values is None:
        if bits in (8, 16) or _LINEARIZATION in raw:
            raise SiddError("has no WhiteLevel (tag 50717), and its bits do not tell it")
        return float(2**bits - 1)
    if not values.size or (values != values[0]).any():
        raise SiddError(f"WhiteLevel is one number; got {values.tolist()}")
    return float(values[0])


def check_levels(black: np.ndarray, white: float) -> None:
    """Raise SiddError for levels that no camera has."""
    if not np.isfinite(black).all() or not np.isfinite(white):
        raise SiddError(f"black {black.ravel().tolist()} and white {white} must be finite")
    if (black < 0).any() or white > 65535:
        raise SiddError(
            f"black {black.ravel().tolist()} and white {white:g} must be between 0 and 65535"
        )
    if (white <= black).any():
        raise SiddError(f"white level {white:g} is not above the black level {black.max():g}")


def sample_limits(raw: Directory, bits: int) -> tuple[int, int]:
    """Return the levels of the smallest and the largest sample, by the linearization table."""
    table = raw.numbers(_LINEARIZATION)
    if table is None:
        return 0, 2**bits - 1
    if not table.size or not np.isfinite(table).all() or (np.diff(table) < 0).any():
        raise SiddError("its LinearizationTable (tag 50712) is empty or decreases")
    return int(table[0]), int(table[-1])
