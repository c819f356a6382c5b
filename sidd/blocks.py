"""The validation blocks of SIDD: pieces of noisy raw images and their ground truth, in two files.

`ValidationNoisyBlocksRaw.mat` and `ValidationGtBlocksRaw.mat` are MATLAB v5 files with one array
of [40 images, 32 blocks, 256, 256] each, Bayer, in [0, 1]. No metadata comes with them.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from sidd.bayer import pack
from sidd.errors import SiddError, reading
from sidd.mat5 import read_variable
from sidd.matfiles import cleaned

_NOISY, _CLEAN = "ValidationNoisyBlocksRaw", "ValidationGtBlocksRaw"
_MOST_BYTES = 1 << 30  # 335 MB in single precision, twice that in double


@dataclass(frozen=True, eq=False)
class Block:
    """One block, packed [h, w, 4] float32 in file orientation, cleaned as by `read_pair`.

    Images, and blocks of an image, are counted from 1.
    """

    image: int
    number: int
    noisy: np.ndarray
    clean: np.ndarray


def read_blocks(
    noisy_path: str | os.PathLike,
    clean_path: str | os.PathLike,
    leave_out: Collection[int] = (),
) -> Iterator[Block]:
    """Iterate over the validation blocks, image by image.

    MATLAB v5 files, unlike NOISY and GT, have upright arrays. They are transposed to file
    orientation here, so that models find each colour in the channel where they learned it. The two
    files, of up to 1 GB each, are read with the first block.

    Args:
        noisy_path: `ValidationNoisyBlocksRaw.mat`.
        clean_path: `ValidationGtBlocksRaw.mat`.
        leave_out: images, counted from 1, such as `RELEASE_EXCLUSIONS`.

    Raises:
        SiddError: for files that cannot be read or do not fit together.
    """
    noisy, clean = _read(noisy_path, _NOISY), _read(clean_path, _CLEAN)
    if noisy.shape != clean.shape:
        raise SiddError(
            f"{noisy_path}: blocks of shape {noisy.shape} do not fit {clean.shape} of {clean_path}"
        )
    for image, number in np.ndindex(*noisy.shape[:2]):
        if image + 1 not in leave_out:
            pair = (
                cleaned(pack(blocks[image, number].T.astype(np.float32)), path)
                for blocks, path in ((noisy, noisy_path), (clean, clean_path))
            )
            yield Block(image + 1, number + 1, *pair)


def _read(path: str | os.PathLike, name: str) -> np.ndarray:
    with reading(path, "not a readable MATLAB v5 file"):
        try:
            blocks = read_variable(path, name, _MOST_BYTES)
        except KeyError:
            raise SiddError(f"{path}: has no array {name}") from None
    shape = blocks.shape
    if blocks.dtype.kind != "f" or len(shape) != 4 or 0 in shape or shape[2] % 2 or shape[3] % 2:
        raise SiddError(
            f"{path}: {name} is a float array [images, blocks, H, W] with even H and W; got "
            f"{blocks.dtype} {shape}"
        )
    return blocks
