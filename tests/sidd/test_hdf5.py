"""HDF5 files of unusual form, and damage that HDF5 itself tolerates."""

import os
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

import sidd
from sidd import hdf5

IMAGE = np.random.default_rng(0).random((64, 96)).astype(np.float32)


def virtual(file):
    layout = h5py.VirtualLayout(IMAGE.shape, "f4")
    layout[:] = h5py.VirtualSource(file.filename, "y", IMAGE.shape)
    file["y"] = IMAGE
    file.create_virtual_dataset("x", layout)


def external(file):
    path = f"{file.filename}.values"
    IMAGE.tofile(path)
    file.create_dataset("x", IMAGE.shape, "f4", external=[(path, 0, IMAGE.nbytes)])


def link(kind):
    def write(file):
        file["x"] = kind

    return write


def dataset(**options):
    return lambda file: file.create_dataset("x", **options)


REFUSED = {
    "virtual": (virtual, "in other files"),
    "external": (external, "in other files"),
    "a link to another file": (link(h5py.ExternalLink("/etc/passwd", "/x")), "`x` is a link"),
    "a link to itself": (link(h5py.SoftLink("/x")), "`x` is a link"),
    "never written": (dataset(shape=(4, 6), dtype="f4"), "has 0 of the 96 bytes"),
    "no chunk written": (dataset(shape=(4, 6), dtype="f4", chunks=(2, 2)), "has 0 chunks"),
    "28000 x 28000 of nothing": (
        dataset(shape=(28000, 28000), dtype="f4", compression="gzip"), "is larger than",
    ),
    "a huge chunk": (
        dataset(shape=(4, 6), dtype="f4", chunks=(1 << 15, 1 << 14), maxshape=(None, None)),
        "are larger than",
    ),
    "128 bits": (dataset(data=IMAGE.astype(np.longdouble)), "no IEEE type"),
    "beyond single precision": (dataset(data=IMAGE.astype(float) * 1e300), "raw values are in"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    write, message = REFUSED[name]
    path = tmp_path / "bad.MAT"
    with h5py.File(path, "w") as file:
        write(file)
    with pytest.raises(sidd.SiddError, match=rf"bad\.MAT: .*{message}"):
        sidd.read_packed(path)


ACCEPTED = {
    "one piece": {},
    "chunks": {"chunks": (24, 40)},
    "gzip": {"chunks": (24, 40), "compression": "gzip"},
    "shuffled": {"chunks": (24, 40), "compression": "gzip", "shuffle": True},
    "shuffled doubles": {"dtype": "f8", "chunks": (24, 40), "compression": "gzip", "shuffle": True},
    "big-endian": {"dtype": ">f4", "compression": "gzip", "shuffle": True},
    "big-endian doubles": {"dtype": ">f8"},
    "lzf": {"compression": "lzf"},
    "with checksums": {"fletcher32": True, "compression": "gzip"},
    "growing": {"maxshape": (None, None), "chunks": (24, 40)},
}


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_read_as_hdf5_does(tmp_path, name, version):
    path = tmp_path / "good.MAT"
    with h5py.File(path, "w", libver=version) as file:
        file.create_dataset("x", data=IMAGE, **ACCEPTED[name])
    read = sidd.read_raw(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, IMAGE)


def test_one_wrong_byte_in_the_index_of_chunks(tmp_path):
    """HDF5 reads many of these without an error, with zeros in place of chunks."""
    path = tmp_path / "image.MAT"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=IMAGE, chunks=(8, 8), compression="gzip")
    content = path.read_bytes()
    starts = [n for n in range(len(content)) if content.startswith(b"TREE", n)]
    random = np.random.default_rng(0)
    different = 0
    for place in (start + random.integers(700) for start in starts for _ in range(60)):
        changed = bytearray(content)
        changed[place] ^= 1 << random.integers(8)
        path.write_bytes(changed)
        try:
            with h5py.File(path, "r") as file:
                different += not np.array_equal(file["x"], IMAGE)
        except Exception:  # noqa: S110 - what HDF5 refuses is no matter here
            pass
        try:
            np.testing.assert_array_equal(sidd.read_raw(path), IMAGE)
        except sidd.SiddError as error:
            assert str(error).startswith(f"{path}: ")
    assert different, "the test damages what it should"


def test_a_pipe_is_not_opened(tmp_path):
    path = tmp_path / "pipe.MAT"
    os.mkfifo(path)
    with pytest.raises(sidd.SiddError, match=r"pipe\.MAT: no such file"):
        sidd.read_raw(path)


def test_threads_read_at_once(tmp_path):
    image = np.random.default_rng(1).random((600, 800)).astype(np.float32)
    sidd.write_raw(tmp_path / "image.MAT", image)
    with ThreadPoolExecutor(4) as executor:
        for read in executor.map(sidd.read_raw, [tmp_path / "image.MAT"] * 40):
            np.testing.assert_array_equal(read, image)


def test_the_largest_image_is_far_above_sidd_s():
    assert hdf5.MOST_PIXELS > 10 * 3000 * 5328
