"""What `write_dng` writes, as other programs read it."""

from dataclasses import replace

import numpy as np
import pytest

import sidd
from tests import dng_files
from tests.dng_files import LONG, SHORT


@pytest.fixture
def like(written):
    tags = {274: (SHORT, 6), 50713: (SHORT, (2, 2)), 50714: (SHORT, (61, 62, 63, 64))}
    return sidd.read_dng(written(tags=tags))


@pytest.mark.parametrize("cfa", sidd.CFA_PATTERNS)
@pytest.mark.parametrize("bits", [8, 10, 11, 12, 14, 16])
def test_a_file_comes_back(tmp_path, like, cfa, bits):
    white = 2**bits - 1
    image = dng_files.levels((30, 50), 0, white)
    like = replace(like, cfa=np.array(sidd.CFA_PATTERNS[cfa]), white=float(white), bits=bits)
    sidd.write_dng(tmp_path / "y.dng", image, like)
    found = sidd.read_dng(tmp_path / "y.dng")
    np.testing.assert_array_equal(found.levels, image)
    for name in ("black", "white", "cfa", "noise_profile", "as_shot_neutral", "color_matrix"):
        np.testing.assert_allclose(getattr(found, name), getattr(like, name), rtol=1e-5)
    for name in ("iso", "exposure", "make", "model", "orientation", "bits", "warnings"):
        assert getattr(found, name) == getattr(like, name)


def test_other_programs_read_it(tmp_path, like):
    rawpy, tifffile = pytest.importorskip("rawpy"), pytest.importorskip("tifffile")
    sidd.write_dng(tmp_path / "y.dng", like.levels, like)
    with rawpy.imread(str(tmp_path / "y.dng")) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, like.levels)
        assert raw.black_level_per_channel == [61, 62, 64, 63]  # R, G, B and the second G
        assert (raw.white_level, raw.sizes.flip, raw.other.iso_speed) == (1023, 6, 400)
        assert raw.other.shutter_speed == pytest.approx(1 / 60)
        np.testing.assert_allclose(raw.camera_whitebalance, [2, 1, 1.6, 0], rtol=1e-5)
        assert raw.postprocess().shape == (64, 48, 3)
    with tifffile.TiffFile(tmp_path / "y.dng") as tiff:
        np.testing.assert_array_equal(tiff.pages[0].asarray(), like.levels)
        tags = {tag.code: tag.value for tag in tiff.pages[0].tags}
    assert (tags[271], tags[272], tags[274]) == ("Pear", "P9", 6)
    assert tags[34665]["ISOSpeedRatings"] == 400
    assert tags[51041] == (1e-4, 1e-6) * 3


def test_levels_beyond_the_bits_need_16(tmp_path, written):
    """Such as those of an 8-bit file with a LinearizationTable."""
    table = np.arange(256) * 16
    tags = {50712: (SHORT, table), 50717: (LONG, 4080)}
    like = sidd.read_dng(written(dng_files.levels(low=0, high=255), tags, bits=8))
    sidd.write_dng(tmp_path / "y.dng", like.levels, like)
    found = sidd.read_dng(tmp_path / "y.dng")
    np.testing.assert_array_equal(found.levels, like.levels)
    assert (found.bits, found.white) == (16, 4080)


def test_what_is_unknown_is_left_out(tmp_path, like):
    unknown = replace(
        like, iso=None, exposure=None, noise_profile=None, color_matrix=None, make="", model=""
    )
    sidd.write_dng(tmp_path / "y.dng", like.levels, unknown)
    found = sidd.read_dng(tmp_path / "y.dng")
    assert (found.iso, found.exposure, found.noise_profile, found.color_matrix) == (None,) * 4
    assert found.make == ""


@pytest.mark.parametrize(
    ("levels", "changes", "message"),
    [
        (np.zeros((24, 24)), {}, "are uint16"),
        (np.zeros((24, 25), np.uint16), {}, "H and W even"),
        (np.zeros((20, 24), np.uint16), {}, "at least 22"),
        (np.zeros((24, 24), np.uint16), {"white": 50.0}, "is not above the black level"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, like, levels, changes, message):
    with pytest.raises(sidd.SiddError, match=message):
        sidd.write_dng(tmp_path / "y.dng", levels, replace(like, **changes))
    assert not list(tmp_path.glob("*y.dng*"))
