import numpy as np
import pytest

import sidd
from sidd.rendering import SRGB_TO_XYZ

SRGB_CAMERA = np.linalg.inv(SRGB_TO_XYZ)


def smooth_picture(height=40, width=56):
    """Red grows to the right, green downwards, blue to the left: each corner has its colour."""
    down, right = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return 0.1 + 0.8 * np.stack([right, down, 1 - right], axis=-1)


def test_rggb_is_the_release_s(numbers):
    rendered = sidd.render(
        numbers["render_raw"], sidd.CFA_PATTERNS["RGGB"], numbers["meta_wb"], numbers["meta_cst2"]
    )
    assert rendered.dtype == np.uint8 and rendered.shape == (48, 64, 3)
    np.testing.assert_allclose(rendered[..., ::-1], numbers["render_RGGB"], rtol=0, atol=1)


@pytest.mark.parametrize("name", sidd.CFA_PATTERNS)
def test_colours_and_place_for_every_pattern(name):
    linear = smooth_picture()
    neutral = np.array([0.5, 1.0, 0.6])
    bayer = sidd.mosaic(linear * neutral, sidd.CFA_PATTERNS[name])
    rendered = sidd.render(bayer, sidd.CFA_PATTERNS[name], neutral, SRGB_CAMERA)
    expected = 255 * linear ** (1 / 2.2)
    np.testing.assert_allclose(rendered[2:-2, 2:-2], expected[2:-2, 2:-2], rtol=0, atol=2.5)


@pytest.mark.parametrize("name", sidd.CFA_PATTERNS)
def test_packed_files_are_rendered_upright(name, metadata):
    linear = smooth_picture()
    given = {"cfa_pattern": np.array(sidd.CFA_PATTERNS[name]), "color_matrix2": SRGB_CAMERA}
    metadata = sidd.Metadata(**(vars(metadata) | given))
    upright = sidd.mosaic(linear * metadata.as_shot_neutral, metadata.cfa_pattern)
    rendered = sidd.render_packed(sidd.pack(upright.T), metadata)
    expected = 255 * linear ** (1 / 2.2)
    np.testing.assert_allclose(rendered[2:-2, 2:-2], expected[2:-2, 2:-2], rtol=0, atol=2.5)


@pytest.mark.parametrize("size", [(2, 2), (2, 50), (6, 2)])
def test_smallest_images_keep_their_colour(size):
    colour = np.broadcast_to([0.2, 0.4, 0.6], (*size, 3))
    pattern = sidd.CFA_PATTERNS["GRBG"]
    small, large = (
        sidd.render(sidd.mosaic(rgb, pattern), pattern, [1, 1, 1], SRGB_CAMERA)
        for rgb in (colour, np.broadcast_to([0.2, 0.4, 0.6], (8, 8, 3)))
    )
    assert small.shape == (*size, 3)
    np.testing.assert_allclose(small.astype(int), np.broadcast_to(large[4, 4], small.shape), atol=1)


def test_bad_pixels_are_black_or_white():
    bayer = np.full((8, 8), 0.5)
    bayer[:4, :4], bayer[:4, 4:] = np.nan, np.inf
    rendered = sidd.render(bayer, sidd.CFA_PATTERNS["RGGB"], [1, 1, 1], SRGB_CAMERA)
    assert not rendered[:2, :2].any() and (rendered[:2, 6:] >= 254).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bayer": np.zeros((5, 8))}, r"H and W even; got \(5, 8\)"),
        ({"bayer": np.zeros((8, 8, 4))}, r"got \(8, 8, 4\)"),
        ({"cfa_pattern": [[1, 1], [1, 1]]}, "unknown colour filter pattern"),
        ({"white_balance": [0.5, 0, 1]}, r"3 positive values; got \[0\.5, 0\.0, 1\.0\]"),
    ],
)
def test_wrong_arguments(arguments, message):
    good = {
        "bayer": np.zeros((8, 8)),
        "cfa_pattern": [[0, 1], [1, 2]],
        "white_balance": [1, 1, 1],
        "color_matrix": SRGB_CAMERA,
    }
    with pytest.raises(ValueError, match=message):
        sidd.render(**(good | arguments))
