import dataclasses
import errno
import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import sidd
from sidd.loading import cache as patch_cache
from sidd.loading.tiles import write_tiles

PATCH = 16


@pytest.fixture
def dataset(offline, tmp_path):
    """A copy of the offline dataset that may be damaged."""
    return Path(shutil.copytree(offline, tmp_path / "sidd"))


@pytest.fixture
def frames(dataset):
    return sidd.select_frames(sidd.index(dataset), "train")


def patches(frames, cache, **arguments):
    return sidd.Patches(frames, PATCH, cache=cache, progress=False, **arguments)


def digest(patches):
    """A hash of all patches, in order."""
    content = hashlib.sha256()
    for batch in patches.batches(shuffle=False).as_numpy_iterator():
        for name in sorted(batch):
            content.update(batch[name].tobytes())
    return content.hexdigest()


def files(cache, pattern="*"):
    return {path.name: path.stat().st_mtime_ns for path in cache.glob(pattern) if path.is_file()}


def test_the_second_run_reads_and_writes_nothing(frames, tmp_path, monkeypatch):
    first = digest(patches(frames, tmp_path / "cache"))
    before = files(tmp_path / "cache")
    assert len(files(tmp_path / "cache", "*.npy")) == len(frames)
    monkeypatch.setattr(patch_cache, "read_pair", None)
    assert digest(patches(frames, tmp_path / "cache")) == first
    assert digest(patches(frames, tmp_path / "cache", seed=3, patches_per_image=4)) != first
    assert files(tmp_path / "cache") == before


def test_the_digest_is_of_the_data(frames, dataset, tmp_path):
    first = patches(frames, tmp_path / "cache").digest
    assert patches(frames, tmp_path / "cache").digest == first
    assert patches(frames, None).digest == first
    moved = Path(shutil.copytree(dataset, tmp_path / "moved", copy_function=shutil.copyfile))
    assert patches(sidd.select_frames(sidd.index(moved), "train"), None).digest == first

    others = [
        patches(frames[1:], None),
        patches([frames[1], frames[0], *frames[2:]], None),
        patches(frames, None, seed=1),
        patches(frames, None, patches_per_image=3),
        patches(frames, None, sampling="random"),
        patches(frames, None, cameras=sidd.CAMERAS[::-1]),
        sidd.Patches(frames, PATCH // 2, progress=False),
    ]
    digests = {first, *(other.digest for other in others)}
    assert len(digests) == 1 + len(others)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["noisy", "clean", "metadata", "gone"])
def test_a_change_of_one_file_gives_another_digest(frames, tmp_path, kind, cached):
    cache = tmp_path / "cache" if cached else None
    first = patches(frames, cache).digest
    path = frames[0].noisy if kind == "gone" else getattr(frames[0], kind)
    if kind == "gone":
        path.unlink()
    elif kind == "metadata":
        metadata = sidd.read_metadata(path)
        sidd.write_metadata(path, dataclasses.replace(metadata, nlf=(0.5, 0.5)))
    else:
        raw = sidd.read_raw(path)
        raw[0, 0] = 0.5
        sidd.write_raw(path, raw)
    changed = patches(frames, cache)
    assert len(changed.skipped) == (kind == "gone")
    assert changed.digest != first


def test_other_frames_share_what_is_there(frames, tmp_path):
    cache = tmp_path / "cache"
    patches(frames[:3], cache)
    before = files(cache, "*.npy")
    patches(frames, cache)
    after = files(cache, "*.npy")
    assert before.items() <= after.items() and len(after) == len(frames)


def test_a_moved_dataset_is_known_again(frames, dataset, tmp_path, monkeypatch):
    first = digest(patches(frames, tmp_path / "cache"))
    moved = sidd.select_frames(sidd.index(dataset.rename(tmp_path / "elsewhere")), "train")
    monkeypatch.setattr(patch_cache, "read_pair", None)
    assert digest(patches(moved, tmp_path / "cache")) == first


