"""Tags of the makers' files that are no plain TIFF files."""

import struct

import pytest

from sidd.raw.colours import iso_and_exposure
from sidd.raw.containers import directories
from tests import dng_files

TAGS = {271: (dng_files.ASCII, "Pear"), 272: (dng_files.ASCII, "P9"), 274: (dng_files.SHORT, 8)}


@pytest.fixture
def tiff(written):
    """The content of a TIFF file with tags."""
    return written(tags=TAGS).read_bytes()


def olympus(tiff):
    return b"IIRO" + tiff[4:]


def panasonic(tiff):
    return b"IIU\0" + tiff[4:]


def fujifilm(tiff):
    head = bytearray(b"FUJIFILMCCD-RAW ".ljust(160, b"\0"))
    struct.pack_into(">2I", head, 100, 100, 60)
    return bytes(head) + b"\xff\xd8\xff\xe1\x20\x20Exif\0\0" + tiff


def canon(tiff):
    boxes = [(b"ftyp", b"crx "), (b"moov", struct.pack(">I4s", len(tiff) + 8, b"CMT1") + tiff)]
    return b"".join(struct.pack(">I4s", len(body) + 8, name) + body for name, body in boxes)


@pytest.mark.parametrize("wrapped", [olympus, panasonic, fujifilm, canon])
def test_tags_are_found(tmp_path, tiff, wrapped):
    (tmp_path / "x.raw").write_bytes(wrapped(tiff))
    main = directories(tmp_path / "x.raw")[0]
    assert (main.text(271), main.text(272), main.integer(274, 1)) == ("Pear", "P9", 8)
    assert iso_and_exposure(main) == (400, pytest.approx(1 / 60))
