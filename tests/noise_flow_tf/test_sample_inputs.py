"""Clean images by pattern and by address."""

import contextlib
import csv
import sys

import numpy as np
import pytest

from noise_flow_tf.cli import sample
from noise_flow_tf.programs import sample_inputs, sampling_plan

KINDS = (".mat", ".npy", ".png")
FLAGS = ["--model", "demo", "--iso", "800", "--camera", "S6", "--pictures", "none"]


@pytest.fixture
def clean(tmp_path):
    """A folder with images in it and in a folder below."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clean"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/a", "sub/c[1]"):
        np.save(folder / f"{name}.npy", rng.uniform(0.1, 0.9, [8, 8]).astype("f4"))
    (folder / "notes.txt").touch()
    return folder


def names(found):
    return [item.name for item in found]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.npy", ["a", "b"]),
        ("**/*.npy", ["a", "b", "sub/a", "sub/c[1]"]),
        ("**", ["a", "b", "sub/a", "sub/c[1]"]),
        ("sub/*", ["a", "c[1]"]),
        ("[b-z].np?", ["b"]),
        ("sub/c[1].npy", ["c[1]"]),  # a file of this name
    ],
)
def test_patterns(clean, pattern, expected):
    found = sample_inputs.items(f"{clean}/{pattern}", KINDS, clean / "out")
    assert names(found) == expected
    assert all(item.path.is_file() and not item.address for item in found)


def test_what_is_below_out_is_no_input(clean):
    with pytest.raises(ValueError, match=r"\*\*/\*.npy: no clean image found; of 4 files"):
        sample_inputs.items(f"{clean}/**/*.npy", KINDS, clean)


def test_a_pattern_with_two_folders_can_have_one_name_twice(clean):
    np.save(clean / "a.npz.npy", np.zeros([8, 8]))
    (clean / "a.png").write_bytes((clean / "a.npy").read_bytes())
    with pytest.raises(ValueError, match="would both be written as a; sample them in two runs"):
        sample_inputs.items(f"{clean}/a.*", KINDS, clean / "out")


def results(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*.npy")
        if sample_inputs.COPIES not in path.parts
    }


@contextlib.contextmanager
def in_memory(clean):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    memory = fsspec.filesystem("memory")
    memory.put(str(clean), "/bucket/clean", recursive=True)
    yield memory
    memory.rm("/bucket", recursive=True)


def test_an_address_is_the_folder_byte_by_byte(clean, tmp_path):
    sample.main(["--clean", str(clean), "--out", str(tmp_path / "local"), *FLAGS])
    out = tmp_path / "out"
    with in_memory(clean) as memory:
        line = ["--clean", "memory://bucket/clean", "--out", str(out), *FLAGS]
        sample.main(line)
        assert results(out) == results(tmp_path / "local")
        with (out / sampling_plan.RECORD).open() as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["file"] == "memory:///bucket/clean/a.npy"
        before = results(out)
        with memory.open("/bucket/clean/b.npy", "wb") as file:
            np.save(file, np.full([8, 8], 0.5, "f4"))
        sample.main(line)
    after = results(out)
    assert {name for name in after if after[name] != before[name]} == {
        "b_noise.npy", "b_noisy.npy"
    }  # fmt: skip


def test_patterns_and_files_at_an_address(clean, tmp_path):
    with in_memory(clean):
        found = sample_inputs.items("memory://bucket/clean/*.npy", KINDS, tmp_path)
        assert names(found) == ["a", "b"]
        found = sample_inputs.items("memory://bucket/clean/sub/a.npy", KINDS, tmp_path)
        assert names(found) == ["a"]
        np.testing.assert_array_equal(np.load(found[0].path), np.load(clean / "sub/a.npy"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://nothing", "memory://nothing: no clean image found; searched for .mat, .npy"),
        ("nowhere://a/b", "nowhere://a/b: cannot be read: Protocol not known: nowhere"),
    ],
)
def test_addresses_that_cannot_be_read(tmp_path, address, message):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(ValueError, match=message):
        sample_inputs.items(address, KINDS, tmp_path)


def test_without_fsspec(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=r"s3://a: addresses need fsspec: pip install 'noise"):
        sample_inputs.items("s3://a", KINDS, tmp_path)


@pytest.mark.slow
def test_a_server_of_s3(clean, tmp_path, monkeypatch):
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    running = server.ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        system = s3fs.S3FileSystem()
        system.mkdir("crops")
        system.put(str(clean), "crops/clean", recursive=True)
        sample.main(["--clean", str(clean), "--out", str(tmp_path / "local"), *FLAGS])
        sample.main(["--clean", "s3://crops/clean", "--out", str(tmp_path / "out"), *FLAGS])
        with pytest.raises(ValueError, match="no clean image found"):
            sample_inputs.items("s3://other/*.npy", KINDS, tmp_path)
    finally:
        running.stop()
    assert results(tmp_path / "out") == results(tmp_path / "local")