@pytest.mark.parametrize("kind", ["noisy", "clean", "metadata"])
def test_a_frame_that_changed_is_read_again(frames, tmp_path, kind):
    first = patches(frames, tmp_path / "cache")
    path = getattr(frames[0], kind)
    if kind == "metadata":
        sidd.write_metadata(path, dataclasses.replace(sidd.read_metadata(path), nlf=(1e-3, 1e-4)))
    else:
        sidd.write_raw(path, 1 - sidd.read_raw(path))
    changed = patches(frames, tmp_path / "cache")
    assert digest(changed) == digest(patches(frames, None)) != digest(first)
    assert len(files(tmp_path / "cache", "*.npy")) == len(frames) + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda tiles, info: tiles.write_bytes(tiles.read_bytes()[:-1]),
        lambda tiles, info: tiles.write_bytes(tiles.read_bytes() + b"x"),
        lambda tiles, info: tiles.write_bytes(b""),
        lambda tiles, info: np.save(tiles, np.zeros((2, 2, 2, 32, 32, 4))),
        lambda tiles, info: np.save(tiles, np.zeros((1, 2, 2, 32, 32, 4), np.float32)),
        lambda tiles, info: np.save(tiles, np.array([{}]), allow_pickle=True),
        lambda tiles, info: tiles.unlink(),
        lambda tiles, info: info.unlink(),
        lambda tiles, info: info.write_text(info.read_text()[:-5]),
        lambda tiles, info: info.write_text("{}"),
        lambda tiles, info: info.write_text(info.read_text().replace("48", "480")),
        lambda tiles, info: info.write_text(info.read_text().replace("48", '"48"')),
        lambda tiles, info: info.write_text(info.read_text().replace('"iso": 100', '"iso": 400')),
        lambda tiles, info: info.write_text(info.read_text().replace("0.00", "0.01", 1)),
        lambda tiles, info: info.write_text("[" * 100_000),
        lambda tiles, info: info.write_text("[1, 2]"),
        lambda tiles, info: tiles.write_bytes(b"x" + tiles.read_bytes()[1:]),
    ],
)
def test_a_cache_that_does_not_match_is_rebuilt(frames, tmp_path, damage):
    cache = tmp_path / "cache"
    first = digest(patches(frames, cache))
    tiles = min(cache.glob("*.npy"))
    damage(tiles, tiles.with_suffix(".json"))
    assert digest(patches(frames, cache)) == first


@pytest.mark.parametrize("value", [bytes(400), b"\xff" * 4], ids=["zeros", "NaN"])
def test_damaged_pixels_of_the_cache_are_refused(frames, tmp_path, value):
    cache = tmp_path / "cache"
    patches(frames, cache)
    tiles = min(cache.glob("*.npy"))
    content = bytearray(tiles.read_bytes())
    content[20_000 : 20_000 + len(value)] = value
    tiles.write_bytes(content)
    damaged = patches(frames, cache)
    with pytest.raises(Exception, match=rf"{tiles.name}: is damaged in tile 0; remove it"):
        digest(damaged)
    tiles.unlink()
    assert digest(patches(frames, cache)) == digest(patches(frames, None))


