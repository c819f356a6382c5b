"""Files that are refused, each in one line that says why."""

import io

import numpy as np
import pytest
from PIL import Image

import sidd
from tests import dng_files
from tests.dng_files import BYTE, DOUBLE, LONG, RATIONAL, SHORT, SRATIONAL, UNDEFINED

IMAGE = dng_files.levels()
NAN = float("nan")
STREAM = {"shape": IMAGE.shape, "dtype": "u2"}


def lossy_jpeg():
    stream = io.BytesIO()
    Image.fromarray((IMAGE >> 2).astype(np.uint8)).save(stream, format="jpeg")
    return stream.getvalue()


# What goes wrong, how `dng_files.write` makes it, and the message.
DNGS = {
    "linear": ({"image": np.repeat(IMAGE[..., None], 3, axis=2), "photometric": 34892},
               "is a linear DNG: it was demosaiced"),
    "no raw image": ({"photometric": 1}, "holds no raw image"),
    "two raw images": ({"second": {}}, "holds 2 raw images in full size"),
    "three samples a pixel": ({"patch": {277: 3}}, "its raw image has 3 samples per pixel"),
    "floats": ({"dtype": "f4", "bits": 32}, "its samples must be integers of 8 to 16 bits"),
    "1 bit": ({"patch": {258: 1}}, "its samples must be integers of 8 to 16 bits; got 1 bits"),
    "lossy DNG": ({"patch": {259: 34892}}, "has lossy JPEG compression"),
    "VC-5": ({"patch": {259: 9}}, "has lossy VC-5 compression"),
    "JPEG XL": ({"patch": {259: 52546}}, "has lossy JPEG XL compression"),
    "baseline JPEG": ({"image": lossy_jpeg(), **STREAM}, "has lossy JPEG compression"),
    "other compression": ({"patch": {259: 8}}, "compression 8 is not supported"),
    "no JPEG stream": ({"image": bytes(5000), **STREAM}, "its raw image is not a JPEG stream"),
    "JPEG without end": ({"image": dng_files.lossless_jpeg(IMAGE)[:-900] + bytes(900), **STREAM},
                         "the JPEG stream of its raw image has no end"),
    "interleaved": ({"tags": {50975: (SHORT, 2)}}, "rows or columns are interleaved"),
    "X-Trans": ({"tags": {33421: (SHORT, (6, 6)), 33422: (BYTE, (1, 1, 0, 1, 1, 2) * 6)}},
                "has 6 x 6 pixels; only 2 x 2 Bayer patterns are supported, not X-Trans"),
    "quad Bayer": ({"tags": {33421: (SHORT, (4, 4)), 33422: (BYTE, (0, 0, 1, 1) * 4)}},
                   "has 4 x 4 pixels"),
    "no green": ({"tags": {33422: (BYTE, (0, 2, 2, 0))}}, "unknown colour filter pattern"),
    "four colours": ({"tags": {33422: (BYTE, (3, 5, 4, 1))}}, "unknown colour filter pattern"),
    "no pattern": ({"tags": {33422: None}}, "has no colour filter pattern"),
    "staggered": ({"tags": {50711: (SHORT, 2)}}, "CFALayout 2 is not rectangular"),
    "no pixels": ({"patch": {279: 0}}, "is a header without pixels"),
    "equal pixels": ({"image": np.zeros_like(IMAGE)}, "all its pixels are 0: a header without"),
    "zero rows": ({"image": np.where(np.arange(48)[:, None] < 40, IMAGE, 0)},
                  "is damaged: 8 of its 48 rows hold only zeros"),
    "too few bytes": ({"patch": {279: 100}}, "100 bytes cannot hold 64 x 48 pixels of 16 bits"),
    "outside the file": ({"patch": {273: 4000}}, "is truncated: an image in it ends at byte 10144"),
    "huge": ({"patch": dict.fromkeys((256, 257, 278), 60000)},
             "is truncated: 6144 bytes cannot hold 60000 x 60000 pixels"),
    "no size": ({"patch": {256: 0}}, "its raw image has 0 x 48 pixels, not 22 to 65535"),
    "no black level": ({"tags": {50714: None}}, "has no BlackLevel (tag 50714)"),
    "no white level": ({"tags": {50717: None}}, "has no WhiteLevel (tag 50717)"),
    "two white levels": ({"tags": {50717: (LONG, (1023, 900))}}, "WhiteLevel is one number"),
    "white below black": ({"tags": {50717: (LONG, 64)}}, "white level 64 is not above the black"),
    "black of 3 x 3": ({"tags": {50713: (SHORT, (3, 3)), 50714: (SHORT, range(9))}},
                       "its BlackLevel repeats every 3 x 3 pixels"),
    "too few blacks": ({"tags": {50713: (SHORT, (2, 2)), 50714: (SHORT, (1, 2))}},
                       "BlackLevel has 2 values for a repeat of 2 x 2"),
    "black is NaN": ({"tags": {50714: (RATIONAL, NAN)}}, "its BlackLevel is not finite"),
    "black differs by row": ({"tags": {50716: (SRATIONAL, np.arange(48))}},
                             "BlackLevelDeltaV differs from row to row"),
    "decreasing table": ({"tags": {50712: (SHORT, range(99, 0, -1))}}, "LinearizationTable"),
    "negative noise": ({"tags": {51041: (DOUBLE, (-1e-4, 1e-6))}}, "is not that of a sensor"),
    "noise is NaN": ({"tags": {51041: (DOUBLE, (NAN, 1e-6))}}, "is not that of a sensor"),
    "neutral of 0": ({"tags": {50728: (RATIONAL, (0.0, 1.0, 0.5))}}, "three positive numbers"),
    "singular colours": ({"tags": {50721: (SRATIONAL, [1] * 9)}}, "ColorMatrix has no inverse"),
    "orientation 9": ({"tags": {274: (SHORT, 9)}}, "its Orientation 9 does not exist"),
    "active area": ({"tags": {50829: (LONG, (0, 0, 49, 64))}}, "is not within 48 x 64"),
    "tone curve": ({"tags": {51009: (UNDEFINED, dng_files.opcode_list(8))}},
                   "OpcodeList2 has a tone curve"),
    "broken opcodes": ({"tags": {51008: (UNDEFINED, b"\0\0\0\x09")}}, "OpcodeList1 cannot be read"),
}  # fmt: skip


