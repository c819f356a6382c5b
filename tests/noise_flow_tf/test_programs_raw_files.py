"""The commands on raw files of cameras: conditions by tags, upright pictures, DNG out."""

import sys

import numpy as np
import pytest
from PIL import Image
from skimage.io import imread

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.cli import denoise as denoise_command
from noise_flow_tf.cli import sample as sample_command
from noise_flow_tf.programs import raw_images
from sidd.rendering import SRGB_TO_XYZ
from tests import dng_files
from tests.dng_files import ASCII, BYTE, LONG, RATIONAL, SHORT

pytest.importorskip("rawpy")

CORNERS = {"red": (0, 0), "green": (0, 1), "blue": (1, 0), "white": (1, 1)}
"""Where each colour of the picture is: upper or lower, left or right."""
LINEAR = {"red": (0.6, 0.05, 0.05), "green": (0.05, 0.6, 0.05), "blue": (0.05, 0.05, 0.6)}
LINEAR["white"] = (0.8, 0.8, 0.8)
SMALL = ("--formats", "npy", "dng", "--temperature", 0.02)
"""Noise that is small against the range, from a model without training."""
S6 = {271: (ASCII, "samsung"), 272: (ASCII, "SM-G925I"), 33422: (BYTE, dng_files.CFA["GRBG"])}


@pytest.fixture(scope="module")
def model():
    """Shared by the tests, so that its functions are compiled once."""
    return nf.NoiseFlow("sdn5|gain4", seed=0)


@pytest.fixture
def sample(model, monkeypatch, tmp_path):
    """Runs `noise-flow sample` and gives what it prints."""
    monkeypatch.setattr(nf, "load", lambda path: model, raising=False)

    def run(clean, *options):
        arguments = ["--model", "m", "--clean", clean, "--out", tmp_path / "out", *options]
        sample_command.main(list(map(str, arguments)))

    return run


def photograph(path, tags=None, cfa="GRBG", black=512, white=16383, bits=14):
    """Write a DNG of four colours as a sensor sees them, and give its levels."""
    picture = np.empty((40, 60, 3))
    for name, (down, right) in CORNERS.items():
        picture[20 * down :, 30 * right :] = LINEAR[name]
    matrix = np.reshape(dng_files.COLOR_MATRIX, (3, 3)) @ SRGB_TO_XYZ
    neutral = matrix.sum(axis=1) / matrix.sum(axis=1).max()
    mosaic = sidd.mosaic(picture @ matrix.T / matrix.sum(axis=1).max(), sidd.CFA_PATTERNS[cfa])
    levels = np.rint(black + (white - black) * mosaic).astype(np.uint16)
    own = {
        **S6, 33422: (BYTE, dng_files.CFA[cfa]), 50714: (SHORT, black), 50717: (LONG, white),
        50728: (RATIONAL, neutral),
    }  # fmt: skip
    dng_files.write(path, levels, own | (tags or {}), bits=bits)
    return levels


def colours(picture):
    """Name the colours of the corners: upper left, upper right, lower left, lower right."""
    height, width = (length // 4 for length in picture.shape[:2])
    names = []
    for row, column in np.ndindex(2, 2):
        spot = picture[height * (1 + 2 * row), width * (1 + 2 * column)].astype(int)
        linear = (spot / 255) ** 2.2
        names.append(min(LINEAR, key=lambda name: np.abs(linear - LINEAR[name]).sum()))
        np.testing.assert_allclose(linear, LINEAR[names[-1]], atol=0.03)
    return names


@pytest.mark.parametrize("cfa", dng_files.CFA)
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, "red green blue white"),
        (2, "green red white blue"),
        (3, "white blue green red"),
        (4, "blue white red green"),
        (5, "red blue green white"),
        (6, "blue red white green"),
        (7, "white green blue red"),
        (8, "green white red blue"),
    ],
)
def test_pictures_are_upright_and_of_the_right_colours(tmp_path, cfa, orientation, expected):
    rawpy = pytest.importorskip("rawpy")
    path = tmp_path / "x.dng"
    photograph(path, {274: (SHORT, orientation)}, cfa)
    raw = raw_images.read_image(path, "upright")
    picture = raw.render(raw.packed, raw.file.metadata("S6"))
    assert colours(picture) == expected.split()
    with rawpy.imread(str(path)) as file:
        theirs = file.postprocess(
            use_camera_wb=True, no_auto_bright=True, gamma=(2.2, 0), adjust_maximum_thr=0.0
        )
    assert theirs.shape == picture.shape
    inner = np.s_[6:14, 6:14]
    np.testing.assert_allclose(
        picture[inner].mean(axis=(0, 1)), theirs[inner].mean(axis=(0, 1)), atol=4
    )


