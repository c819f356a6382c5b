"""Files of images, not square and wider than one band of rendering."""

import numpy as np
import pytest
from PIL import Image
from skimage.io import imread, imsave

import sidd
from noise_flow_tf.programs import raw_images

BAYER = np.random.default_rng(0).uniform(size=(6, 10)).astype(np.float32)
"""Upright."""


def test_rendering_in_bands_is_rendering():
    packed = np.random.default_rng(0).uniform(size=(3, 530, 4)).astype(np.float32)
    for camera in ("IP", "GP", "S6"):  # of other colour filter patterns
        metadata = sidd.typical_metadata(camera, 800)
        expected = sidd.render_packed(packed, metadata)
        assert expected.shape == (1060, 6, 3)
        np.testing.assert_array_equal(raw_images.render(packed, metadata), expected)


@pytest.mark.parametrize("orientation", ["upright", "file"])
@pytest.mark.parametrize("form", ["bayer", "packed"])
def test_an_image_comes_back_in_the_form_it_came(tmp_path, form, orientation):
    given = sidd.pack(BAYER) if form == "packed" else BAYER
    np.save(tmp_path / "x.npy", given)
    raw = raw_images.read_image(tmp_path / "x.npy", orientation)
    expected = BAYER.T if orientation == "upright" else BAYER
    np.testing.assert_array_equal(sidd.unpack(raw.packed), expected)
    np.testing.assert_array_equal(raw.in_given_form(raw.packed), given)


@pytest.mark.parametrize("orientation", ["upright", "file"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_files_are_upright_and_of_their_own_depth(tmp_path, kind, orientation):
    most = np.iinfo(kind).max
    values = np.array([[0, most], [most // 5, 1]]).repeat(2, axis=1).astype(kind)
    imsave(tmp_path / "x.png", values, check_contrast=False)
    packed = raw_images.read_image(tmp_path / "x.png", orientation).packed
    np.testing.assert_allclose(sidd.unpack(packed).T, values / most, rtol=1e-6)


def test_png_files_hold_the_nearest_of_65536_values_upright(tmp_path):
    values = np.float32([[-0.1, 0.0, 0.2], [0.6 / 65535, 1.0, 1.2]])
    raw_images.save(tmp_path / "x.png", "png", values, values)
    assert imread(tmp_path / "x.png").T.tolist() == [[0, 0, 13107], [1, 65535, 65535]]


def test_npy_files_hold_the_form_that_was_given(tmp_path):
    raw_images.save(tmp_path / "x.npy", "npy", BAYER.T, sidd.pack(BAYER))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), sidd.pack(BAYER))
    raw_images.save(tmp_path / "x.mat", "mat", BAYER.T, sidd.pack(BAYER))
    np.testing.assert_array_equal(sidd.read_raw(tmp_path / "x.mat"), BAYER.T)


def _photograph(image, path, **options):
    image.save(path, **options)
    return raw_images.read_photograph(path, lambda text: None)


def test_photographs_are_what_one_sees(tmp_path):
    grey = np.array([[0, 300, 65535, 5], [256, 40_000, 1, 2]], np.uint16)
    found = _photograph(Image.fromarray(grey), tmp_path / "grey.png")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.stack([grey] * 3, axis=-1))

    glass = np.zeros((2, 4, 4), np.uint8)
    glass[..., 0], glass[0, :, 3], glass[1, 0, 3] = 200, 255, 51
    found = _photograph(Image.fromarray(glass), tmp_path / "glass.png")
    assert found[0].tolist() == [[200, 0, 0]] * 4
    assert found[1].tolist() == [[244, 204, 204]] + [[255, 255, 255]] * 3

    exif, colours = Image.Exif(), np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif[0x0112] = 6  # to be turned clockwise
    found = _photograph(Image.fromarray(colours), tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(found, np.rot90(colours, -1))


def test_odd_photographs_lose_their_last_row_and_column(tmp_path):
    colours = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    Image.fromarray(colours).save(tmp_path / "x.png")
    told = []
    found = raw_images.read_photograph(tmp_path / "x.png", told.append)
    np.testing.assert_array_equal(found, colours[:4, :6])
    assert told == [f"{tmp_path / 'x.png'}: cropped from 7 x 5 to 6 x 4 pixels"]
