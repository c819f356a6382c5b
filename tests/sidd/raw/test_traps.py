"""What real raw files do that a reader can get wrong, one test each."""

import numpy as np
import pytest

import sidd
from tests import dng_files
from tests.dng_files import BYTE, DOUBLE, RATIONAL, SHORT, SRATIONAL, UNDEFINED

TUNGSTEN = np.arange(9) / 10 + np.eye(3).ravel()
DAYLIGHT = np.array(dng_files.COLOR_MATRIX)


@pytest.mark.parametrize("order", [(17, 21), (21, 17), (0, 21), (17, 20), (20, 3)])
def test_the_color_matrix_is_that_of_daylight_in_either_order(written, order):
    matrices = [DAYLIGHT if kelvin in (20, 21) else TUNGSTEN for kelvin in order]
    tags = {
        50721: (SRATIONAL, matrices[0]), 50722: (SRATIONAL, matrices[1]),
        50778: (SHORT, order[0]), 50779: (SHORT, order[1]),
    }  # fmt: skip
    found = sidd.read_dng(written(tags=tags)).color_matrix
    np.testing.assert_allclose(found.ravel(), DAYLIGHT, atol=1e-6)


def test_analog_balance_and_calibration_belong_to_the_color_matrix(written):
    balance, own = [2.0, 1.0, 1.5], np.diag([0.9, 1.0, 1.1])
    tags = {50727: (RATIONAL, balance), 50723: (SRATIONAL, own)}
    found = sidd.read_dng(written(tags=tags)).color_matrix
    expected = np.diag(balance) @ own @ DAYLIGHT.reshape(3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("where", ["main", "raw", "both"])
@pytest.mark.parametrize("planes", [(0, 1, 2), (2, 0, 1)])
def test_noise_profiles_are_in_either_directory_by_plane(written, where, planes):
    """Planes are colours in the order of CFAPlaneColor."""
    profile = np.array([[1e-4, 1e-6], [2e-4, 2e-6], [3e-4, 3e-6]])  # of R, G and B
    tag = (DOUBLE, profile[list(planes)])
    tags = {33422: (BYTE, dng_files.CFA["GRBG"]), 50710: (BYTE, planes)}
    path = written(
        tags={**tags, 51041: None},
        thumbnail={} if where == "raw" else {51041: tag},
        raw={} if where == "main" else {51041: tag},
    )
    found = sidd.read_dng(path)
    np.testing.assert_array_equal(found.noise_profile, profile[found.cfa])
    assert not found.warnings


def test_of_two_noise_profiles_the_raw_image_has_the_right_one(written):
    tags = {51041: (DOUBLE, (5e-4, 2e-6))}
    file = sidd.read_dng(written(thumbnail=tags, raw={51041: (DOUBLE, (4e-4, 1e-6))}))
    assert file.noise_profile[0, 0].tolist() == [4e-4, 1e-6]
    assert file.warnings == ("its two NoiseProfiles differ; that of the raw image is used",)


def test_one_noise_profile_for_all_planes(written):
    found = sidd.read_dng(written(tags={51041: (DOUBLE, (5e-4, 2e-6))})).noise_profile
    np.testing.assert_array_equal(found, np.broadcast_to([5e-4, 2e-6], (2, 2, 2)))


def test_a_noise_profile_without_read_noise_is_doubtful(written):
    (warning,) = sidd.read_dng(written(tags={51041: (DOUBLE, (2.23e-3, 0.0))})).warnings
    assert "no read noise" in warning


def test_noise_reduction_is_a_warning(written):
    file = sidd.read_dng(written(tags={50935: (RATIONAL, 0.6)}))
    assert file.warnings == ("noise reduction was applied (NoiseReductionApplied 0.6)",)
    assert file.noise_reduction == pytest.approx(0.6)
    assert not sidd.read_dng(written(tags={50935: (RATIONAL, np.nan)})).warnings  # unknown


def test_gain_maps_are_not_applied(written):
    opcodes = {51009: (UNDEFINED, dng_files.opcode_list(9, 9))}
    file = sidd.read_dng(written(tags=opcodes))
    np.testing.assert_array_equal(file.levels, dng_files.levels())
    assert file.warnings == (
        "OpcodeList2 is not applied (GainMap): the levels are those of the sensor",
    )
    after_demosaicing = {51022: (UNDEFINED, dng_files.opcode_list(1))}
    assert not sidd.read_dng(written(tags=after_demosaicing)).warnings


def test_levels_outlive_the_file(written):
    path = written()
    file = sidd.read_dng(path)
    path.unlink()
    assert file.levels.base is None
    np.testing.assert_array_equal(file.levels, dng_files.levels())


def test_white_includes_black_and_nothing_is_clipped(written):
    image = np.full((32, 32), 500, np.uint16)
    image[0, :4] = (0, 40, 1023, 2000)
    file = sidd.read_dng(written(image))
    found = file.image()[0, :4]
    np.testing.assert_allclose(found, (image[0, :4] - 64.0) / (1023 - 64), rtol=1e-6)
    assert file.clipped()[0, :5].tolist() == [True, False, True, True, False]


def test_the_pattern_lies_on_the_unrotated_sensor_image(written):
    straight, turned = (sidd.read_dng(written(tags={274: (SHORT, o)})) for o in (1, 6))
    np.testing.assert_array_equal(straight.levels, turned.levels)
    np.testing.assert_array_equal(straight.cfa, turned.cfa)
    assert (straight.orientation, turned.orientation) == (1, 6)


@pytest.mark.parametrize("iso", [None, (SHORT, 0)])
def test_an_iso_of_nought_is_no_iso(written, iso):
    assert sidd.read_dng(written(tags={34855: iso})).iso is None


def test_rationals_of_nought_are_unknown(written):
    """Such as an exposure of 0/1000000 s."""
    assert sidd.read_dng(written(tags={33434: (RATIONAL, 0.0)})).exposure is None


@pytest.mark.parametrize("cfa", dng_files.CFA)
def test_each_place_has_the_black_level_of_its_colour(written, cfa):
    """A maker's file, whose black levels LibRaw gives by colour, with 3 for the second green."""
    tags = {code: None for code in dng_files.TAGS if code >= 50000}
    tags |= {271: (dng_files.ASCII, "SONY"), 272: (dng_files.ASCII, "ILCE-7M3")}
    tags |= {33422: (BYTE, dng_files.CFA[cfa]), 274: (SHORT, 8)}
    image = dng_files.levels((200, 300), 400, 16383)
    path = written(image, tags, name="x.arw")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sidd.raw.makers._blacks", lambda raw: np.array([10.0, 20.0, 30.0, 40.0]))
        file = sidd.read_dng(path)
    np.testing.assert_array_equal(file.levels, image)
    np.testing.assert_array_equal(file.cfa, sidd.CFA_PATTERNS[cfa])
    for row, black in zip(file.cfa, file.black, strict=True):
        green = 20 if 0 in row else 40  # the first green is in the row of red
        assert black.tolist() == [{0: 10, 1: green, 2: 30}[colour] for colour in row.tolist()]
    assert (file.iso, file.orientation, file.white) == (400, 8, 16383)
