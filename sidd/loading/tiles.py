"""Frames as tiles, on disk or in memory, for fast reads of patches from any place.

A tile file is one `.npy` array, float32 [rows, columns, 2, 32, 32, 4]: the tiles of a packed frame,
noise and clean image of each together, the last row and column padded with zeros. A patch of the
release's grid is one tile, one read of 32 KiB; others touch a few tiles. Unlike TFRecord, this
costs nothing for a start in the middle of an epoch or for one worker's part. Files are read by
offset and not mapped, since the pages of a mapping count as memory of the process.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sidd.errors import SiddError

TILE = 32
"""Side of a tile in packed pixels: the release's patch size."""

_TILE_SHAPE = (2, TILE, TILE, 4)
_TILE_BYTES = 4 * 2 * TILE * TILE * 4


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Return how many rows and columns of tiles cover a packed image.

    >>> grid_shape(2664, 1500)
    (84, 47)
    """
    return -(-height // TILE), -(-width // TILE)


def write_tiles(file: BinaryIO, noise: np.ndarray, clean: np.ndarray) -> None:
    """Write a frame's packed noise and clean image, [h, w, 4] float32, as a tile file."""
    height, width, _ = noise.shape
    rows, columns = grid_shape(height, width)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns, *_TILE_SHAPE)}
    np.lib.format.write_array_header_1_0(file, header)
    strip = np.zeros((columns, *_TILE_SHAPE), "<f4")
    padded = np.zeros((TILE, columns * TILE, 4), "<f4")
    for top in range(0, height, TILE):
        for which, image in enumerate((noise, clean)):
            part = image[top : top + TILE]
            padded[len(part) :] = 0
            padded[: len(part), :width] = part
            strip[:, which] = padded.reshape(TILE, columns, TILE, 4).swapaxes(0, 1)
        file.write(strip.data)


# NumPy parses the header by Python's parser, which sometimes fails in several threads at once
# (SystemError: AST constructor recursion depth mismatch, seen on 3.11.7).
_PARSING = threading.Lock()


class TileFile:
    """The frame in a tile file, opened by `open_file`.

    Raises:
        SiddError: if the file is not the whole one of a packed frame of this size.
    """

    def __init__(
        self, path: Path, height: int, width: int, open_file: Callable[[Path], "OpenFile"]
    ) -> None:
        self._path = path
        self._rows, self._columns = grid_shape(height, width)
        self._open = open_file
        with open(path, "rb") as file:
            try:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("another version of .npy")
                with _PARSING:
                    header = np.lib.format.read_array_header_1_0(file)
            except ValueError as error:
                raise SiddError(f"{path}: not a file of tiles: {error}") from None
            expected = ((self._rows, self._columns, *_TILE_SHAPE), False, np.dtype("<f4"))
            if header != expected:
                raise SiddError(f"{path}: has an array {header}; expected {expected}")
            self._start = file.tell()
            length = os.fstat(file.fileno()).st_size
        if length != self._start + self._rows * self._columns * _TILE_BYTES:
            raise SiddError(f"{path}: has {length} bytes, and is cut short or too long")

    def read(self, row: int, column: int, noise: np.ndarray, clean: np.ndarray) -> None:
        """Fill `noise` and `clean` [p, p, 4] with the patch of this upper left corner."""
        size = len(noise)
        if size == TILE and row % TILE == column % TILE == 0:
            self._read_tiles([noise, clean], row // TILE, column // TILE)
            return
        first, last = column // TILE, (column + size - 1) // TILE
        strip = np.empty((last - first + 1, *_TILE_SHAPE), np.float32)
        for tile_row in range(row // TILE, (row + size - 1) // TILE + 1):
            self._read_tiles([strip], tile_row, first)
            top, bottom = max(row, tile_row * TILE), min(row + size, (tile_row + 1) * TILE)
            part = strip[:, :, top - tile_row * TILE : bottom - tile_row * TILE]
            part = part.transpose(1, 2, 0, 3, 4).reshape(2, bottom - top, -1, 4)
            left = column - first * TILE
            noise[top - row : bottom - row] = part[0, :, left : left + size]
            clean[top - row : bottom - row] = part[1, :, left : left + size]

    def expect(self, first: np.ndarray, last: np.ndarray, size: int) -> None:
        """Start reading ahead the patches from one corner [2] to another, row by row."""
        ends = first // TILE, (last + size - 1) // TILE
        start, end = (row * self._columns + column for row, column in ends)
        length = (end + 1 - start) * _TILE_BYTES
        with contextlib.suppress(OSError):  # raised again when they are read
            self._open(self._path).expect(self._start + start * _TILE_BYTES, length)

    def _read_tiles(self, buffers: list[np.ndarray], tile_row: int, tile_column: int) -> None:
        offset = self._start + (tile_row * self._columns + tile_column) * _TILE_BYTES
        try:
            self._open(self._path).read(buffers, offset)
        except OSError as error:
            raise SiddError(f"{self._path}: cannot be read: {error.strerror}") from error


class OpenFile:
    """An open file, closed with its last reference: safe to share among threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, buffers: list[np.ndarray], offset: int) -> None:
        """Fill the buffers, one after the other, from the offset on."""
        wanted = sum(buffer.nbytes for buffer in buffers)
        if os.preadv(self._descriptor, [buffer.data for buffer in buffers], offset) != wanted:
            raise SiddError(f"{self._path}: is shorter than when it was opened")

    def expect(self, offset: int, length: int) -> None:
        """Advise the system, if it takes advice, that a part is needed soon."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, int(offset), int(length), os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def keeping_open(most: int = 256) -> Callable[[Path], OpenFile]:
    """Return a function that opens files and keeps the last used ones open."""
    return functools.lru_cache(maxsize=most)(OpenFile)


class TilesInMemory:
    """A frame in memory, read like a `TileFile`."""

    def __init__(self, noise: np.ndarray, clean: np.ndarray) -> None:
        self._noise, self._clean = noise, clean

    def read(self, row: int, column: int, noise: np.ndarray, clean: np.ndarray) -> None:
        """Fill `noise` and `clean` [p, p, 4] with the patch of this upper left corner."""
        size = len(noise)
        noise[:] = self._noise[row : row + size, column : column + size]
        clean[:] = self._clean[row : row + size, column : column + size]

    def expect(self, first: np.ndarray, last: np.ndarray, size: int) -> None:
        """Do nothing: all is in memory."""
