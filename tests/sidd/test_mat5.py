"""Broken METADATA files of every kind: read or refused, and the process lives."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from sidd.mat5 import read_variable

# Changes one to three bytes of a file, also of what is compressed in it, many times.
_FUZZ = """
import random, struct, sys, warnings, zlib
from pathlib import Path
import sidd

source, target, times = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3])
header, body = source[:128], source[128:]
compressed = body[0] == 15
if compressed:
    body = zlib.decompress(body[8:])
random, read, refused = random.Random(0), 0, 0
warnings.simplefilter("ignore")
for _ in range(times):
    changed = bytearray(body)
    for _ in range(random.randint(1, 3)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    if compressed:
        changed = zlib.compress(changed)
        changed = struct.pack("<II", 15, len(changed)) + changed
    target.write_bytes(header + changed)
    try:
        read += isinstance(sidd.read_metadata(target), sidd.Metadata)
    except sidd.SiddError as error:
        assert str(error).startswith(f"{target}: ")
        refused += 1
print(read, refused)
"""


def save(path, variables, **arguments):
    scipy.io.savemat(path, variables, appendmat=False, **arguments)
    return path


@pytest.fixture(params=["synthetic", "real"])
def frame(request):
    if request.param == "synthetic":
        return request.getfixturevalue("train_frames")[0]
    return request.getfixturevalue("sample")


def test_changed_bytes_never_end_the_process(frame, tmp_path):
    source = frame.metadata
    actual = subprocess.run(
        [sys.executable, "-c", _FUZZ, str(source), str(tmp_path / "x.MAT"), "300"],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert actual.returncode == 0, actual.stderr
    read, refused = map(int, actual.stdout.split())
    assert read > 0 and refused > 0 and read + refused == 300


@pytest.mark.parametrize("compressed", [False, True])
def test_a_variable_is_as_scipy_reads_it(tmp_path, compressed):
    cell = np.empty((1, 2), object)
    cell[0] = [np.array([[1.5 + 2j]]), "text \xe9"]
    variables = {
        "other": np.arange(5),
        "wanted": {"numbers": np.arange(6, dtype=np.int16).reshape(2, 3), "cell": cell, "no": []},
    }
    path = save(tmp_path / "x.mat", variables, do_compression=compressed)
    actual, expected = read_variable(path, "wanted"), scipy.io.loadmat(path)["wanted"]
    assert repr(actual) == repr(expected)
    with pytest.raises(KeyError):
        read_variable(path, "absent")


@pytest.mark.parametrize("dtype", [*"bBhHiIlLfdFD", "S3"])
def test_numbers_and_text_of_every_kind(tmp_path, dtype):
    array = np.ones((2, 3), dtype) if dtype != "S3" else "text"
    path = save(tmp_path / "x.mat", {"x": array})
    np.testing.assert_array_equal(read_variable(path, "x"), scipy.io.loadmat(path)["x"])
    damaged = bytearray(path.read_bytes())
    damaged[-4:] = []  # the sizes in the tags are too large now
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="ends outside"):
        read_variable(path, "x")


def test_what_is_too_large_is_refused_before_it_is_inflated(tmp_path):
    path = save(tmp_path / "x.mat", {"x": np.zeros(1 << 20)})
    data = path.read_bytes()
    bomb = zlib.compress(data[128:136] + bytes(1 << 27))
    path.write_bytes(data[:128] + np.array([15, len(bomb)], "<u4").tobytes() + bomb)
    with pytest.raises(ValueError, match="cut short or over 64 MB"):
        read_variable(path, "x")


def test_cells_without_end_are_refused(tmp_path):
    cell = np.zeros((1, 1))
    for _ in range(40):
        outer = np.empty((1, 1), object)
        outer[0, 0] = cell
        cell = outer
    path = save(tmp_path / "x.mat", {"x": cell})
    with pytest.raises(ValueError, match="more than 32 levels"):
        read_variable(path, "x")
