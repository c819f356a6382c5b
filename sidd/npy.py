"""NumPy's `.npy` files of unknown origin."""

import math
import os

import numpy as np

from sidd.errors import SiddError, reading


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """Return the array of a `.npy` file of numbers, whose size is what its header says.

    Raises:
        SiddError: for another file, a damaged one, or one of Python objects.
    """
    with reading(path, "not a readable .npy file"), open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise SiddError(f"{path}: is a .npy file of version {version}; write it by np.save")
        shape, is_by_columns, dtype = read_header(file)
        if dtype.kind not in "fiub" or dtype.shape:
            raise SiddError(f"{path}: expected numbers in a .npy file; got {dtype}")
        needed = math.prod(shape) * dtype.itemsize
        there = os.fstat(file.fileno()).st_size - file.tell()
        if min(shape, default=0) < 0 or needed != there:
            raise SiddError(
                f"{path}: an array of shape {shape} and type {dtype} has {needed} bytes; the file "
                f"has {there}"
            )
        values = np.fromfile(file, dtype, math.prod(shape))
        return values.reshape(shape[::-1]).T if is_by_columns else values.reshape(shape)
