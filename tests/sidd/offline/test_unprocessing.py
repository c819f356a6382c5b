import numpy as np
import pytest

import sidd
from sidd.offline.pictures import view
from sidd.offline.unprocessing import EXPOSURE, VEILING_GLARE, as_shot_neutral, unprocess


@pytest.mark.parametrize("camera", sidd.CAMERAS)
def test_rendering_gives_the_picture_back(camera):
    linear = view("chelsea.png", (120, 160), np.random.default_rng(0))
    metadata = sidd.typical_metadata(camera, 100, illuminant=4400)
    clean = unprocess(linear, camera, 4400, "H")
    rendered = sidd.render_packed(sidd.pack(clean.T), metadata) / 255
    exposed = EXPOSURE["H"] * (VEILING_GLARE + (1 - VEILING_GLARE) * linear)
    np.testing.assert_allclose(
        (rendered**2.2).mean(axis=(0, 1)), exposed.mean(axis=(0, 1)), rtol=0.03
    )
    assert np.sqrt(np.mean((rendered - exposed ** (1 / 2.2)) ** 2)) < 0.04


def test_large_images_are_unprocessed_in_bands():
    linear = np.random.default_rng(0).random((1030, 4, 3))
    whole = unprocess(linear, "S6", 5500, "N")
    rows = [unprocess(linear[top : top + 2], "S6", 5500, "N") for top in range(0, 1030, 2)]
    np.testing.assert_array_equal(whole, np.concatenate(rows))


def test_white_is_the_neutral_in_the_exposure():
    neutral = as_shot_neutral("IP", 3200)
    assert neutral.max() == 1
    np.testing.assert_allclose(as_shot_neutral("S6", 3200), [0.62287798, 1, 0.45489299])
    white, black = (unprocess(np.full((2, 2, 3), c), "IP", 3200, "L") for c in (1.0, 0.0))
    expected = 0.40 * neutral[[[0, 1], [1, 2]]]
    np.testing.assert_allclose(white, expected)
    np.testing.assert_allclose(black, 0.012 * expected)


def test_a_view_covers_its_size_with_a_part_of_the_picture():
    views = [view("brick.png", (40, 30), np.random.default_rng(seed)) for seed in range(8)]
    assert {image.shape for image in views} == {(40, 30, 3)}
    assert all(image.min() >= 0 and image.max() <= 1 for image in views)
    assert all((image[..., 0] == image[..., 2]).all() for image in views), "a grey picture"
    assert len({image.tobytes() for image in views}) == 8
    again = view("brick.png", (40, 30), np.random.default_rng(3))
    np.testing.assert_array_equal(again, views[3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("white", [0.3, 1.0])
def test_a_finished_picture_becomes_raw_and_is_rendered_back(dtype, white):
    down, right = np.mgrid[0:1:40j, 0:1:56j]
    picture = (0.3 + 0.4 * np.stack([right, 0.5 + 0.2 * down, down], axis=-1)) ** (1 / 2.2)
    metadata = sidd.typical_metadata("S6", 100)
    bayer, given = sidd.unprocess_srgb(
        (np.iinfo(dtype).max * picture).astype(dtype), metadata, white
    )
    assert bayer.dtype == np.float32 and bayer.min() >= 0 and bayer.max() <= white
    np.testing.assert_allclose(given.as_shot_neutral, white * metadata.as_shot_neutral)
    rendered = sidd.render(bayer, given.cfa_pattern, given.as_shot_neutral, given.color_matrix2)
    np.testing.assert_allclose(rendered[2:-2, 2:-2] / 255, picture[2:-2, 2:-2], atol=0.02)
    grey, _ = sidd.unprocess_srgb(np.full((2, 2, 3), 255, np.uint8), metadata, white)
    expected = white * metadata.as_shot_neutral[metadata.cfa_pattern]
    np.testing.assert_allclose(grey, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("picture", "white", "message"),
    [
        (np.zeros((4, 4, 3)), 0.5, "uint8 or uint16; got float64"),
        (np.zeros((4, 4, 3), np.uint8), 0, r"white must be in \(0, 1\]; got 0"),
        (np.zeros((4, 4, 3), np.uint8), 1.1, r"white must be in \(0, 1\]; got 1\.1"),
        (np.zeros((4, 4, 3), np.uint8), np.nan, r"white must be in \(0, 1\]; got nan"),
        (np.zeros((5, 4, 3), np.uint8), 0.5, "H and W even"),
        (np.zeros((4, 4), np.uint8), 0.5, r"RGB \[H, W, 3\]; got shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), 0.5, r"RGB \[H, W, 3\]; got shape \(4, 4, 4\)"),
    ],
)
def test_wrong_pictures(picture, white, message):
    with pytest.raises(ValueError, match=message):
        sidd.unprocess_srgb(picture, sidd.typical_metadata("S6", 100), white)