def test_conditions_come_from_the_tags(sample, tmp_path, capsys):
    levels = photograph(tmp_path / "x.dng", {274: (SHORT, 6)})
    sample(tmp_path / "x.dng", "--formats", "npy", "dng", "png", "mat")
    assert "S6, ISO 400" in capsys.readouterr().out
    noise, noisy = (np.load(tmp_path / "out" / f"x_{kind}.npy") for kind in ("noise", "noisy"))
    clean = (levels - 512.0) / (16383 - 512)
    np.testing.assert_allclose(noisy, np.clip(clean + noise, 0, 1), atol=1e-6)
    np.testing.assert_allclose(sidd.read_raw(tmp_path / "out" / "x_noisy.MAT"), noisy.T, atol=1e-6)
    assert imread(tmp_path / "out" / "x_noisy.png").shape == (40, 60)


def test_noise_and_pictures_are_those_of_the_array(sample, tmp_path):
    """A raw file and its image as a .npy, with the same seed."""
    photograph(tmp_path / "x.dng")
    np.save(tmp_path / "y.npy", np.clip(sidd.read_dng(tmp_path / "x.dng").image(), 0, 1))
    sample(tmp_path / "x.dng")
    sample(tmp_path / "y.npy", "--iso", 400, "--camera", "S6")
    noises = [np.load(tmp_path / "out" / f"{name}_noise.npy") for name in "xy"]
    np.testing.assert_allclose(*noises, atol=1e-6)


def test_a_dng_comes_out_as_its_source(sample, tmp_path):
    photograph(tmp_path / "x.dng", {274: (SHORT, 8)})
    sample(tmp_path / "x.dng", *SMALL)
    source = sidd.read_dng(tmp_path / "x.dng")
    noisy = sidd.read_dng(tmp_path / "out" / "x_noisy.dng")
    assert (noisy.levels.shape, noisy.bits, noisy.white) == (source.levels.shape, 14, 16383)
    for name in ("black", "cfa", "noise_profile", "as_shot_neutral", "color_matrix"):
        np.testing.assert_allclose(getattr(noisy, name), getattr(source, name), rtol=1e-5)
    for name in ("iso", "exposure", "make", "model", "orientation"):
        assert getattr(noisy, name) == getattr(source, name)
    noise = np.load(tmp_path / "out" / "x_noise.npy")
    expected = np.clip(source.image() + noise, -512 / 15871, 1)
    np.testing.assert_allclose(noisy.image(), expected, atol=0.51 / 15871)
    assert (noisy.image() < 0).any()


def test_noise_below_a_black_level_of_0_is_cut_with_a_word(sample, tmp_path, capsys):
    photograph(tmp_path / "x.dng", black=0)
    sample(tmp_path / "x.dng", "--formats", "dng")
    assert "the black level is 0: noise below it is cut off" in capsys.readouterr().out
    assert sidd.read_dng(tmp_path / "out" / "x_noisy.dng").levels.min() == 0


@pytest.mark.parametrize("camera", ["S6", "GP"])
def test_a_dng_of_an_array_has_the_tags_of_the_camera(sample, tmp_path, camera):
    clean = np.random.default_rng(0).uniform(0, 0.1, (24, 30)).astype(np.float32)
    np.save(tmp_path / "x.npy", clean)
    sample(tmp_path / "x.npy", "--iso", 800, "--camera", camera, *SMALL)
    file = sidd.read_dng(tmp_path / "out" / "x_noisy.dng")
    assert sidd.identify(file.make, file.model).code == camera
    assert (file.iso, file.black.tolist(), file.white) == (800, [[4096] * 2] * 2, 65535)
    assert file.noise_profile is None  # that of a typical camera is made up
    noise = np.load(tmp_path / "out" / "x_noise.npy")
    np.testing.assert_allclose(file.image(), clean + noise, atol=1e-5)
    assert file.image().min() < 0


def test_the_noise_profile_is_left_out_for_another_iso(sample, tmp_path):
    photograph(tmp_path / "x.dng")
    sample(tmp_path / "x.dng", "--iso", 800, "--formats", "dng")
    file = sidd.read_dng(tmp_path / "out" / "x_noisy.dng")
    assert (file.iso, file.noise_profile) == (800, None)


def test_a_picture_has_its_colours_in_other_programs(sample, tmp_path):
    """A DNG from an ordinary picture, seen by LibRaw."""
    rawpy = pytest.importorskip("rawpy")
    picture = np.full((40, 60, 3), (170, 90, 60), np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    sample(
        *(tmp_path / "x.png", "--from_srgb", "--iso", 100, "--camera", "GP"),
        *("--formats", "dng", "--temperature", 0.001),
    )
    with rawpy.imread(str(tmp_path / "out" / "x_noisy.dng")) as raw:
        seen = raw.postprocess(use_camera_wb=True, no_auto_bright=True, gamma=(2.2, 0))
    found, expected = seen[10:30, 10:50].mean(axis=(0, 1)), np.array([170, 90, 60])
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=0.01)


def test_values_that_are_no_clean_image_are_clipped_with_a_word(sample, tmp_path, capsys):
    levels = photograph(tmp_path / "x.dng")
    levels[:4] = 500  # below black
    dng_files.write(
        tmp_path / "x.dng", levels, {**S6, 50714: (SHORT, 512), 50717: (LONG, 16383)}, bits=14
    )
    sample(tmp_path / "x.dng")
    assert "clipped to [0, 1]: 10.00% of its pixels are below black" in capsys.readouterr().out


