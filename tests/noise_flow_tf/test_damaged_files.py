"""What readers say of damaged files, and what reaches the terminal."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pytest

import sidd
from noise_flow_tf import native
from noise_flow_tf.cli import parsing, train
from noise_flow_tf.programs import pictures, raw_images
from noise_flow_tf.training import strategies
from sidd.tools.extraction import extract


def npy(header, data=b"", version=1):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text + data


def described(shape, descr="'<f8'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "content",
    [
        npy(described("(4, 4)")[:-5]),
        npy(described("(1000000, 1000000)"), bytes(64)),
        npy(described("(1234567890123456789012, 4)"), bytes(64)),
        npy(described("(-4, -4)"), bytes(128)),
        npy("(" * 100),
        npy(described("(" * 40 + ")" * 40)),
        npy(described("(2, 4)", "'|O'"), bytes(64)),
        npy(described("(4, 4)"), bytes(127)),
        npy(described("(4, 4)"), bytes(129)),
        npy(described("(4, 4)"), bytes(128), version=3),
        npy(described("(2, 2)", "('<f8', (2, 2))"), bytes(128)),
        b"",
    ],
)
def test_damaged_npy_files(tmp_path, content):
    path = tmp_path / "image.npy"
    path.write_bytes(content)
    with pytest.raises(sidd.SiddError, match=r"image\.npy: "):
        raw_images.read_image(path, "upright")


@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_npy_files_of_any_order(tmp_path, dtype, by_columns):
    image = np.random.default_rng(0).random((4, 6)).astype(dtype)
    np.save(tmp_path / "x.npy", np.asfortranarray(image) if by_columns else image)
    read = raw_images.read_image(tmp_path / "x.npy", "file")
    np.testing.assert_array_equal(sidd.unpack(read.packed), image.astype(np.float32))


def test_a_grey_picture_of_nothing(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")]
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    for read in (lambda: raw_images.read_image(path, "upright"),
                 lambda: raw_images.read_photograph(path, print)):  # fmt: skip
        with pytest.raises(sidd.SiddError, match=r"bomb\.png: not a readable .*decompression bomb"):
            read()


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04"])
def test_damaged_npz_files(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npz: not weights"):
        native.load(path)
    with pytest.raises(ValueError, match=r"x\.npz: holds no pictures"):
        pictures.load(path)


@pytest.mark.parametrize("change", [{"compress_type": 14}, {"filename": "a" * 300}])
def test_odd_archives(tmp_path, change):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        member = zipfile.ZipInfo("x.txt")
        for name, value in change.items():
            setattr(member, name, value)
        file.writestr(member, b"text")
    (tmp_path / "odd.zip").write_bytes(content.getvalue())
    with pytest.raises(sidd.SiddError, match=r"odd\.zip: member .* has .*nothing was extracted"):
        extract(tmp_path / "odd.zip", tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    "change", [{"n_batch_test": ["x"]}, {"lr": "0.1"}, {"epochs": True}, {"cam": "S6"}, {"arch": 3},
               {"strict": 1}, {"batching": "none"}, {"iso": [[100]]}],
)  # fmt: skip
def test_settings_of_wrong_types(tmp_path, change, capsys):
    settings = vars(train.parse(["--logdir", str(tmp_path)])) | change
    content = {**settings, "versions": {}, "cameras": ["S6"], "iso_levels": [100]}
    (tmp_path / "settings.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as end:
        parsing.run(lambda: train.main(["--logdir", str(tmp_path), "--resume"]), "train")
    assert end.value.code == 2
    (name,) = change
    assert f"settings.json: {name} cannot be" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", '{"cluster": 3}', "{"])
def test_tf_config_of_any_kind(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG cannot be used") as raised:
        strategies.choose("multiworker", None)
    assert len(str(raised.value)) < 1000


def test_control_characters_do_not_reach_the_terminal(capsys):
    def fail():
        raise ValueError("list.txt: got '\x1b[2J\x07\x00\u202e'\nnext")

    with pytest.raises(SystemExit):
        parsing.run(fail, "program")
    assert capsys.readouterr().err == ("program: list.txt: got '\\x1b[2J\\x07\\x00\\u202e' next\n")
