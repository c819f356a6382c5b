"""Pairs as they were measured: values beyond [0, 1], and NaN where there is no measurement."""

import dataclasses

import numpy as np
import pytest

import sidd
from sidd.tools.check import check_frame

PATCH = 8


@pytest.fixture
def make(tmp_path, metadata):
    """Writes one unclipped pair [64, 48], of which `change` alters NOISY and GT [32, 24, 4]."""

    def make(change=lambda noisy, clean: None, **other):
        folder = tmp_path / "Data" / "0001_001_A7_00800_00060_3200_L"
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        clean = rng.uniform(0, 1, (32, 24, 4)).astype(np.float32)
        noisy = (clean + 0.1 * rng.normal(size=clean.shape)).astype(np.float32)
        change(noisy, clean)
        for kind, image in (("NOISY", noisy), ("GT", clean)):
            sidd.write_raw(folder / f"0001_{kind}_RAW_010.MAT", sidd.unpack(image))
        own = {"unclipped": True, "make": "Sony", "camera": "A7"} | other
        sidd.write_metadata(
            folder / "0001_METADATA_RAW_010.MAT", dataclasses.replace(metadata, **own)
        )
        (frame,) = sidd.select_frames(sidd.index(tmp_path), cameras=["A7"])
        return frame, noisy, clean

    return make


def patches(frame, **options):
    return sidd.Patches([frame], PATCH, cameras=["A7"], progress=False, **options)


def masked(noisy, clean):
    noisy[3, 5, 1] = noisy[20:22, 9:12] = np.nan


def test_noise_is_as_measured(make):
    frame, noisy, clean = make(masked)
    pair = sidd.read_pair(*frame.files)
    assert pair.metadata.unclipped
    np.testing.assert_array_equal(pair.noise, noisy - clean)
    assert noisy[np.isfinite(noisy)].min() < -0.05 and np.isnan(pair.noise).sum() == 25
    assert check_frame(frame)[1] == []


def test_without_the_field_it_is_clipped(make):
    frame, noisy, clean = make(masked, unclipped=False)
    expected = np.clip(np.nan_to_num(noisy, nan=0), 0, 1) - clean
    np.testing.assert_array_equal(sidd.read_pair(*frame.files).noise, expected)


@pytest.mark.parametrize("cache", [False, True])
def test_patches_with_a_masked_pixel_are_left_out(make, tmp_path, cache, caplog):
    frame, noisy, clean = make(masked)
    cache = tmp_path / "cache" if cache else None
    for _ in range(2):  # the second time from the cache
        grid = patches(frame, cache=cache)
        corners = sidd.uniform_corners(32, 24, PATCH)
        good = [
            (row, column)
            for row, column in corners
            if np.isfinite(noisy[row : row + PATCH, column : column + PATCH]).all()
        ]
        assert grid.num_patches == len(good) == 12 - 2
        (batch,) = grid.batches(20, shuffle=False).as_numpy_iterator()
        for noise, (row, column) in zip(batch["noise"], good, strict=True):
            part = np.s_[row : row + PATCH, column : column + PATCH]
            np.testing.assert_array_equal(noise, (noisy - clean)[part])
        assert grid.masked_share == pytest.approx(2 / 12)
        assert "left out: 16.7% of the patches" in caplog.text
        finite = (noisy - clean)[np.isfinite(noisy).all(axis=-1)]
        assert grid.noise_stddev() == pytest.approx(finite.std(), rel=1e-5)
    assert patches(frame, patches_per_image=3).num_patches == 3
    assert patches(frame, stride=4).num_patches < 7 * 5


def test_random_patches_avoid_masked_pixels(make):
    frame, _, _ = make(masked)
    drawn = patches(frame, sampling="random", patches_per_image=300)
    (batch,) = drawn.batches(300).as_numpy_iterator()
    assert len(batch["noise"]) == 300 and np.isfinite(batch["noise"]).all()
    assert 0.2 < drawn.masked_share < 0.8


def test_the_mask_is_in_the_digest(make):
    digests = {patches(make(change)[0]).digest for change in (masked, lambda noisy, clean: None)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, c: n.fill(np.nan), "0001_NOISY_RAW_010.MAT: has infinite values, or none but"),
        (lambda n, c: n.__setitem__((0, 0, 0), np.inf), "has infinite values"),
        (lambda n, c: n.__imul__(500), "NOISY_RAW_010.MAT: raw values are in [0, 1] but for noise"),
        (lambda n, c: c.__isub__(0.5), "GT_RAW_010.MAT: the clean image of an unclipped pair must"),
        (lambda n, c: c.__setitem__((0, 0, 0), np.nan), "and 1 NaN"),
    ],
)
def test_bad_pairs_are_refused(make, change, message):
    frame, _, _ = make(change)
    with pytest.raises(sidd.SiddError) as raised:
        sidd.read_pair(*frame.files)
    assert message in str(raised.value)
    assert str(raised.value) in check_frame(frame)[1]


def test_a_frame_without_any_good_patch_is_skipped(make):
    def stripes(noisy, clean):
        noisy[::7] = np.nan

    frame, _, _ = make(stripes)
    with pytest.raises(sidd.SiddError, match="each patch of 8 x 8 has a masked pixel"):
        patches(frame)
