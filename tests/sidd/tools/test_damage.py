"""What each kind of damaged input gets: its message, in training and from check alike."""

import dataclasses
import io
import os
import shutil
from concurrent.futures.process import BrokenProcessPool

import h5py
import numpy as np
import pytest
import scipy.io

import sidd
from sidd.__main__ import main
from sidd.tools import check as checking
from sidd.tools.check import check, check_frame


def cut(part):
    return lambda path: path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def overwrite(content):
    return lambda path: path.write_bytes(content)


def damage_pixels(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)


def one_byte(place, value):
    """Changes a byte of HDF5's own structures, which `sidd.write_raw` lays out alike."""

    def write(path):
        content = bytearray(path.read_bytes())
        content[place] = value
        path.write_bytes(content)

    return write


def unknown_type(path):
    """Gives a number in METADATA a type that no MATLAB knows, which crashes scipy 1.15."""
    content = path.read_bytes()
    start = content.index(np.array([9, 48], "<u4").tobytes())  # the noise profile
    path.write_bytes(content[: start + 1] + b"\xe0" + content[start + 2 :])


def datasets(**arrays):
    def write(path):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array

    return write


def pixels(change):
    return lambda path: sidd.write_raw(path, change(sidd.read_raw(path)))


def one_value(value):
    def change(raw):
        raw[3, 5] = value
        return raw

    return change


def fields(change):
    """Rewrites METADATA with other fields."""

    def write(path):
        struct = scipy.io.loadmat(path)["metadata"]
        values = {name: struct[name][0, 0] for name in struct.dtype.names}
        change(values)
        scipy.io.savemat(path, {"metadata": values}, appendmat=False)

    return write


def without_tag(tag):
    def change(values):
        table = values["UnknownTags"]
        keep = [row["ID"].item() != tag for row in table.ravel()]
        values["UnknownTags"] = table[keep]

    return fields(change)


def empty_tags(values):
    for row in values["UnknownTags"].ravel():
        row["ID"] = np.zeros((0, 0))


def conditions(**values):
    return lambda path: sidd.write_metadata(
        path, dataclasses.replace(sidd.read_metadata(path), **values)
    )


def a_folder(path):
    path.unlink()
    path.mkdir()


BAYER = np.full((96, 80), 0.5, np.float32)
REFUSED = {
    "noisy missing": ("noisy", lambda path: path.unlink(), "no such file"),
    "clean missing": ("clean", lambda path: path.unlink(), "no such file"),
    "metadata missing": ("metadata", lambda path: path.unlink(), "no such file"),
    "a folder in place of a file": ("clean", a_folder, "is a folder"),
    "empty raw": ("noisy", overwrite(b""), "not a readable MATLAB v7.3 (HDF5) file"),
    "empty metadata": ("metadata", overwrite(b""), "not a readable MATLAB v5 file"),
    "web page as raw": ("clean", overwrite(b"<html>" * 99), "not a readable MATLAB v7.3 (HDF5)"),
    "web page as metadata": ("metadata", overwrite(b"<html>" * 99), "not a readable MATLAB v5"),
    "raw cut in half": ("noisy", cut(0.5), "or a damaged one"),
    "raw without its last byte": ("clean", cut(0.9999), "or a damaged one"),
    "metadata cut in half": ("metadata", cut(0.5), "not a readable MATLAB v5 file"),
    "wrong bytes among the pixels": ("noisy", damage_pixels, "or a damaged one"),
    "a KeyError of h5py": ("noisy", one_byte(526, 2), "or a damaged one"),
    "a RuntimeError of h5py": ("clean", one_byte(644, 64), "or a damaged one"),
    "a ValueError of h5py": ("noisy", one_byte(1403, 24), "or a damaged one"),
    "no dataset": ("noisy", datasets(), "found no dataset"),
    "two images, none named x": ("clean", datasets(a=BAYER, b=BAYER), "found /a float32 (96, 80)"),
    "whole numbers": ("noisy", datasets(x=BAYER.astype(np.uint16)), "found /x uint16 (96, 80)"),
    "three dimensions": ("noisy", datasets(x=BAYER[None]), "found /x float32 (1, 96, 80)"),
    "odd height": ("clean", pixels(lambda x: x[:-1]), "even H and W; got shape (95, 80)"),
    "no pixel": ("noisy", datasets(x=BAYER[:0]), "even H and W; got shape (0, 80)"),
    "other size than noisy": ("clean", pixels(lambda x: x[:-2]), "does not fit"),
    "a number of unknown type": ("metadata", unknown_type, "6 numbers in 48 bytes of type 57353"),
    "no struct": ("metadata", lambda p: scipy.io.savemat(p, {"x": 1}), "has no struct `metadata`"),
    "no make": ("metadata", fields(lambda v: v.pop("Make")), "`metadata` has no Make"),
    "make of another camera": ("metadata", conditions(make="LGE"), "is of G4 at ISO 100, but its"),
    "no ISO": ("metadata", fields(lambda v: v.pop("ISOSpeedRatings")), "no ISOSpeedRatings"),
    "ISO not a number": (
        "metadata", fields(lambda v: v.update(ISOSpeedRatings=np.nan)), "ISO must be whole numbers",
    ),
    "ISO 0": ("metadata", conditions(iso=0), "ISO must be whole numbers of 1 to 1e+07; got 0"),
    "ISO a text": (
        "metadata", fields(lambda v: v.update(ISOSpeedRatings="x")), "value of the wrong kind",
    ),
    "no noise profile": ("metadata", without_tag(51041), "no tag 51041 in UnknownTags"),
    "infinite noise profile": ("metadata", conditions(nlf=(np.inf, 0)), "slope must be numbers"),
    "a negative slope": ("metadata", conditions(nlf=(-1e-4, 0)), "slope must be numbers of 0 to 1"),
    "a damaged offset": ("metadata", conditions(nlf=(1e-4, 1e-309)), "offset must be numbers"),
    "white without green": (
        "metadata", conditions(as_shot_neutral=np.array([0.5, np.nan, 0.5])), "AsShotNeutral must",
    ),
    "an infinite matrix": (
        "metadata", conditions(color_matrix1=np.full((3, 3), np.inf)), "ColorMatrix1 must be",
    ),
    "a matrix without inverse": (
        "metadata", conditions(color_matrix2=np.ones((3, 3))), "ColorMatrix2 has no inverse",
    ),
    "one huge value": ("noisy", pixels(one_value(1e37)), "raw values are in [0, 1]"),
    "one sensor count": ("clean", pixels(one_value(64)), "raw values are in [0, 1]"),
    "one infinite value": ("clean", pixels(one_value(-np.inf)), "raw values are in [0, 1]"),
    "a tag without a number": ("metadata", fields(empty_tags), "no tag 33422 in UnknownTags"),
    "no CFA pattern": ("metadata", without_tag(33422), "no tag 33422 in UnknownTags"),
    "CFA pattern of no Bayer sensor": (
        "metadata", conditions(cfa_pattern=np.zeros((2, 2))), "unknown colour filter pattern",
    ),
    "of another ISO": ("metadata", conditions(iso=51), "at ISO 51, but its folder's name says"),
    "of another camera": ("metadata", conditions(make="LGE"), "is of G4 at ISO"),
}  # fmt: skip


