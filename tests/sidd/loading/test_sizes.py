"""Frames of several sizes, as SIDD's cameras have; each pixel says where it comes from."""

import dataclasses

import numpy as np
import pytest

import sidd
from sidd.scenes import Frame

SIZES = ((48, 40), (33, 70), (64, 32), (90, 41))
PATCH = 32


@pytest.fixture(scope="module")
def frames(tmp_path_factory, train_frames):
    """Four frames; a clean image has its row, column and frame in its first three channels."""
    folder = tmp_path_factory.mktemp("sizes")
    made = []
    for number, (height, width) in enumerate(SIZES):
        rows, columns = np.mgrid[:height, :width]
        clean = np.stack(
            [rows / 128, columns / 128, np.full_like(rows, number) / 128, rows * 0 + 0.5], axis=-1
        )
        noise = np.random.default_rng(number).normal(0, 0.1, clean.shape)
        paths = [folder / f"{number}_{kind}" for kind in ("noisy", "clean", "metadata")]
        sidd.write_raw(paths[0], sidd.unpack(clean + noise))
        sidd.write_raw(paths[1], sidd.unpack(clean))
        old = train_frames[2 * number]
        metadata = sidd.read_metadata(old.metadata)
        sidd.write_metadata(
            paths[2], dataclasses.replace(metadata, nlf=(1e-3 * (1 + number), 1e-5))
        )
        made.append(Frame(number, number, 1, old.camera, old.iso, "N", *paths))
    return made


@pytest.fixture(params=["memory", "cache"])
def make(request, frames, tmp_path):
    def make(**arguments):
        cache = tmp_path if request.param == "cache" else None
        return sidd.Patches(frames, PATCH, cache=cache, progress=False, **arguments)

    return make


def places(batches, frames):
    """The (frame, row, column) of each patch, once all its values are checked."""
    pairs = [sidd.read_pair(*frame.files) for frame in frames]
    actual = []
    for batch in batches.as_numpy_iterator():
        for i, clean in enumerate(batch["clean"]):
            row, column, number = np.rint(128 * clean[0, 0, :3]).astype(int).tolist()
            pair = pairs[number]
            place = np.s_[row : row + PATCH, column : column + PATCH]
            np.testing.assert_array_equal(clean, pair.clean[place])
            np.testing.assert_array_equal(batch["noise"][i], pair.noise[place])
            assert batch["frame"][i] == number
            assert batch["camera"][i] == sidd.CAMERAS.index(pair.camera)
            assert batch["iso"][i] == pair.iso
            np.testing.assert_array_equal(batch["nlf"][i], np.float32(pair.nlf))
            actual.append((number, row, column))
    return actual


def grid(stride=PATCH, limit=None):
    """The places of a grid, frame by frame, row by row."""
    return [
        (number, row, column)
        for number, (height, width) in enumerate(SIZES)
        for row, column in [
            (row, column)
            for row in range(0, height - PATCH + 1, stride)
            for column in range(0, width - PATCH + 1, stride)
        ][:limit]
    ]


@pytest.mark.parametrize("mix_images", [True, False])
@pytest.mark.parametrize("given", [{}, {"stride": 7}, {"stride": 7, "patches_per_image": 5}])
def test_a_grid_covers_each_frame(make, frames, mix_images, given):
    patches = make(**given)
    expected = grid(given.get("stride", PATCH), given.get("patches_per_image"))
    assert patches.num_patches == len(expected)
    assert places(patches.batches(3, mix_images, shuffle=False), frames) == expected
    shuffled = places(patches.batches(3, mix_images, shuffle_window=6, shuffle_block=2), frames)
    assert shuffled != expected and sorted(shuffled) == expected


def test_random_patches_are_anywhere_in_their_frame(make, frames):
    patches = make(sampling="random", patches_per_image=300)
    actual = places(patches.batches(), frames)
    assert len(actual) == 4 * 300
    for number, (height, width) in enumerate(SIZES):
        corners = np.array([place[1:] for place in actual if place[0] == number])
        assert len(corners) == 300
        last = np.array([height - PATCH, width - PATCH])
        assert (corners.min(0) >= 0).all() and (corners.max(0) <= last).all()
        assert (corners.min(0) <= 0.05 * last).all() and (corners.max(0) >= 0.95 * last).all()


def test_the_number_of_random_patches_is_the_grid_s(make):
    assert make(sampling="random").num_patches == len(grid())


def test_sums_are_over_whole_frames(make, frames):
    noise = [sidd.read_pair(*frame.files).noise.ravel().astype(float) for frame in frames]
    assert make().noise_stddev() == pytest.approx(np.concatenate(noise).std(), rel=1e-6)
    nlf = {(frame.camera, frame.iso): (1e-3 * (1 + i), 1e-5) for i, frame in enumerate(frames)}
    assert make().nlf_table() == pytest.approx(dict(sorted(nlf.items())))


def test_noise_that_is_the_same_everywhere(frames, tmp_path):
    frame = dataclasses.replace(frames[0], noisy=tmp_path / "noisy", clean=tmp_path / "clean")
    for value in (0.1, 0.3, 0.7):
        sidd.write_raw(frame.clean, np.full((96, 80), 0.2))
        sidd.write_raw(frame.noisy, np.full((96, 80), 0.2 + value))
        patches = sidd.Patches([frame], PATCH, progress=False)
        assert patches.noise_stddev() == pytest.approx(0, abs=1e-6)


def test_a_frame_smaller_than_a_patch_in_one_direction_is_skipped(frames):
    patches = sidd.Patches(frames, 41, progress=False)
    assert patches.frames == frames[3:]
    assert "packed image of 33 x 70 is smaller than a patch" in patches.skipped[frames[1]]
    assert "packed image of 64 x 32 is smaller than a patch" in patches.skipped[frames[2]]


def test_random_patches_are_announced_as_they_are_read(frames, monkeypatch):
    announced = []
    monkeypatch.setattr(
        "sidd.loading.tiles.TilesInMemory.expect",
        lambda tiles, first, last, size: announced.extend([tuple(first), tuple(last)]),
    )
    patches = sidd.Patches(frames, 20, "random", 40, progress=False)
    second_epoch = patches.num_batches(8, False)
    read = set()
    for batch in patches.batches(8, False, first_batch=second_epoch).as_numpy_iterator():
        read |= {tuple(corner) for corner in np.rint(128 * batch["clean"][:, 0, 0, :2]).astype(int)}
    assert len(announced) > 10 and set(announced) <= read
