import numpy as np
import pytest

import sidd
from sidd.bayer import cfa_name


def test_packing_is_the_release_s(numbers_of):
    numbers = numbers_of("data_and_metrics")
    np.testing.assert_array_equal(sidd.pack(numbers["raw"]), numbers["packed"])
    np.testing.assert_array_equal(sidd.unpack(numbers["packed"]), numbers["unpacked"])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_unpack_inverts_pack(batch, dtype):
    bayer = np.arange(np.prod(batch, dtype=int) * 6 * 8).reshape(*batch, 6, 8).astype(dtype)
    packed = sidd.pack(bayer)
    assert packed.shape == (*batch, 3, 4, 4) and packed.dtype == dtype
    np.testing.assert_array_equal(sidd.unpack(packed), bayer)


@pytest.mark.parametrize("shape", [(3, 4), (4, 5), (4,)])
def test_pack_refuses_odd_sizes(shape):
    with pytest.raises(ValueError, match=rf"even H and W; got shape \({shape[0]}"):
        sidd.pack(np.zeros(shape))


def test_unpack_refuses_other_than_four_channels():
    with pytest.raises(ValueError, match=r"\[\.\.\., h, w, 4\]; got shape \(2, 2, 3\)"):
        sidd.unpack(np.zeros((2, 2, 3)))


@pytest.mark.parametrize("name", sidd.CFA_PATTERNS)
def test_mosaic_lays_the_named_colours(name):
    bayer = sidd.mosaic(np.broadcast_to(np.arange(3), (4, 6, 3)), sidd.CFA_PATTERNS[name])
    assert "".join("RGB"[color] for color in bayer[:2, :2].ravel()) == name
    assert cfa_name(bayer[2:, 4:]) == name


def test_a_pattern_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(
        ValueError, match=r"\[\[0, 1\], \[2, 1\]\]; allowed.*RGGB.*GRBG.*GBRG.*BGGR"
    ):
        sidd.mosaic(np.zeros((2, 2, 3)), [[0, 1], [2, 1]])
