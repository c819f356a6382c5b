import numpy as np
import pytest
import scipy.io

import sidd


@pytest.fixture
def blocks(tmp_path):
    random = np.random.default_rng(0)
    clean = random.uniform(size=(5, 2, 6, 8)).astype(np.float32)
    noisy = clean + 0.2 * random.normal(size=clean.shape).astype(np.float32)
    noisy[0, 0, 0, 0] = np.nan
    paths = tmp_path / "ValidationNoisyBlocksRaw.mat", tmp_path / "ValidationGtBlocksRaw.mat"
    for path, array, compress in zip(paths, (noisy, clean), (True, False), strict=True):
        scipy.io.savemat(path, {path.stem: array}, do_compression=compress)
    return (*paths, noisy, clean)


def test_blocks_are_upright_and_come_in_file_orientation(blocks):
    *paths, noisy, clean = blocks
    actual = list(sidd.read_blocks(*paths))
    assert [(block.image, block.number) for block in actual[:3]] == [(1, 1), (1, 2), (2, 1)]
    assert len(actual) == 10
    for block in actual:
        place = block.image - 1, block.number - 1
        np.testing.assert_array_equal(sidd.unpack(block.clean).T, clean[place])
        expected = np.clip(np.nan_to_num(noisy[place]), 0, 1)
        np.testing.assert_array_equal(sidd.unpack(block.noisy).T, expected)


def test_images_can_be_left_out(blocks):
    actual = sidd.read_blocks(*blocks[:2], leave_out=sidd.RELEASE_EXCLUSIONS)
    assert [block.image for block in actual] == [2, 2, 4, 4]
    assert len(sidd.RELEASE_EXCLUSIONS) == 20


@pytest.mark.parametrize(
    ("array", "output"),
    [
        (np.zeros([5, 2, 6, 10], np.float32), "do not fit"),
        (np.zeros([5, 2, 6], np.float32), "float array"),
        (np.zeros([5, 2, 7, 8], np.float32), "even H and W"),
        (np.zeros([5, 2, 6, 8], np.int16), "int16"),
    ],
)
def test_arrays_of_another_kind_are_refused(blocks, array, output):
    noisy, clean = blocks[:2]
    scipy.io.savemat(clean, {"ValidationGtBlocksRaw": array})
    with pytest.raises(sidd.SiddError, match=output):
        list(sidd.read_blocks(noisy, clean))


def test_sensor_counts_are_refused(blocks):
    noisy, clean, *_, values = blocks
    scipy.io.savemat(clean, {"ValidationGtBlocksRaw": 1023 * values})
    with pytest.raises(sidd.SiddError, match=r"ValidationGtBlocksRaw\.mat: raw values are in"):
        list(sidd.read_blocks(noisy, clean))


def test_missing_foreign_and_damaged_files_are_refused(blocks, tmp_path):
    noisy, clean = blocks[:2]
    with pytest.raises(sidd.SiddError, match="no such file"):
        list(sidd.read_blocks(noisy, tmp_path / "none.mat"))
    with pytest.raises(sidd.SiddError, match="has no array ValidationGtBlocksRaw"):
        list(sidd.read_blocks(noisy, noisy))
    clean.write_bytes(clean.read_bytes()[:-50])
    with pytest.raises(sidd.SiddError, match="not a readable MATLAB v5 file"):
        list(sidd.read_blocks(noisy, clean))
