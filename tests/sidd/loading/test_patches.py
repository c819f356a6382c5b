import numpy as np
import pytest
import tensorflow as tf

import sidd
from sidd.loading import cache as patch_cache
from sidd.loading import tiles

# The tiny offline dataset's packed images are 48 x 40: three by two patches of 16.
PATCH, GRID = 16, 6
NAMES = ("noise", "clean", "iso", "camera", "nlf", "frame")


def batches(dataset):
    return list(dataset.as_numpy_iterator())


def joined(dataset, name):
    return np.concatenate([batch[name] for batch in batches(dataset)])


def sorted_patches(patches):
    flat = patches.reshape(len(patches), -1)
    return flat[np.lexsort(flat.T[:8])]


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        for name in NAMES:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_grid_is_the_release_s(numbers_of):
    numbers = numbers_of("data_and_metrics")
    for limit, name in ((None, "grid"), (5, "grid5")):
        expected = np.stack([numbers[f"{name}_rows"], numbers[f"{name}_cols"]], axis=-1)
        actual = sidd.uniform_corners(*numbers["grid_hw"], limit)
        np.testing.assert_array_equal(actual, expected)


@pytest.fixture(scope="module", params=["memory", "cache"])
def make(request, train_frames, tmp_path_factory):
    """Makes patches of the training frames, in memory or with a cache folder."""
    cache = tmp_path_factory.mktemp("cache") if request.param == "cache" else None

    def make(**arguments):
        arguments = {"patch_size": PATCH, "cache": cache, "progress": False} | arguments
        return sidd.Patches(arguments.pop("frames", train_frames), **arguments)

    return make


@pytest.mark.parametrize("size", [16, 20, 32, 40])
@pytest.mark.parametrize("mix_images", [False, True])
def test_batches_in_order_are_the_files_patches(make, train_frames, size, mix_images):
    patches = make(patch_size=size)
    dataset = patches.batches(5, mix_images, shuffle=False)
    actual = batches(dataset)
    assert len(actual) == len(dataset) == patches.num_batches(5, mix_images)
    assert {name: (value.dtype, value.shape[1:]) for name, value in actual[0].items()} == {
        "noise": (np.float32, (size, size, 4)),
        "clean": (np.float32, (size, size, 4)),
        "iso": (np.int32, ()),
        "camera": (np.int32, ()),
        "nlf": (np.float32, (2,)),
        "frame": (np.int32, ()),
    }
    row = 0
    noise, clean, iso, camera, nlf, of = (joined(dataset, name) for name in NAMES)
    for number, frame in enumerate(train_frames):
        pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
        for top, left in sidd.uniform_corners(*pair.clean.shape[:2], size):
            place = np.s_[top : top + size, left : left + size]
            np.testing.assert_array_equal(noise[row], pair.noise[place])
            np.testing.assert_array_equal(clean[row], pair.clean[place])
            np.testing.assert_array_equal(nlf[row], np.float32(pair.nlf))
            conditions = (frame.iso, sidd.CAMERAS.index(frame.camera), number)
            assert (iso[row], camera[row], of[row]) == conditions
            row += 1
    assert row == len(noise) == patches.num_patches


@pytest.mark.parametrize("arguments", [{}, {"mix_images": False}, {"shuffle_window": 20}])
def test_shuffling_is_new_each_epoch_and_reproducible(make, arguments):
    def epochs(seed):
        patches = make(seed=seed)
        number = patches.num_batches(8, arguments.get("mix_images", True))
        return [
            joined(patches.batches(8, first_batch=epoch * number, **arguments), "noise")
            for epoch in range(3)
        ]

    every = sorted_patches(joined(make().batches(shuffle=False), "noise"))
    actual = epochs(seed=1)
    for epoch in actual:
        np.testing.assert_array_equal(sorted_patches(epoch), every)
    assert not np.array_equal(actual[0], actual[1]) and not np.array_equal(actual[1], actual[2])
    for epoch, again in zip(actual, epochs(seed=1), strict=True):
        np.testing.assert_array_equal(epoch, again)
    assert not np.array_equal(actual[0], epochs(seed=2)[0])


