"""Files and folders that are replaced at once, what killed processes leave, odd file systems."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

import sidd
from noise_flow_tf.saving import file_system, files
from noise_flow_tf.saving.files import clear_partial, partial_of, readable, replacing, settled
from noise_flow_tf.saving.run_folder import RunFolder

DOORS = [replacing, sidd.replacing]


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def make(folder, *inside):
    folder.mkdir()
    for name in inside:
        (folder / name).write_text(name)


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("door", DOORS)
def test_data_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, door):
    path = tmp_path / "note.txt"
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("moved"), replace(a, b)))
    with door(path) as temporary:
        temporary.write_text("new")
    assert done == [temporary.name, "moved", tmp_path.name]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_file_systems_that_cannot_sync(tmp_path, monkeypatch, door, code):
    def fsync(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with door(tmp_path / "note.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "note.txt").read_text() == "new"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_names_the_file_and_what_is_kept(tmp_path, monkeypatch, door, code, before):
    path = tmp_path / "note.txt"
    if before:
        path.write_text(before)

    def fsync(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError) as raised, door(path) as temporary:
        temporary.write_text("new")
    kept = "the earlier one is kept" if before else "nothing is there"
    assert str(raised.value) == f"{path}: cannot be written: {os.strerror(code)}; {kept}"
    assert raised.value.errno == code
    assert names(tmp_path) == ["note.txt"] * bool(before)
    assert not before or path.read_text() == before


@pytest.mark.parametrize("door", DOORS)
def test_errors_about_other_files_stay_as_they_are(tmp_path, door):
    with pytest.raises(FileNotFoundError, match="gone.txt"), door(tmp_path / "note.txt"):
        (tmp_path / "gone.txt").read_text()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_never_half_or_gone(tmp_path, monkeypatch, can_exchange):
    """Whenever the process is killed: what `settled` finds is the old folder or the new one."""
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    path = tmp_path / "model"
    make(path, "a", "b")
    found = []

    def watch(event, _):
        if event in ("os.rename", "os.remove", "os.rmdir", "os.rmtree", "shutil.rmtree"):
            found.append(tuple(names(settled(path))))

    sys.addaudithook(lambda *event: watch(*event) if watching else None)
    watching = True
    with replacing(path) as partial:
        make(partial, "c", "d")
    watching = False
    assert set(found) == {("a", "b"), ("c", "d")} or can_exchange
    assert set(found) <= {("a", "b"), ("c", "d")} and found
    assert names(tmp_path) == ["model", "model/c", "model/d"]


def test_a_folder_that_was_moved_aside_is_found_and_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    path = tmp_path / "model"
    make(tmp_path / ".model.before", "old")  # killed between two renames
    assert names(settled(path)) == ["old"]
    with replacing(path) as partial:
        make(partial, "new")
    assert names(tmp_path) == ["model", "model/new"]


def test_exchange_says_if_the_system_cannot(tmp_path, monkeypatch):
    make(tmp_path / "a", "x")
    make(tmp_path / "b", "y")
    if file_system.exchange(tmp_path / "a", tmp_path / "b"):
        assert names(tmp_path) == ["a", "a/y", "b", "b/x"]
    with pytest.raises(OSError, match="No such file"):
        assert file_system.exchange(tmp_path / "gone", tmp_path / "b")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    assert not file_system.exchange(tmp_path / "a", tmp_path / "b")


def test_only_what_dead_processes_left_is_removed(tmp_path, dead):
    mine = partial_of(tmp_path / "mine")
    left = tmp_path / f".note.txt.{file_system.place()}-{dead}.tmp"
    folder = tmp_path / f".model.{file_system.place()}-{dead}.tmp"
    elsewhere = tmp_path / f".note.txt.0123abcd-{dead}.tmp"
    others = [tmp_path / name for name in (".notes.tmp", "x.partial", "a.tmp")]
    for path in (mine, left, elsewhere, *others):
        path.touch()
    make(folder, "half")
    clear_partial(tmp_path)
    assert names(tmp_path) == sorted(path.name for path in (mine, elsewhere, *others))
    clear_partial(tmp_path, alone=True)
    assert names(tmp_path) == sorted(path.name for path in (mine, *others))


def test_both_packages_mark_temporary_files_alike(tmp_path):
    with sidd.replacing(tmp_path / "x.MAT") as temporary:
        assert temporary == partial_of(tmp_path / "x.MAT")
        temporary.touch()


def test_the_offline_dataset_of_a_killed_process_is_removed(tmp_path, dead):
    left = tmp_path / f".sidd.{file_system.place()}-{dead}.tmp"
    make(left, "half")
    mine = tmp_path / f".sidd.{file_system.place()}-{os.getppid()}.tmp"
    make(mine, "half")
    small = {"size": (8, 8), "train_instances": 1, "test_instances": 0, "progress": False}
    sidd.write_synthetic(tmp_path / "sidd", **small)
    assert not left.exists() and mine.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_run_says_so_once_and_goes_on(tmp_path, monkeypatch, capsys, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    run = RunFolder(tmp_path / "run")
    run.create({"arch": "S-G", "width": 4})
    with run.locked():
        pass
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{run.path}: its file system has no locks ({os.strerror(code)})")


def test_a_run_removes_what_killed_ones_left(tmp_path, dead):
    run = RunFolder(tmp_path / "run")
    run.create({"arch": "S-G", "width": 4})
    before = names(run.path)
    (run.pictures / f".nll.png.0123abcd-{dead}.tmp").touch()
    make(run.path / f".saved_model.{file_system.place()}-{dead}.tmp", "half")
    make(run.last / "step-2_temp", "part-00000-of-00001.data-00000-of-00001")
    (run.last / "step-4.index.tempstate123").touch()
    run.check(overwrite=True)
    with run.locked():
        assert names(run.path) == before


@pytest.mark.parametrize("character", "[]*?\\")
def test_names_that_tensorflow_takes_for_patterns_are_refused_for_runs(tmp_path, character):
    with pytest.raises(ValueError, match=r"run.: TensorFlow takes .+ in a path for a pattern"):
        RunFolder(f"{tmp_path}/run{character}").create({"arch": "S-G", "width": 4})
    assert not names(tmp_path)


def test_checkpoints_are_read_whatever_their_path(tmp_path):
    folder = tmp_path / "[x] a*b"
    make(folder, "m[1].ckpt.index", "m[1].ckpt.data-00000-of-00001", "m[1].ckptx.index")
    with readable(folder / "m[1].ckpt") as prefix:
        assert "[" not in prefix
        with open(f"{prefix}.index") as file:
            assert file.read() == "m[1].ckpt.index"
        assert os.path.exists(f"{prefix}.data-00000-of-00001")
    assert not os.path.exists(f"{prefix}.index")
