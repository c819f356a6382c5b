import shutil

import numpy as np
import pytest
import tensorflow as tf

import sidd

#: The tiny offline dataset's packed images are 48 x 40: three by two patches of 16.
PATCH, GRID = 16, 6


def batches(dataset):
    return list(dataset.as_numpy_iterator())


def joined(dataset, name):
    return np.concatenate([batch[name] for batch in batches(dataset)])


def sorted_patches(patches):
    flat = patches.reshape(len(patches), -1)
    return flat[np.lexsort(flat.T[:8])]


def test_grids_are_the_release_s(numbers):
    height, width, size = numbers["grid_hw"]
    for limit, name in ((None, "grid"), (5, "grid5")):
        corners = sidd.uniform_corners(height, width, size, limit)
        expected = np.stack([numbers[f"{name}_rows"], numbers[f"{name}_cols"]], axis=-1)
        np.testing.assert_array_equal(corners, expected)


def test_the_smallest_camera_s_grid():
    assert len(sidd.uniform_corners(46 * 32, 63 * 32 + 31, 32)) == 2898


def test_random_corners_reach_every_place():
    corners = sidd.random_corners(34, 33, 32, 500, np.random.default_rng(0))
    assert {tuple(corner) for corner in corners.tolist()} == {
        (row, column) for row in range(3) for column in range(2)
    }


def test_batches_in_order_are_the_files_patches(train_frames):
    dataset = sidd.patch_dataset(train_frames, PATCH, batch_size=5, shuffle=False)
    found = batches(dataset)
    assert len(found) == int(dataset.cardinality()) == -(-12 * GRID // 5)
    assert {name: (value.dtype, value.shape) for name, value in found[0].items()} == {
        "noise": (np.float32, (5, PATCH, PATCH, 4)),
        "clean": (np.float32, (5, PATCH, PATCH, 4)),
        "iso": (np.int32, (5,)),
        "camera": (np.int32, (5,)),
        "nlf": (np.float32, (5, 2)),
    }
    row = 0
    noise, clean, iso, camera, nlf = (joined(dataset, name) for name in found[0])
    for frame in train_frames:
        pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
        for top, left in sidd.uniform_corners(*pair.clean.shape[:2], PATCH):
            place = np.s_[top : top + PATCH, left : left + PATCH]
            np.testing.assert_array_equal(noise[row], pair.noise[place])
            np.testing.assert_array_equal(clean[row], pair.clean[place])
            np.testing.assert_array_equal(nlf[row], np.float32(pair.nlf))
            assert (iso[row], camera[row]) == (frame.iso, sidd.CAMERAS.index(frame.camera))
            row += 1
    assert row == len(noise)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("mix_images", [False, True])
def test_shuffling_is_new_each_epoch_and_reproducible(train_frames, cache, mix_images):
    def epochs(seed):
        dataset = sidd.patch_dataset(
            train_frames, PATCH, batch_size=8, seed=seed, cache=cache, mix_images=mix_images
        )
        found = [joined(dataset, "noise") for _ in range(3)]
        assert len(batches(dataset)) == int(dataset.cardinality())
        return found

    in_order = sidd.patch_dataset(train_frames, PATCH, shuffle=False)
    every = sorted_patches(joined(in_order, "noise"))
    found = epochs(seed=1)
    for epoch in found:
        np.testing.assert_array_equal(sorted_patches(epoch), every)
    assert not np.array_equal(found[0], found[1]) and not np.array_equal(found[1], found[2])
    for epoch, again in zip(found, epochs(seed=1), strict=True):
        np.testing.assert_array_equal(epoch, again)
    assert not np.array_equal(found[0], epochs(seed=2)[0])


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_batches_of_one_image(train_frames, drop_remainder):
    dataset = sidd.patch_dataset(
        train_frames, PATCH, batch_size=4, mix_images=False, drop_remainder=drop_remainder
    )
    found = batches(dataset)
    assert int(dataset.cardinality()) == len(found) == 12 * (1 if drop_remainder else 2)
    sizes = {len(batch["iso"]) for batch in found}
    assert sizes == ({4} if drop_remainder else {4, 2})
    for batch in found:
        assert len(set(batch["iso"])) == len(set(batch["camera"])) == 1
    firsts = [(batch["camera"][0], batch["iso"][0]) for batch in found]
    frames = [(sidd.CAMERAS.index(f.camera), f.iso) for f in train_frames]
    assert sorted(set(firsts)) == sorted(set(frames)) and firsts[:: len(found) // 12] != frames


def test_mixed_batches_hold_many_images(train_frames):
    (batch, *_) = batches(sidd.patch_dataset(train_frames, PATCH, batch_size=36))
    assert len(set(zip(batch["camera"], batch["iso"], strict=True))) > 3


def test_patches_an_image(train_frames):
    few = sidd.patch_dataset(train_frames, PATCH, patches_per_image=2, batch_size=100)
    assert len(joined(few, "iso")) == 2 * 12
    many = sidd.patch_dataset(train_frames, PATCH, patches_per_image=50, batch_size=100)
    assert len(joined(many, "iso")) == GRID * 12
    random = sidd.patch_dataset(
        train_frames, PATCH, "random", patches_per_image=50, batch_size=100, drop_remainder=True
    )
    assert len(joined(random, "iso")) == int(random.cardinality()) * 100 == 600


def test_random_patches_are_new_each_epoch_and_reproducible(train_frames):
    first, again = (
        sidd.patch_dataset(train_frames[:2], PATCH, "random", shuffle=False, seed=3)
        for _ in range(2)
    )
    epochs = [joined(first, "noise") for _ in range(2)]
    assert not np.array_equal(*epochs)
    for epoch in epochs:
        np.testing.assert_array_equal(joined(again, "noise"), epoch)


def test_under_a_strategy(train_frames):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = sidd.patch_dataset(train_frames, PATCH, batch_size=10, cache=True)
    distributed = strategy.experimental_distribute_dataset(dataset)
    for _ in range(2):
        assert sum(len(batch["iso"]) for batch in distributed) == GRID * 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling": "grid"}, "unknown sampling 'grid'; allowed: uniform, random"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"patches_per_image": 0}, "patches_per_image must be at least 1; got 0"),
        ({"patch_size": 41}, r"NOISY_RAW_010\.MAT: .*48 x 40 is smaller than a patch of 41 x 41"),
    ],
)
def test_wrong_arguments(train_frames, arguments, message):
    with pytest.raises(ValueError, match=message):
        sidd.patch_dataset(train_frames, **arguments)


def test_no_frames():
    with pytest.raises(ValueError, match="no frames given"):
        sidd.patch_dataset([])


def test_broken_files(offline, tmp_path):
    root = shutil.copytree(offline, tmp_path / "sidd")
    frames = sidd.select_frames(sidd.index(root))[:1]
    frames[0].metadata.write_bytes(b"")
    with pytest.raises(tf.errors.OpError, match=r"METADATA_RAW_010\.MAT: not a readable"):
        batches(sidd.patch_dataset(frames, PATCH))
    frames[0].noisy.unlink()
    with pytest.raises(sidd.SiddError, match=r"NOISY_RAW_010\.MAT: no such file"):
        sidd.patch_dataset(frames, PATCH)