def refusal_of(path):
    with pytest.raises(sidd.SiddError) as refusal:
        sidd.read_dng(path)
    text = str(refusal.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("trouble", DNGS)
def test_a_dng_is_refused(written, trouble):
    options, message = DNGS[trouble]
    assert message in refusal_of(written(**options))


# The name and the content of a file that is no DNG, and the message.
OTHERS = {
    "empty": ("x.dng", b"", "is an empty file"),
    "text": ("x.dng", b"not a raw file, but a text\n" * 99, "is not a DNG file"),
    "text of a maker": ("x.nef", b"not a raw file, but a text\n" * 99, "LibRaw cannot read it"),
    "JPEG": ("x.nef", lossy_jpeg(), "is a JPEG under the name of a raw file; rename it"),
    "PNG": ("x.arw", b"\x89PNG\r\n\x1a\n" + bytes(99), "is a PNG under the name of a raw file"),
    "noise": ("x.cr2", np.random.default_rng(0).bytes(9999), "LibRaw cannot read it"),
    "TIFF header": ("x.dng", b"II*\0\x08\0\0\0", "is not a DNG file"),
    "RAF cut off": ("x.raf", b"FUJIFILMCCD-RAW ".ljust(100) + b"\0\1\0\0" * 2 + bytes(99),
                    "is truncated: its raw image ends at byte 131072, the file at 207"),
    "CR3 cut off": ("x.cr3", b"\0\0\0\x18ftypcrx ".ljust(24) + b"\0\1\0\0mdat" + bytes(99),
                    "is truncated: its raw image ends at byte 65560, the file at 131"),
}  # fmt: skip


@pytest.mark.parametrize("trouble", OTHERS)
def test_another_file_is_refused(tmp_path, trouble):
    name, content, message = OTHERS[trouble]
    (tmp_path / name).write_bytes(content)
    assert message in refusal_of(tmp_path / name)


def test_what_is_no_file_is_refused(tmp_path):
    assert refusal_of(tmp_path / "none.dng") == "no such file"
    assert refusal_of(tmp_path) == "is a folder"


def test_a_tiff_that_is_no_dng_is_refused(written):
    assert "is not a DNG file (no DNGVersion)" in refusal_of(written(tags={50706: None}))


def test_a_camera_whose_levels_libraw_does_not_know_is_refused(written):
    tags = {code: None for code in dng_files.TAGS if code >= 50000}
    path = written(dng_files.levels((200, 300)), tags, name="x.nef")
    assert "LibRaw does not know this camera" in refusal_of(path)


@pytest.mark.parametrize("kind", ["plain", "packed", "jpeg", "subifd"])
def test_truncated_at_any_place(written, kind):
    image = dng_files.levels(low=0)
    path = {
        "plain": lambda: written(image),
        "packed": lambda: written(image, bits=12),
        "jpeg": lambda: written(dng_files.lossless_jpeg(image), **STREAM),
        "subifd": lambda: written(image, thumbnail={}, byteorder=">"),
    }[kind]()
    content = path.read_bytes()
    for length in [*range(0, len(content) - 1, 61), len(content) - 1]:
        path.write_bytes(content[:length])
        refusal_of(path)


def test_bytes_that_flip_never_end_in_another_error(written):
    """The file is read or refused; LibRaw does not bring the process down."""
    contents = [
        written(bits=14, tags={51009: (UNDEFINED, dng_files.opcode_list(9))}).read_bytes(),
        written(dng_files.lossless_jpeg(IMAGE), thumbnail={}, **STREAM).read_bytes(),
    ]
    rng = np.random.default_rng(0)
    for trial in range(200):
        content = bytearray(contents[trial % 2])
        for place in rng.integers(0, 1200, rng.integers(1, 9)):
            content[place] = rng.choice([0, 1, 2, 7, 128, 255])
        path = written()
        path.write_bytes(content)
        try:
            sidd.read_dng(path).image()
        except sidd.SiddError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("package", ["rawpy", "tifffile"])
def test_a_missing_package_is_named(written, monkeypatch, package):
    path = written()
    monkeypatch.setitem(__import__("sys").modules, package, None)
    text = refusal_of(path)
    assert f"need the package {package}" in text
    assert "pip install 'noise-flow-tf[raw]'" in text
