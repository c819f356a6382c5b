"""The orders of patches, as pure functions."""

import numpy as np
import pytest

from sidd.loading.order import InOrder, Mixed, OneImageABatch, corner_generator

COUNTS = (7, 1, 20, 12, 3)
STARTS = np.cumsum([0, *COUNTS])
TOTAL = 43


def epoch_of(order, epoch):
    return [order.batch(epoch, number) for number in range(order.num_batches)]


def frames_of(patches):
    return np.searchsorted(STARTS, patches, "right") - 1


def orders(batch_size, drop_remainder):
    basic = (COUNTS, batch_size, drop_remainder)
    return {
        "in order": InOrder(*basic),
        "mixed": Mixed(*basic, 1, 10, 4),
        "one window": Mixed(*basic, 1, 1000, 4),
        "images": OneImageABatch(*basic, 1),
        "images in order": OneImageABatch(*basic),
    }


@pytest.mark.parametrize("name", orders(5, False))
@pytest.mark.parametrize("batch_size", [1, 5, 8, 100])
def test_each_epoch_has_every_patch_once(name, batch_size):
    order = orders(batch_size, False)[name]
    for epoch in range(3):
        batches = epoch_of(order, epoch)
        assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(TOTAL))
        if "images" in name:
            sizes = [min(batch_size, c - i) for c in COUNTS for i in range(0, c, batch_size)]
            assert sorted(map(len, batches)) == sorted(sizes)
            assert all(len(set(frames_of(batch))) == 1 for batch in batches)
        else:
            assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    if "in order" in name:
        assert np.array_equal(np.concatenate(epoch_of(order, 1)), np.arange(TOTAL))


@pytest.mark.parametrize("name", orders(5, True))
def test_batches_that_are_not_full_can_be_dropped(name):
    order = orders(5, True)[name]
    expected = sum(c // 5 for c in COUNTS) if "images" in name else TOTAL // 5
    batches = epoch_of(order, 0)
    assert order.num_batches == len(batches) == expected
    assert {len(batch) for batch in batches} == {5}
    assert len(set(np.concatenate(batches))) == 5 * expected


@pytest.mark.parametrize("name", ["mixed", "one window", "images"])
def test_epochs_and_seeds_differ(name):
    first, second = (np.concatenate(epoch_of(orders(5, False)[name], e)) for e in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(frames_of(first), frames_of(second))
    assert not np.array_equal(np.sort(first[:15]), first[:15])


def test_patches_of_an_image_are_shuffled_within_it():
    batches = epoch_of(OneImageABatch(COUNTS, 20, False, 1), 0)
    (whole,) = (batch for batch in batches if len(batch) == 20)
    assert sorted(whole) == list(range(8, 28)) != whole.tolist()
    assert [frames_of(b)[0] for b in batches] != sorted(frames_of(b)[0] for b in batches)


def test_a_window_has_whole_blocks_but_at_its_ends():
    order = Mixed((40, 60), 10, False, 3, 20, 5)
    for epoch in range(3):
        patches = np.concatenate(epoch_of(order, epoch))
        for start in range(0, 100, 20):
            blocks = np.unique(patches[start : start + 20] // 5, return_counts=True)
            assert blocks[1].tolist() == [5, 5, 5, 5]
        assert not np.array_equal(patches[:5], np.sort(patches[:5]))


def test_windows_are_as_many_as_are_near_the_wanted_size():
    for wanted, windows in ((15, 3), (10, 4), (100, 1), (29, 1), (28, 2)):
        order = Mixed((43,), 1, False, 0, wanted, 1)
        size = -(-43 // windows)
        blocks, _ = order._epoch(0)
        patches = np.concatenate(epoch_of(order, 0))
        for start in range(0, 43, size):
            assert set(patches[start : start + size]) == set(blocks[start : start + size])


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [("mixed", 1), ("mixed", 3), ("mixed", 5), ("images", 3), ("images", 13)],
)
@pytest.mark.parametrize("epoch", range(3))
def test_what_lies_ahead_is_named_once_and_in_time(name, batch_size, epoch):
    order = orders(batch_size, False)[name]
    named, late = set(), 0
    for number, batch in enumerate(epoch_of(order, epoch)):
        late += len(set(batch.tolist()) - named)
        for first, end in order.ahead(epoch, number):
            run = set(range(first, end))
            assert run and not run & named, "each is named once"
            assert len(set(frames_of(list(run)))) == 1
            named |= run
    first_needed = TOTAL - len(named)
    assert 0 < first_needed < 30
    assert late <= first_needed + (0 if name == "images" else 4 + batch_size)


def test_the_first_image_alone_is_not_named_ahead():
    order = OneImageABatch(COUNTS, 4, False, 2)
    runs = [run for number in range(order.num_batches) for run in order.ahead(0, number)]
    named = {patch for run in runs for patch in range(*run)}
    assert set(range(TOTAL)) - named >= set(
        range(STARTS[frames_of(order.batch(0, 0))[0]], STARTS[frames_of(order.batch(0, 0))[0] + 1])
    )
    assert InOrder(COUNTS, 4, False).ahead(0, 0) == []


def test_streams_of_random_numbers_are_apart():
    draws = {
        corner_generator(*key).random() for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    }
    assert len(draws) == 4


def test_a_seed_has_the_order_of_every_version():
    """So that runs of a seed can be repeated, and resumed by a later version."""
    orders_of_seed = {
        "mixed": Mixed(COUNTS, 8, False, 3, 10, 4),
        "images": OneImageABatch(COUNTS, 8, False, 3),
    }
    batches = {name: order.batch(2, 1).tolist() for name, order in orders_of_seed.items()}
    assert batches == {
        "mixed": [21, 23, 4, 35, 7, 28, 32, 30],
        "images": [13, 27, 22, 16, 9, 18, 19, 15],
    }
    assert corner_generator(3, 2, 1).integers(1000, size=3).tolist() == [561, 463, 679]