def nest(values):
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"UnknownTags": values.pop("UnknownTags")}
    values["SubIFDs"] = cells
    values["DigitalCamera"] = {"ISOSpeedRatings": values.pop("ISOSpeedRatings")}


def with_bad_values(raw):
    raw[:2, :4] = [[np.nan, 1.5, -0.5, -0.1], [1.1, 1, 0, 0.5]]
    return raw


def rename_dataset(path):
    datasets(noisy=sidd.read_raw(path))(path)


# Damage that the release lives with, and what becomes of it.
ACCEPTED = {
    "tags in SubIFDs, ISO in DigitalCamera": ("metadata", fields(nest)),
    "a dataset under another name than x": ("noisy", rename_dataset),
    "NaN and values out of range": ("noisy", pixels(with_bad_values)),
    "double precision": ("clean", lambda path: datasets(x=sidd.read_raw(path).astype(float))(path)),
    "a make that the table lacks": ("metadata", conditions(make="Nikon")),
    "another model of the make": ("metadata", conditions(make="LGE", model="LM-G820")),
    "a noise profile below zero": ("metadata", conditions(nlf=(0.0, -1e-6))),
}


@pytest.fixture
def frames(offline, tmp_path):
    root = shutil.copytree(offline, tmp_path / "sidd")
    return sidd.select_frames(sidd.index(root))[:2]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_file_and_the_reason(frames, name):
    kind, damage, reason = REFUSED[name]
    path = getattr(frames[0], kind)
    damage(path)
    patches = sidd.Patches(frames, 16, progress=False)
    assert patches.frames == frames[1:]
    message = patches.skipped[frames[0]]
    assert reason in message
    both = name == "other size than noisy"
    assert message.startswith(f"{frames[0].noisy if both else path}: ")
    if reason not in ("no such file", "is a folder"):
        assert check_frame(frames[0])[1] == [message]


@pytest.mark.parametrize("name", ACCEPTED)
def test_read_as_the_release_does(frames, name):
    kind, damage = ACCEPTED[name]
    before = sidd.read_pair(*frames[0].files)
    damage(getattr(frames[0], kind))
    after = sidd.read_pair(*frames[0].files)
    assert check_frame(frames[0])[1] == []
    if name == "NaN and values out of range":
        noisy = sidd.unpack(after.noise + after.clean)[:2, :4]
        np.testing.assert_allclose(noisy, [[0, 1, 0, 0], [1, 1, 0, 0.5]], atol=1e-6)
    elif name == "a noise profile below zero":
        assert after.nlf == (1e-6, 1e-6)
    else:
        np.testing.assert_array_equal(after.noise, before.noise)
        assert (after.iso, after.nlf) == (before.iso, before.nlf)