def test_a_bad_frame_is_skipped_once_and_taken_when_repaired(frames, tmp_path, caplog):
    cache, victim = tmp_path / "cache", frames[2].noisy
    good = victim.read_bytes()
    victim.write_bytes(good[: len(good) // 2])
    actual = patches(frames, cache)
    assert actual.frames == [*frames[:2], *frames[3:]]
    assert set(actual.skipped) == {frames[2]} and str(victim) in actual.skipped[frames[2]]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"skipped: {actual.skipped[frames[2]]}"
    assert digest(actual) == digest(patches(actual.frames, None))
    with pytest.raises(sidd.SiddError, match=r"0011_NOISY_RAW_010\.MAT: .*damaged"):
        patches(frames, cache, strict=True)
    victim.write_bytes(good)
    assert not patches(frames, cache).skipped


@pytest.mark.parametrize("cached", [True, False])
def test_only_bad_frames(frames, tmp_path, cached):
    for frame in frames[:2]:
        frame.clean.unlink()
    cache = tmp_path / "cache" if cached else None
    with pytest.raises(sidd.SiddError, match=r"GT_RAW_010\.MAT: no such.*none of the 2 frames"):
        patches(frames[:2], cache)
    assert set(patches(frames[:3], cache).skipped) == set(frames[:2])


def test_leftovers_of_a_killed_run_are_removed(frames, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / ".0004_010-abc.npy.4711.tmp").write_bytes(b"half")
    (cache / "mine.txt").write_text("kept")
    patches(frames, cache)
    assert {path.name for path in cache.iterdir() if path.suffix not in (".npy", ".json")} == {
        ".lock",
        "mine.txt",
    }


def test_the_same_frame_twice(frames, tmp_path):
    actual = patches([frames[0], frames[1], frames[0]], tmp_path / "cache")
    assert actual.num_patches == 18 and len(files(tmp_path / "cache", "*.npy")) == 2


def test_a_second_run_waits_for_the_first(frames, tmp_path, caplog):
    cache = tmp_path / "cache"
    cache.mkdir()
    with open(cache / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        actual = []
        second = threading.Thread(target=lambda: actual.append(patches(frames, cache)))
        second.start()
        second.join(1)
        assert second.is_alive() and not files(cache, "*.npy")
    second.join(60)
    assert actual[0].num_patches == 72
    assert "waiting for another run" in caplog.text


def test_a_full_disk_is_one_error_and_leaves_nothing_broken(frames, tmp_path, monkeypatch):
    cache, written = tmp_path / "cache", []

    def write(file, noise, clean):
        written.append(file)
        if len(written) > 3:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_tiles(file, noise, clean)

    with monkeypatch.context() as patched:
        patched.setattr(patch_cache, "write_tiles", write)
        with pytest.raises(sidd.SiddError, match=r"cache: .*No space left on device.*; make room"):
            patches(frames, cache, parallel_reads=1)
    assert len(files(cache, "*.npy")) == len(files(cache, "*.json")) == 3
    assert not list(cache.glob(".*.tmp"))
    assert digest(patches(frames, cache)) == digest(patches(frames, None))


def test_a_disk_that_takes_a_part_of_what_is_written(frames, tmp_path):
    """As a full disk does: a write of fewer bytes than were given is no error of the system."""
    cache = tmp_path / "cache"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(sidd.SiddError, match="cache: the patch cache cannot be written"):
            patches(frames, cache, parallel_reads=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not files(cache, "*.npy") and not list(cache.glob(".*.tmp"))


def test_a_folder_that_cannot_be_written(frames, tmp_path):
    (tmp_path / "file").touch()
    message = r"cannot be written: File exists; name another folder"
    with pytest.raises(sidd.SiddError, match=message) as raised:
        patches(frames, tmp_path / "file")
    assert str(raised.value).startswith(f"{tmp_path / 'file'}: ")


def test_a_whole_cache_is_never_written_to(frames, tmp_path, monkeypatch):
    first = digest(patches(frames, tmp_path / "cache"))
    monkeypatch.setattr(patch_cache, "locked", None)
    monkeypatch.setattr(patch_cache, "replacing", None)
    assert digest(patches(frames, tmp_path / "cache")) == first


def test_a_bad_frame_needs_no_writing(frames, tmp_path):
    cache = tmp_path / "cache"
    patches(frames[1:], cache)
    (cache / ".lock").unlink()
    (cache / ".lock").mkdir()  # cannot be opened
    frames[0].noisy.write_bytes(b"bad")
    assert set(patches(frames, cache).skipped) == {frames[0]}


def test_what_is_lost_later_names_the_cache_file(frames, tmp_path):
    actual = patches(frames, tmp_path / "cache")
    (tmp_path / "cache").rename(tmp_path / "gone")
    with pytest.raises(Exception, match=r"SiddError: .*cache/0004_010-\w+\.npy: cannot be read"):
        digest(actual)


def test_the_key_is_of_the_content(frames, tmp_path):
    info = patches(frames[:1], tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("*.json")
    content = json.loads(path.read_text())
    assert (content["height"], content["width"]) == (48, 40)
    assert (content["camera"], content["iso"]) == (info.frames[0].camera, info.frames[0].iso)


_WRITE = """
import io, os, signal, sys
import sidd
from sidd.loading import cache as patch_cache
from sidd.loading import tiles

pieces = int(sys.argv[3])

def write_and_die(file, noise, clean):
    global pieces
    content = io.BytesIO()
    checksums = tiles.write_tiles(content, noise, clean)
    content = content.getvalue()
    for start in range(0, len(content), 10_000):
        file.write(content[start : start + 10_000])
        pieces -= 1
        if not pieces:
            os.kill(os.getpid(), signal.SIGKILL)
    return checksums

if pieces:
    patch_cache.write_tiles = write_and_die
frames = sidd.select_frames(sidd.index(sys.argv[1]), "train")
print("ready", flush=True)
sys.stdin.readline()
sidd.Patches(frames, 16, cache=sys.argv[2], progress=False)
"""


def write_in_a_process(dataset, cache, die_after=0, kill_after=None):
    """Writes a cache in a process of its own; gives how long it took.

    It may be killed after so many pieces of 10 kB, or after so many seconds.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITE, str(dataset), str(cache), str(die_after)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        start = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        process.stdout.read()
        return time.monotonic() - start


@pytest.mark.parametrize("pieces", [2, 40, 100])
def test_killed_while_writing(dataset, frames, tmp_path, pieces):
    cache = tmp_path / "cache"
    write_in_a_process(dataset, cache, die_after=pieces)
    assert list(cache.glob(".*.tmp")) and len(files(cache, "*.json")) < len(frames)
    assert digest(patches(frames, cache)) == digest(patches(frames, None))
    assert not list(cache.glob(".*.tmp"))


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    root = sidd.write_synthetic(
        tmp_path / "sidd", size=(1000, 1504), train_instances=8, test_instances=0, progress=False
    )
    frames = sidd.select_frames(sidd.index(root), "train")
    duration = write_in_a_process(root, tmp_path / "whole")
    expected = digest(patches(frames, tmp_path / "whole"))
    assert expected == digest(patches(frames, None))
    left = []
    for turn, part in enumerate(np.random.default_rng(0).uniform(0, 1, 10)):
        cache = tmp_path / str(turn)
        write_in_a_process(root, cache, kill_after=part * duration)
        left.append(len(files(cache, "*.json")))
        assert digest(patches(frames, cache)) == expected
        assert not list(cache.glob(".*.tmp"))
        shutil.rmtree(cache)
    assert len(set(left)) > 3, "the moments lie all along the writing"
