"""Real raw files: each is read right or refused in one line."""

import numpy as np
import pytest

import sidd

REFUSED = {
    "eos6d_linear_lossy.dng": "is a linear DNG",
    "gopro_vc5.GPR": "lossy VC-5 compression",
    "header_only.dng": "is a header without pixels",
    "jpeg_named_nef.nef": "is a JPEG under the name of a raw file; rename it",
    "d7000_iso100_flats.npz": "LibRaw cannot read it",
    "README.md": "LibRaw cannot read it",
}


def test_a_mosaic_with_optical_black(real):
    rawpy = pytest.importorskip("rawpy")
    path = real / "canon550d_magiclantern.dng"
    file = sidd.read_dng(path)
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(file.levels, raw.raw_image_visible)
        masked = raw.raw_image[30:, 8:140].astype(float)
    assert file.levels.shape == (1156, 1734)
    assert file.black.tolist() == [[2056, 2056]] * 2
    assert (file.white, file.bits, file.iso, file.exposure) == (15000, 14, None, None)
    assert (file.make, file.model) == ("Canon", "Canon EOS Kiss X4")
    assert file.cfa.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(file.as_shot_neutral, [1, 2.477, 1.462])
    assert abs(masked.mean() - 2056) < 20  # what the camera kept dark is at the black level
    assert 0.3 < np.mean(masked < 2056) < 0.7
    assert file.image().min() < 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(real, name):
    with pytest.raises(sidd.SiddError) as refusal:
        sidd.read_dng(real / name)
    text = str(refusal.value)
    assert text.startswith(f"{real / name}: ")
    assert REFUSED[name] in text
    assert "\n" not in text


def test_every_file_is_in_one_of_these_tests(real):
    assert {path.name for path in real.iterdir()} == {*REFUSED, "canon550d_magiclantern.dng"}
