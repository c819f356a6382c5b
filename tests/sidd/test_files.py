"""Files that are replaced, locked and refused for want of space."""

import fcntl

import pytest

import sidd
from sidd.files import check_space, leftovers, lock, locked


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), sidd.replacing(path) as temporary:
        temporary.write_text("half")
        assert list(leftovers(tmp_path)) == [(temporary, path)]
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with sidd.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_made_and_locked(tmp_path):
    folder = tmp_path / "a" / "b"
    with locked(folder) as is_locked, open(folder / ".lock") as other:
        assert is_locked
        with pytest.raises(sidd.SiddError, match="^busy$"):
            lock(other, "busy")
    with open(folder / ".lock") as other:
        assert lock(other, "busy")


def test_without_locks_work_goes_on(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path) as is_locked, open(tmp_path / ".lock") as file:
        assert not is_locked and not lock(file, "busy")


@pytest.mark.parametrize("free", [1_500_000_000, 1_499_999_999])
def test_free_space(tmp_path, monkeypatch, free):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    if free == 1_500_000_000:
        check_space("x", tmp_path, 1_500_000_000)
    else:
        with pytest.raises(sidd.SiddError) as raised:
            check_space("x", tmp_path, 2_500_000_000)
        assert str(raised.value) == f"x: needs 2.5 GB in {tmp_path}, and 1.5 GB are free"
