"""What `read_dng` gives for DNGs whose content is known."""

import numpy as np
import pytest

import sidd
from tests import dng_files
from tests.dng_files import BYTE, CFA, LONG, RATIONAL, SHORT


@pytest.mark.parametrize("cfa", CFA)
@pytest.mark.parametrize("bits", range(10, 17))
@pytest.mark.parametrize("byteorder", "<>")
def test_levels_are_exact(written, cfa, bits, byteorder):
    white = 2**bits - 1
    image = dng_files.levels((30, 50), 0, white)
    black = np.array([[3, 4], [5, 7]])
    tags = {
        33422: (BYTE, CFA[cfa]), 50713: (SHORT, (2, 2)), 50714: (SHORT, black), 50717: (LONG, white)
    }  # fmt: skip
    file = sidd.read_dng(written(image, tags, bits=bits, byteorder=byteorder))
    np.testing.assert_array_equal(file.levels, image)
    np.testing.assert_array_equal(file.black, black)
    np.testing.assert_array_equal(file.cfa, sidd.CFA_PATTERNS[cfa])
    assert (file.white, file.bits, file.levels.dtype) == (white, bits, np.uint16)
    expected = (image - np.tile(black, (15, 25))) / (white - np.tile(black, (15, 25)))
    np.testing.assert_allclose(file.image(), expected, atol=1e-6)
    assert file.image().dtype == np.float32


@pytest.mark.parametrize("bits", [8, 10])
def test_a_linearization_table_has_been_applied(written, bits):
    table = (np.linspace(0, 1, 2**bits) ** 2 * 4000).astype(int) + 16
    image = dng_files.levels(low=0, high=2**bits - 1)
    tags = {50712: (SHORT, table), 50714: (SHORT, 20), 50717: (LONG, 4000)}
    file = sidd.read_dng(written(image, tags, bits=bits))
    np.testing.assert_array_equal(file.levels, table[image])
    np.testing.assert_array_equal(file.clipped(), (table[image] == 16) | (table[image] >= 4000))


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (3, 5)])
@pytest.mark.parametrize("size", [(40, 50), (39, 51)])
def test_the_active_area_has_its_own_pattern(written, corner, size):
    """The CFA and the black levels begin at its upper left corner; its odd ends are cropped."""
    top, left = corner
    image, black = dng_files.levels((48, 64)), [[1, 2], [3, 4]]
    tags = {
        50829: (LONG, (top, left, top + size[0], left + size[1])),
        33422: (BYTE, CFA["GBRG"]), 50713: (SHORT, (2, 2)), 50714: (SHORT, black),
    }  # fmt: skip
    file = sidd.read_dng(written(image, tags))
    height, width = (length - length % 2 for length in size)
    np.testing.assert_array_equal(file.levels, image[top : top + height, left : left + width])
    np.testing.assert_array_equal(file.cfa, sidd.CFA_PATTERNS["GBRG"])
    np.testing.assert_array_equal(file.black, black)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({50714: (SHORT, 60)}, [[60, 60], [60, 60]]),
        ({50714: (RATIONAL, 60.25)}, [[60.25, 60.25], [60.25, 60.25]]),
        ({50713: (SHORT, (1, 2)), 50714: (SHORT, (1, 2))}, [[1, 2], [1, 2]]),
        ({50713: (SHORT, (2, 1)), 50714: (SHORT, (1, 2))}, [[1, 1], [2, 2]]),
        ({50713: (SHORT, (4, 2)), 50714: (SHORT, (1, 2, 3, 4) * 2)}, [[1, 2], [3, 4]]),
        (
            {
                50715: (dng_files.SRATIONAL, [0.5, -0.5] * 32),
                50716: (dng_files.SRATIONAL, [2] * 48),
            },
            [[66.5, 65.5], [66.5, 65.5]],
        ),
    ],
)
def test_black_levels_of_every_form(written, tags, expected):
    np.testing.assert_array_equal(sidd.read_dng(written(tags=tags)).black, expected)


def test_a_white_level_that_the_bits_tell(written):
    file = sidd.read_dng(written(dng_files.levels(high=4000), {50717: None}, bits=12))
    assert file.white == 4095


def test_lossless_jpeg(written):
    image = dng_files.levels(low=0, high=65535)
    stream = dng_files.lossless_jpeg(image)
    file = sidd.read_dng(written(stream, {50717: (LONG, 65535)}, shape=image.shape, dtype="u2"))
    np.testing.assert_array_equal(file.levels, image)


def test_the_raw_image_is_in_a_subifd(written):
    file = sidd.read_dng(written(thumbnail={}))
    np.testing.assert_array_equal(file.levels, dng_files.levels())
    assert (file.make, file.model, file.iso) == ("Pear", "P9", 400)
    assert file.exposure == pytest.approx(1 / 60)
    np.testing.assert_allclose(file.color_matrix.ravel(), dng_files.COLOR_MATRIX, atol=1e-6)


def test_tags_alone(written):
    path = written()
    whole, tags = sidd.read_dng(path), sidd.read_dng(path, pixels=False)
    assert tags.levels.size == 0
    for name, value in vars(tags).items():
        if name != "levels":
            np.testing.assert_array_equal(value, vars(whole)[name])


def test_a_file_of_its_own_suffix_is_read_by_its_content(written):
    np.testing.assert_array_equal(sidd.read_dng(written(name="x.arw")).levels, dng_files.levels())


def test_metadata_for_pairs(written, tmp_path):
    file = sidd.read_dng(written())
    metadata = file.metadata("P9", nlf=(3e-4, 2e-6))
    sidd.write_metadata(tmp_path / "m.MAT", metadata)
    found = sidd.read_metadata(tmp_path / "m.MAT", "P9")
    assert (found.make, found.model, found.iso, found.nlf) == ("Pear", "P9", 400, (3e-4, 2e-6))
    np.testing.assert_array_equal(found.cfa_pattern, file.cfa)
    np.testing.assert_array_equal(found.as_shot_neutral, file.as_shot_neutral)
    assert file.metadata("P9").nlf == (1e-4, 1e-6)
    assert file.metadata("P9", iso=800).iso == 800
    bright = sidd.read_dng(written(tags={50728: (RATIONAL, (1.0, 2.5, 1.5))}))
    np.testing.assert_allclose(bright.as_shot_neutral, [1, 2.5, 1.5])
    np.testing.assert_allclose(bright.metadata("P9").as_shot_neutral, [0.4, 1, 0.6])
    unknown = sidd.read_dng(written(tags={34855: None}))
    with pytest.raises(sidd.SiddError, match="has no ISO in its tags"):
        unknown.metadata("P9")
