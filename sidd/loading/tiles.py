"""Frames as tiles, on disk or in memory, for fast reads of patches from any place.

A tile file is one `.npy` array, float32 [rows, columns, 2, 32, 32, 4]: the tiles of a packed frame,
noise and clean image of each together, the last row and column padded with zeros. A patch of the
release's grid is one tile, one read of 32 KiB; others touch a few tiles. Unlike TFRecord, this
costs nothing for a start in the middle of an epoch or for one worker's part. Files are read by
offset and not mapped, since the pages of a mapping count as memory of the process. Each tile has a
CRC-32, which is compared when a process reads it for the first time.
"""

import contextlib
import functools
import io
import os
import zlib
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


def _header(rows: int, columns: int) -> bytes:
    """Return what a tile file begins with."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns, *_TILE_SHAPE)}
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue()


def write_tiles(file: BinaryIO, noise: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Write a frame's packed noise and clean image, [h, w, 4] float32, as a tile file.

    Returns:
        The CRC-32 of each tile, uint32, row by row.
    """
    height, width, _ = noise.shape
    rows, columns = grid_shape(height, width)
    file.write(_header(rows, columns))
    checksums = []
    strip = np.zeros((columns, *_TILE_SHAPE), "<f4")
    padded = np.zeros((TILE, columns * TILE, 4), "<f4")
    for top in range(0, height, TILE):
        for which, image in enumerate((noise, clean)):
            part = image[top : top + TILE]
            padded[len(part) :] = 0
            padded[: len(part), :width] = part
            strip[:, which] = padded.reshape(TILE, columns, TILE, 4).swapaxes(0, 1)
        file.write(strip.data)
        checksums += [zlib.crc32(tile.data) for tile in strip]
    return np.array(checksums, np.uint32)


class TileFile:
    """The frame in a tile file, opened by `open_file`; `checksums` are those of `write_tiles`.

    Raises:
        SiddError: if the file is not the whole one of a packed frame of this size.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        checksums: np.ndarray,
        open_file: Callable[[Path], "OpenFile"],
    ) -> None:
        self._path = path
        self._rows, self._columns = grid_shape(height, width)
        self._open = open_file
        expected = _header(self._rows, self._columns)
        self._start = len(expected)
        with open(path, "rb") as file:
            if file.read(self._start) != expected:
                raise SiddError(f"{path}: is no file of {self._rows} x {self._columns} tiles")
            length = os.fstat(file.fileno()).st_size
        if length != self._start + self._rows * self._columns * _TILE_BYTES:
            raise SiddError(f"{path}: has {length} bytes, and is cut short or too long")
        if checksums.shape != (self._rows * self._columns,):
            raise SiddError(f"{path}: has {checksums.size} checksums of its tiles")
        self._checksums = checksums.tolist()
        self._verified = bytearray(len(self._checksums))

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
        first = tile_row * self._columns + tile_column
        try:
            self._open(self._path).read(buffers, self._start + first * _TILE_BYTES)
        except OSError as error:
            raise SiddError(f"{self._path}: cannot be read: {error.strerror}") from error
        if len(buffers) == 2:  # noise and clean image of one tile
            self._verify(first, buffers)
        else:
            for number, tile in enumerate(buffers[0], first):
                self._verify(number, [tile])

    def _verify(self, number: int, parts: list[np.ndarray]) -> None:
        """Compare a tile with its checksum, once."""
        if self._verified[number]:
            return
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part.data, checksum)
        if checksum != self._checksums[number]:
            raise SiddError(
                f"{self._path}: is damaged in tile {number}; remove it, and the next run reads "
                "its frame again"
            )
        self._verified[number] = 1


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