def test_check_lists_every_damaged_file(offline, tmp_path, capsys):
    root = shutil.copytree(offline, tmp_path / "sidd")
    assert main(["check", str(root), "--processes", "1"]) == 0
    assert capsys.readouterr().out.startswith("0 damaged, 0 missing; read 0.00 GB in ")
    first, second, third = sidd.select_frames(sidd.index(root))[:3]
    cut(0.5)(first.noisy)
    damage_pixels(first.clean)
    overwrite(b"")(second.metadata)
    third.clean.unlink()
    cut(0.5)(third.noisy)
    assert main(["check", str(root), "--processes", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    for line, path in zip(
        lines, (first.noisy, first.clean, second.metadata, third.noisy), strict=False
    ):
        assert line.startswith(f"damaged: {path}: ")
    assert lines[4] == f"missing: {third.clean}" and lines[5].startswith(
        "4 damaged, 1 missing; read "
    )
    size, messages = check(sidd.index(root)[1:], processes=1, progress=False)
    assert size > 0 and len(messages) == 1, "the third frame is of the second instance"


def test_check_fails_for_a_missing_file(offline, tmp_path, capsys):
    root = shutil.copytree(offline, tmp_path / "sidd")
    sidd.select_frames(sidd.index(root))[0].clean.unlink()
    assert main(["check", str(root), "--processes", "1"]) == 1
    assert "0 damaged, 1 missing; read " in capsys.readouterr().out


def test_a_killed_process_is_one_error_that_names_a_frame(offline, monkeypatch):
    def broken(function, items, *_):
        yield function(items[0])
        raise BrokenProcessPool

    monkeypatch.setattr(checking, "in_parallel", broken)
    instances = sidd.index(offline)
    second = [frame for i in instances for frame in i.frames][1]
    with pytest.raises(sidd.SiddError, match=r"killed .* 21 of 22 are unfinished") as raised:
        check(instances, processes=2, progress=False)
    assert str(raised.value).startswith(f"{second.noisy}: ")


@pytest.mark.parametrize(("available", "expected"), [(100, 1), (700, 2), (10**6, 16)])
def test_processes_fit_in_memory(monkeypatch, available, expected):
    monkeypatch.setattr(os, "sched_getaffinity", {0: range(16)}.__getitem__, raising=False)
    content = f"MemTotal: 9 kB\nMemAvailable: {available * 1000} kB\n"
    monkeypatch.setattr(checking, "open", lambda _: io.StringIO(content), raising=False)
    assert checking.default_processes() == expected
    monkeypatch.setattr(checking, "open", lambda _: io.StringIO("of another system"), raising=False)
    sizes = {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": available * 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert checking.default_processes() == expected


def test_index_prints_a_table_and_what_is_wrong(offline, tmp_path, capsys):
    root = shutil.copytree(offline, tmp_path / "sidd")
    first, second = sidd.select_frames(sidd.index(root))[:2]
    overwrite(b"bad")(first.noisy)
    os.truncate(first.noisy, 50_000_000)
    second.metadata.unlink()
    assert main(["index", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = ["camera", "ISO", "instances", "frames", "GB", "missing", "unreadable"]
    assert lines[0].split() == headings
    rows = {(camera, iso): numbers for camera, iso, *numbers in map(str.split, lines[1:-3])}
    assert rows["IP", "100"] == ["2", "3", "0.05", "1", "1"]
    assert lines[-3].split() == ["all", "11", "21", "0.05", "1", "1"]
    assert lines[-2].startswith(f"unreadable: {first.noisy}: not a readable")
    assert lines[-1] == f"missing: {second.metadata}"


def test_a_noisy_image_that_is_its_clean_one(frames):
    shutil.copy(frames[0].clean, frames[0].noisy)
    message = f"{frames[0].noisy}: is equal to its GT, {frames[0].clean.name}: it has no noise"
    assert check_frame(frames[0])[1] == [message]
    assert sidd.Patches(frames, 16, progress=False).skipped == {frames[0]: message}


def test_a_matlab_v5_image(frames):
    scipy.io.savemat(frames[0].noisy, {"x": BAYER}, appendmat=False)
    (message,) = check_frame(frames[0])[1]
    assert message.startswith(f"{frames[0].noisy}: is a MATLAB v5 file, and SIDD's images are v7.3")


def test_check_lists_what_is_left_out(offline, tmp_path, capsys):
    root = shutil.copytree(offline, tmp_path / "sidd")
    folder = sidd.index(root)[0].path
    for path in folder.glob("*_011.MAT"):
        path.rename(path.with_name(path.name.replace("_011", "_012")))
    assert main(["check", str(root), "--processes", "1"]) == 0
    assert "neither for training nor for tests: 1 frame of frame number 12" in (
        capsys.readouterr().out
    )


def test_control_characters_of_a_file_are_escaped(frames):
    fields(lambda values: values.update(Make="\x1b[2J\x07evil"))(frames[0].metadata)
    with pytest.raises(sidd.SiddError) as raised:
        sidd.read_metadata(shutil.copy(frames[0].metadata, frames[0].noisy.parents[3] / "m.MAT"))
    assert str(raised.value).isprintable() and "\\x1b[2J\\x07evil" in str(raised.value)