def test_another_colour_filter_pattern_is_told(sample, tmp_path, capsys):
    photograph(tmp_path / "x.dng", cfa="RGGB")
    sample(tmp_path / "x.dng")
    told = capsys.readouterr().out
    assert "its colour filter pattern is RGGB, but that of camera S6 is GRBG" in told


@pytest.mark.parametrize(
    ("tags", "options", "message"),
    [
        ({34855: None}, (), "has no ISO in its tags; give --iso"),
        ({34855: (SHORT, 640)}, (), "unknown ISO 640; .* give --iso_interpolation"),
        ({271: (ASCII, "Pear")}, (), r"is of no known camera \(Make 'Pear'.*; give --camera"),
        ({}, ("--camera", "A7"), "camera"),
        ({}, ("--from_srgb",), "x.dng: is a raw file, not an ordinary picture; leave out --from_s"),
        ({}, ("--metadata", "m.MAT"), "x.dng: has its own tags; leave out --metadata"),
        ({50714: None}, ("--iso", 100), "has no BlackLevel"),
    ],
)
def test_what_is_missing_is_asked_for(sample, tmp_path, tags, options, message):
    photograph(tmp_path / "x.dng", tags)
    with pytest.raises(ValueError, match=message):
        sample(tmp_path / "x.dng", *options)
    assert not (tmp_path / "out").exists()


def test_iso_between_the_levels(sample, tmp_path, model):
    photograph(tmp_path / "x.dng", {34855: (SHORT, 640)})
    try:
        sample(tmp_path / "x.dng", "--iso_interpolation")
    finally:
        model.iso_interpolation = False
    assert (tmp_path / "out" / "x_noisy.npy").is_file()


def test_pictures_name_from_srgb(sample, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="`noise-flow sample --from_srgb` takes ordinary pict"):
        sample(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "x.nef")
    with pytest.raises(
        ValueError, match="x.nef: is a JPEG under the name of a raw file; .*--from_srgb"
    ):
        sample(tmp_path / "x.nef")


def test_a_raw_file_under_the_name_of_a_picture(sample, tmp_path):
    """Its thumbnail would be taken for the picture."""
    dng_files.write(tmp_path / "x.tif", thumbnail={})
    with pytest.raises(ValueError, match="x.tif: is a raw file, not an ordinary picture"):
        sample(tmp_path / "x.tif", "--from_srgb", "--iso", 100, "--camera", "GP")


def test_a_missing_package_is_named_before_anything_is_sampled(sample, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((24, 24), np.float32))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match=r"pip install 'noise-flow-tf\[raw\]'"):
        sample(tmp_path / "x.npy", "--iso", 100, "--camera", "GP", "--formats", "dng")
    assert not (tmp_path / "out").exists()
    sample(tmp_path / "x.npy", "--iso", 100, "--camera", "GP")


def test_folders_and_lists_have_raw_files(sample, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    photograph(tmp_path / "in" / "a.dng")
    photograph(tmp_path / "in" / "b.DNG", {271: (ASCII, "Pear")})
    (tmp_path / "in" / "list.csv").write_text("a.dng\nb.DNG,800,GP\n")
    sample(tmp_path / "in" / "list.csv")
    rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert [row.split(",")[2:4] for row in rows[1:]] == [["400", "S6"], ["800", "GP"]]
    sample(tmp_path / "in", "--camera", "IP")
    assert (tmp_path / "out" / "b_noisy.npy").is_file()


@pytest.fixture
def denoise(monkeypatch, tmp_path):
    """Runs `noise-flow denoise` with a denoiser that darkens."""
    monkeypatch.setattr(denoising, "load", lambda path: None)
    monkeypatch.setattr(denoising, "denoise_image", lambda network, image, tile: image / 2)

    def run(noisy, *options):
        arguments = ["--model", "m", "--noisy", noisy, "--out", tmp_path / "out", *options]
        denoise_command.main(list(map(str, arguments)))

    return run


def test_a_denoised_dng_says_so(denoise, tmp_path, capsys):
    photograph(tmp_path / "x.dng", {274: (SHORT, 6)})
    denoise(tmp_path / "x.dng", "--formats", "dng", "npy")
    file = sidd.read_dng(tmp_path / "out" / "x_denoised.dng")
    source = sidd.read_dng(tmp_path / "x.dng")
    np.testing.assert_allclose(file.image(), source.image() / 2, atol=1e-4)
    assert file.noise_profile is None
    assert file.warnings == ("noise reduction was applied (NoiseReductionApplied 1)",)
    assert np.load(tmp_path / "out" / "x_denoised.npy").shape == (40, 60)
    picture = imread(tmp_path / "out" / "x_noisy_srgb.png")
    assert colours(picture) == ["blue", "red", "white", "green"]


def test_a_denoised_dng_needs_tags(denoise, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match="a DNG needs the tags of a raw file or METADATA"):
        denoise(tmp_path / "x.npy", "--formats", "dng")