@pytest.mark.parametrize("sampling", ["uniform", "random"])
@pytest.mark.parametrize("drop_remainder", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shuffle_window": 20, "shuffle_block": 4},
        {"mix_images": False},
        {"shuffle": False},
        {"mix_images": False, "shuffle": False},
    ],
)
def test_any_batch_can_be_the_first(make, sampling, drop_remainder, arguments):
    patches = make(sampling=sampling, seed=3)
    arguments = {"batch_size": 5, "drop_remainder": drop_remainder} | arguments
    number = patches.num_batches(5, arguments.get("mix_images", True), drop_remainder)
    endless = batches(patches.batches(repeat=True, **arguments).take(3 * number))
    for first in (0, 1, number - 1, number, 2 * number - 2):
        resumed = patches.batches(repeat=True, first_batch=first, **arguments)
        assert_same(batches(resumed.take(number)), endless[first : first + number])
        epoch = patches.batches(first_batch=first, **arguments)
        end = (first // number + 1) * number
        assert len(epoch) == end - first
        assert_same(batches(epoch), endless[first:end])


@pytest.mark.parametrize("sampling", ["uniform", "random"])
@pytest.mark.parametrize("mix_images", [True, False])
def test_cached_patches_are_those_in_memory(train_frames, tmp_path, sampling, mix_images):
    memory, cached = (
        sidd.Patches(train_frames, 20, sampling, 9, cache, seed=4, progress=False)
        for cache in (None, tmp_path)
    )
    arguments = {"batch_size": 7, "mix_images": mix_images, "shuffle_window": 30}
    assert_same(batches(cached.batches(**arguments)), batches(memory.batches(**arguments)))
    assert cached.noise_stddev() == memory.noise_stddev()


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("mix_images", [True, False])
def test_shards_joined_are_the_batches(make, mix_images, count):
    patches = make(seed=2)
    arguments = {"batch_size": 13, "mix_images": mix_images, "shuffle_window": 30}
    whole = batches(patches.batches(**arguments))
    shards = [batches(patches.batches(**arguments, shard=(i, count))) for i in range(count)]
    sizes = [len(shard[0]["iso"]) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    rejoined = [
        {name: np.concatenate([part[name] for part in parts]) for name in NAMES}
        for parts in zip(*shards, strict=True)
    ]
    assert_same(rejoined, whole)


def test_a_shard_reads_its_part_only(train_frames, tmp_path, monkeypatch):
    patches = sidd.Patches(train_frames, 32, cache=tmp_path, progress=False)
    read = []
    original = tiles.OpenFile.read
    monkeypatch.setattr(
        "sidd.loading.tiles.OpenFile.read",
        lambda file, buffers, offset: (
            read.append(sum(b.nbytes for b in buffers)) or original(file, buffers, offset)
        ),
    )
    actual = batches(patches.batches(4, shard=(1, 4)))
    assert sum(read) == sum(batch["noise"].nbytes + batch["clean"].nbytes for batch in actual)
    assert sum(len(batch["iso"]) for batch in actual) == patches.num_patches / 4


@pytest.mark.parametrize(
    "arguments", [{"shuffle_window": 20, "shuffle_block": 4}, {"mix_images": False}]
)
@pytest.mark.parametrize("sampling", ["uniform", "random"])
def test_the_disk_is_told_in_time(train_frames, tmp_path, monkeypatch, sampling, arguments):
    patches = sidd.Patches(
        train_frames, 16, sampling, cache=tmp_path, parallel_reads=1, progress=False
    )
    output, late = {}, []
    original = tiles.OpenFile.read

    def read(file, buffers, offset):
        size = sum(buffer.nbytes for buffer in buffers)
        if not any(a <= offset and offset + size <= b for a, b in output.get(file, [])):
            late.append(offset)
        return original(file, buffers, offset)

    monkeypatch.setattr("sidd.loading.tiles.OpenFile.read", read)
    monkeypatch.setattr(
        "sidd.loading.tiles.OpenFile.expect",
        lambda file, offset, length: output.setdefault(file, []).append((offset, offset + length)),
    )
    second_epoch = patches.num_batches(4, arguments.get("mix_images", True))
    read_all = batches(patches.batches(4, first_batch=second_epoch, **arguments))
    assert sum(len(batch["iso"]) for batch in read_all) == patches.num_patches
    first_window = 6 if "mix_images" in arguments else 20 + 4
    tiles_a_patch = 1 if sampling == "uniform" else 2
    assert 0 < len(late) <= first_window * tiles_a_patch


def test_shards_of_full_batches_have_a_known_size(make):
    specs = make().batches(13, drop_remainder=True, shard=(1, 2)).element_spec
    assert specs["noise"].shape == (7, PATCH, PATCH, 4)
    assert make().batches(13).element_spec["noise"].shape.as_list() == [None, PATCH, PATCH, 4]


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_batches_of_one_image(make, train_frames, drop_remainder):
    dataset = make().batches(4, mix_images=False, drop_remainder=drop_remainder)
    actual = batches(dataset)
    assert len(dataset) == len(actual) == 12 * (1 if drop_remainder else 2)
    sizes = {len(batch["iso"]) for batch in actual}
    assert sizes == ({4} if drop_remainder else {4, 2})
    for batch in actual:
        assert len(set(batch["iso"])) == len(set(batch["camera"])) == 1
    firsts = [(batch["camera"][0], batch["iso"][0]) for batch in actual]
    frames = [(sidd.CAMERAS.index(f.camera), f.iso) for f in train_frames]
    assert sorted(set(firsts)) == sorted(set(frames)) and firsts[:: len(actual) // 12] != frames


def test_mixed_batches_hold_many_images(make):
    (batch, *_) = batches(make().batches(36))
    assert len(set(zip(batch["camera"], batch["iso"], strict=True))) > 3


def test_small_data_is_shuffled_as_a_whole_and_large_in_windows(make):
    patches = make()
    places = {patch.tobytes(): i for i, patch in enumerate(joined(in_order(patches), "noise"))}

    def spans(window):
        """How far apart in the files the patches of each dozen in a row are."""
        shuffled = joined(patches.batches(12, shuffle_window=window, shuffle_block=6), "noise")
        order = [places[patch.tobytes()] for patch in shuffled]
        return [len({place // 6 for place in order[i : i + 12]}) for i in range(0, 72, 12)]

    assert max(spans(window=12)) <= 4, "a window of 12 has no more blocks of 6 than that"
    assert min(spans(window=72)) > 4


def in_order(patches):
    return patches.batches(shuffle=False)


def test_patches_an_image(make):
    assert len(joined(make(patches_per_image=2).batches(100), "iso")) == 2 * 12
    assert len(joined(make(patches_per_image=50).batches(100), "iso")) == GRID * 12
    random = make(sampling="random", patches_per_image=50).batches(100, drop_remainder=True)
    assert len(joined(random, "iso")) == len(random) * 100 == 600


def test_random_patches_are_new_each_epoch(make):
    patches = make(sampling="random", seed=3)
    number = patches.num_batches(138)
    one, two = (joined(patches.batches(first_batch=first), "noise") for first in (0, number))
    assert not np.array_equal(sorted_patches(one), sorted_patches(two))


def test_under_a_strategy(make):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    distributed = strategy.experimental_distribute_dataset(make().batches(10))
    for _ in range(2):
        assert sum(len(batch["iso"]) for batch in distributed) == GRID * 12


def test_standard_deviation_of_the_noise(make, train_frames):
    pairs = [sidd.read_pair(f.noisy, f.clean, f.metadata) for f in train_frames]
    noise = np.concatenate([pair.noise.ravel() for pair in pairs]).astype(float)
    assert make().noise_stddev() == pytest.approx(noise.std(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling": "grid"}, "unknown sampling 'grid'; allowed: uniform, random"),
        ({"patches_per_image": 0}, "patches_per_image must be at least 1; got 0"),
        ({"parallel_reads": 0}, "parallel_reads must be at least 1; got 0"),
        ({"seed": -1}, "seed must not be negative; got -1"),
        ({"frames": []}, "no frames given"),
        ({"patch_size": 41}, r"NOISY_RAW_010\.MAT: .*48 x 40 is smaller than a patch of 41 x 41"),
    ],
)
def test_wrong_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"first_batch": -1}, "first_batch must not be negative; got -1"),
        ({"shard": (2, 2)}, r"index from 0 below count; got \(2, 2\)"),
        ({"shuffle_window": 0}, "shuffle_window must be at least 1; got 0"),
        ({"batch_size": 73, "drop_remainder": True}, "72 patches make no full batch of 73"),
    ],
)
def test_wrong_batches(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make().batches(**arguments)


def test_more_than_fits_in_memory(train_frames, monkeypatch):
    monkeypatch.setattr(patch_cache, "MEMORY_LIMIT", 3 * 48 * 40 * 32)
    message = r"0011_NOISY_RAW_011\.MAT: .*memory; name a folder for a patch cache"
    with pytest.raises(sidd.SiddError, match=message):
        sidd.Patches(train_frames, PATCH, progress=False)


@pytest.mark.parametrize(("stride", "corners"), [(8, 5 * 4), (20, 2 * 2), (32, 2 * 1), (100, 1)])
def test_patches_can_overlap_or_lie_apart(make, train_frames, stride, corners):
    patches = make(stride=stride)
    assert patches.num_patches == corners * len(train_frames)
    frame = train_frames[1]
    pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
    expected = [
        pair.clean[row : row + PATCH, column : column + PATCH]
        for row in range(0, 48 - PATCH + 1, stride)
        for column in range(0, 40 - PATCH + 1, stride)
    ]
    actual = joined(patches.batches(7, shuffle=False), "clean")[corners : 2 * corners]
    np.testing.assert_array_equal(actual, expected)


def test_stride_changes_the_digest_and_has_to_be_positive(make):
    assert make().digest == make(stride=PATCH).digest != make(stride=8).digest
    with pytest.raises(ValueError, match="stride must be at least 1; got 0"):
        make(stride=0)


def test_nlf_table_has_each_pair_of_camera_and_iso_once(make, train_frames):
    table = make().nlf_table()
    assert list(table) == sorted({(frame.camera, frame.iso) for frame in train_frames})
    for (camera, iso), nlf in table.items():
        np.testing.assert_allclose(nlf, sidd.typical_metadata(camera, iso).nlf, rtol=1e-5)
