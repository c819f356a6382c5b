import os

import numpy as np
import pytest

import sidd
from sidd.loading.tiles import OpenFile, TileFile, grid_shape, keeping_open, write_tiles


@pytest.mark.parametrize("shape", [(32, 32), (33, 64), (5, 100), (70, 31)])
def test_tiles_hold_the_frame(tmp_path, shape):
    random = np.random.default_rng(0)
    noise, clean = random.random((2, *shape, 4), np.float32)
    with open(tmp_path / "tiles.npy", "wb") as file:
        checksums = write_tiles(file, noise, clean)
    tiles = np.load(tmp_path / "tiles.npy")
    assert tiles.shape == (*grid_shape(*shape), 2, 32, 32, 4) and tiles.dtype == np.float32
    whole = tiles.transpose(2, 0, 3, 1, 4, 5).reshape(2, 32 * tiles.shape[0], -1, 4)
    np.testing.assert_array_equal(whole[:, : shape[0], : shape[1]], [noise, clean])
    assert not whole[:, shape[0] :].any() and not whole[:, :, shape[1] :].any()

    tile_file = TileFile(tmp_path / "tiles.npy", *shape, checksums, keeping_open(1))
    size = min(*shape, 45)
    for row in range(0, shape[0] - size + 1, 7):
        for column in range(0, shape[1] - size + 1, 5):
            actual = np.empty((2, size, size, 4), np.float32)
            tile_file.read(row, column, *actual)
            place = np.s_[row : row + size, column : column + size]
            np.testing.assert_array_equal(actual, [noise[place], clean[place]])


def test_a_file_is_closed_with_its_last_reference(tmp_path):
    (tmp_path / "x").write_bytes(b"12345678")
    file = OpenFile(tmp_path / "x")
    descriptor = file._descriptor
    number = np.zeros(1, np.uint32)
    file.read([number], 4)
    assert number.tobytes() == b"5678" and os.fstat(descriptor).st_size == 8
    with pytest.raises(sidd.SiddError, match="is shorter than when it was opened"):
        file.read([number], 5)
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_is_read_ahead_is_the_tiles_of_the_patches(tmp_path):
    with open(tmp_path / "tiles.npy", "wb") as file:
        checksums = write_tiles(file, *np.zeros((2, 70, 100, 4), np.float32))  # 3 x 4 of 32 KiB
    parts = []

    class Stub:
        def expect(self, offset, length):
            parts.append((offset - 128, length))

    tiles = TileFile(tmp_path / "tiles.npy", 70, 100, checksums, lambda path: Stub())
    tiles.expect(np.array([0, 0]), np.array([40, 8]), 16)
    tiles.expect(np.array([33, 64]), np.array([33, 64]), 16)
    assert parts == [(0, 5 * 32768), (6 * 32768, 32768)]


@pytest.mark.parametrize("size", [32, 45])
def test_a_damaged_tile_is_refused_whenever_it_is_read(tmp_path, size):
    path = tmp_path / "tiles.npy"
    with open(path, "wb") as file:
        checksums = write_tiles(file, *np.ones((2, 64, 96, 4), np.float32))
    content = bytearray(path.read_bytes())
    content[-20_000] ^= 1  # in the last of 2 x 3 tiles
    path.write_bytes(content)
    tiles = TileFile(path, 64, 96, checksums, keeping_open(1))
    patch = np.empty((2, size, size, 4), np.float32)
    tiles.read(0, 0, *patch)
    for _ in range(2):
        with pytest.raises(sidd.SiddError, match=r"tiles\.npy: is damaged in tile 5; remove it"):
            tiles.read(64 - size, 96 - size, *patch)


def test_a_tile_is_verified_once(tmp_path, monkeypatch):
    with open(tmp_path / "tiles.npy", "wb") as file:
        checksums = write_tiles(file, *np.ones((2, 64, 64, 4), np.float32))
    tiles = TileFile(tmp_path / "tiles.npy", 64, 64, checksums, keeping_open(1))
    patch = np.empty((2, 40, 40, 4), np.float32)
    tiles.read(0, 0, *patch)
    monkeypatch.setattr("sidd.loading.tiles.zlib", None)
    tiles.read(24, 24, *patch)
