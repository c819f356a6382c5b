"""Two noises of the same patches, as the comparisons of this package take them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Noises(NamedTuple):
    """Real and synthetic noise of the same clean patches, each `[B, h, w, 4]`, raw intensity."""

    real: np.ndarray
    synthetic: np.ndarray
    clean: np.ndarray


def checked(
    real: ArrayLike, synthetic: ArrayLike, clean: ArrayLike | None = None, least: int = 2
) -> Noises:
    """Return two noises of the same patches, or refuse them in one line.

    Args:
        real: `[B, h, w, 4]`, floating point, in units of raw intensity.
        synthetic: of the same shape.
        clean: of the same shape; zeros where the comparison does not need it.
        least: the least h and w, in packed pixels.

    Raises:
        ValueError: another rank or number of channels, shapes that differ, no value, too few
            pixels, integers, NaN or infinity, or noise that is the same everywhere.
    """
    arrays = {"real noise": np.asarray(real), "synthetic noise": np.asarray(synthetic)}
    if clean is not None:
        arrays["clean images"] = np.asarray(clean)
    shape = arrays["real noise"].shape
    for name, array in arrays.items():
        verb = "are" if name.endswith("s") else "is"
        if array.ndim != 4 or array.shape[-1] != 4:
            raise ValueError(f"the {name} {verb} packed patches [B, h, w, 4]; got {[*array.shape]}")
        if not array.size:
            raise ValueError(f"the {name} {verb} empty, of shape {[*array.shape]}")
        if array.shape != shape:
            raise ValueError(
                f"the {name} {verb} of shape {[*array.shape]}, the real noise of {[*shape]}; "
                "give both for the same patches"
            )
        if min(shape[1:3]) < least:
            raise ValueError(
                f"the {name} {verb} of {shape[1]} x {shape[2]} packed pixels; give patches of "
                f"{least} x {least} at least"
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(
                f"the {name} {verb} of type {array.dtype}; give floating-point raw intensities, "
                "levels divided by the white level"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"the {name} {'hold' if verb == 'are' else 'holds'} NaN or infinity")
        if name != "clean images" and array.min() == array.max():
            raise ValueError(f"the {name} is the same everywhere, {array.flat[0]:g}: no noise")
    real, synthetic = (arrays[name].astype(np.float64) for name in [*arrays][:2])
    kept = arrays.get("clean images")
    return Noises(real, synthetic, np.zeros(shape) if kept is None else kept.astype(np.float64))


def unpacked(patches: np.ndarray) -> np.ndarray:
    """Return the Bayer planes `[B, 2h, 2w]` of packed patches: (0,0), (0,1), (1,1), (1,0)."""
    count, height, width, _ = patches.shape
    planes = np.empty((count, 2 * height, 2 * width), patches.dtype)
    for channel, (row, column) in enumerate(((0, 0), (0, 1), (1, 1), (1, 0))):
        planes[:, row::2, column::2] = patches[..., channel]
    return planes
