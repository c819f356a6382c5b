import numpy as np
import pytest

from sidd.loading.tiles import TileFile, grid_shape, keeping_open, write_tiles


@pytest.mark.parametrize("shape", [(32, 32), (33, 64), (5, 100), (70, 31)])
def test_tiles_hold_the_frame(tmp_path, shape):
    random = np.random.default_rng(0)
    noise, clean = random.random((2, *shape, 4), np.float32)
    with open(tmp_path / "tiles.npy", "wb") as file:
        write_tiles(file, noise, clean)
    tiles = np.load(tmp_path / "tiles.npy")
    assert tiles.shape == (*grid_shape(*shape), 2, 32, 32, 4) and tiles.dtype == np.float32
    whole = tiles.transpose(2, 0, 3, 1, 4, 5).reshape(2, 32 * tiles.shape[0], -1, 4)
    np.testing.assert_array_equal(whole[:, : shape[0], : shape[1]], [noise, clean])
    assert not whole[:, shape[0] :].any() and not whole[:, :, shape[1] :].any()

    tile_file = TileFile(tmp_path / "tiles.npy", *shape, keeping_open(1))
    size = min(*shape, 45)
    for row in range(0, shape[0] - size + 1, 7):
        for column in range(0, shape[1] - size + 1, 5):
            actual = np.empty((2, size, size, 4), np.float32)
            tile_file.read(row, column, *actual)
            place = np.s_[row : row + size, column : column + size]
            np.testing.assert_array_equal(actual, [noise[place], clean[place]])
