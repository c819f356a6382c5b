"""The table of cameras: which METADATA is whose, and what one more row does."""

import dataclasses
import hashlib
import re
import shutil

import numpy as np
import pytest

import sidd
from sidd import cameras
from sidd.offline.noise_physics import sensor_of
from sidd.offline.synthetic import camera_iso_pairs
from sidd.tools.check import check_frame
from sidd.tools.index import survey

MATRIX = ((0.7, -0.1, -0.1), (-0.4, 1.2, 0.2), (-0.1, 0.2, 0.6))
A7 = cameras.Camera("A7", "Sony", "ILCE-7M3", "RGGB", MATRIX, MATRIX)


@pytest.fixture
def add(monkeypatch):
    """Adds a row to the table."""

    def add(row):
        monkeypatch.setitem(cameras.BY_CODE, row.code, row)

    return add


def test_the_rows_are_usable():
    rows = list(cameras.BY_CODE.values())
    assert len({(row.make.lower(), row.model.lower()) for row in rows}) == len(rows)
    for code, row in cameras.BY_CODE.items():
        assert code == row.code and re.fullmatch("[A-Z0-9]{2,8}", code)
        assert row.cfa in sidd.CFA_PATTERNS and set(row.isos) <= set(sidd.ISO_LEVELS)
        for matrix in (row.color_matrix1, row.color_matrix2):
            assert abs(np.linalg.det(np.array(matrix))) > 0.1


def test_sidd_s_cameras_are_the_release_s():
    assert sidd.CAMERAS == ("IP", "GP", "S6", "N6", "G4")
    patterns = {code: cameras.BY_CODE[code].cfa for code in sidd.CAMERAS}
    assert patterns == {"IP": "RGGB", "GP": "BGGR", "S6": "GRBG", "N6": "BGGR", "G4": "BGGR"}


def test_the_offline_dataset_s_sensors_are_those_of_every_version():
    """With others, the same seed would give another dataset."""
    rows = [cameras.BY_CODE[code] for code in sidd.CAMERAS]
    numbers = [
        (row.color_matrix1, row.color_matrix2, row.isos, dataclasses.astuple(row.sensor))
        for row in rows
    ]
    digest = hashlib.sha256(repr(numbers).encode()).hexdigest()
    assert digest == "6a1f3552351450122c1b3f09632610140677e47023857f8e819abb27295938a7"


def test_sidd_s_cameras_are_known_by_their_make_alone():
    makes = ("Apple", "Google", "samsung", "motorola", "LGE", "SAMSUNG")
    codes = [cameras.identify(make).code for make in makes]
    assert codes == ["IP", "GP", "S6", "N6", "G4", "S6"]


@pytest.mark.parametrize(
    ("make", "model", "code"),
    [
        ("Apple", "iPhone 7", "IP"),
        ("google", "pixel", "GP"),
        ("samsung", "SM-G925I", "S6"),
        ("samsung", "sm-g925f", "S6"),
        ("motorola", "Nexus 6", "N6"),
        ("LGE", "LG-H815", "G4"),
    ],
)
def test_sidd_s_cameras_are_known_by_their_model(make, model, code):
    assert cameras.identify(make, model).code == code


@pytest.mark.parametrize(
    ("make", "model"),
    [("samsung", "SM-G960F"), ("Apple", "iPhone 7 Plus"), ("Google", "Pixel 8"), ("Sony", "")],
)
def test_another_model_of_a_maker_is_asked_for(make, model):
    with pytest.raises(sidd.SiddError) as raised:
        cameras.identify(make, model)
    message = str(raised.value)
    assert message.startswith(f"unknown camera, Make {make!r}, Model {model!r}; known: ")
    assert message.endswith("; give the camera's code (--camera)") and "\n" not in message


def test_another_camera_is_known_by_make_and_model(add):
    add(A7)
    assert cameras.identify("SONY").code == cameras.identify("Sony", "ilce-7m3").code == "A7"
    add(dataclasses.replace(A7, code="R4", model="ILCE-7RM4"))
    names = [cameras.identify("Sony", f"ILCE-{name}").code for name in ("7M3", "7RM4")]
    assert names == ["A7", "R4"]
    for model in ("", "ILCE-9"):
        with pytest.raises(sidd.SiddError) as raised:
            cameras.identify("Sony", model)
        assert str(raised.value) == (
            f"unknown camera, Make 'Sony', Model {model!r}; known: Sony ILCE-7M3 (A7), "
            "Sony ILCE-7RM4 (R4); give the camera's code (--camera)"
        )


def test_another_model_of_a_maker_of_sidd_s(add):
    add(dataclasses.replace(A7, code="S9", make="Samsung", model="SM-G960F"))
    models = ("SM-G960F", "SM-G925I", "")
    assert [cameras.identify("samsung", model).code for model in models] == ["S9", "S6", "S6"]


@pytest.fixture
def foreign(offline, tmp_path):
    """The offline dataset, and in it three instances of a Sony: its folders and METADATA say so."""
    root = shutil.copytree(offline, tmp_path / "sidd")
    for number, source in zip((301, 302, 304), sidd.index(root), strict=False):
        name = f"{number:04d}_001_A7_00100_00060_3200_L"
        folder = source.path.with_name(name)
        folder.mkdir()
        frame = source.frames[0]
        for path in (frame.noisy, frame.clean):
            shutil.copy(path, folder / f"{number:04d}{path.name[4:]}")
        metadata = sidd.read_metadata(frame.metadata)
        made = {"make": "SONY", "model": "ILCE-7M3", "camera": "A7", "iso": 100}
        sidd.write_metadata(
            folder / f"{number:04d}{frame.metadata.name[4:]}", dataclasses.replace(metadata, **made)
        )
    return root


def test_one_row_is_all_that_a_camera_takes(add, foreign):
    add(A7)
    instances = sidd.index(foreign)
    assert {frame.camera for frame in sidd.select_frames(instances)} == set(sidd.CAMERAS)
    train, test = (
        sidd.select_frames(instances, split, cameras=["A7"]) for split in ("train", "test")
    )
    assert [frame.instance for frame in train] == [301, 304]
    assert [frame.instance for frame in test] == [302]
    metadata = sidd.read_metadata(train[0].metadata)
    assert (metadata.camera, metadata.make, metadata.model) == ("A7", "SONY", "ILCE-7M3")
    pair = sidd.read_pair(*train[0].files)
    assert sidd.render_packed(pair.clean, metadata).shape == (80, 96, 3)
    assert [check_frame(frame)[1] for frame in (*train, *test)] == [[], [], []]
    table, problems = survey(instances, progress=False)
    assert ["A7", "100", "3", "3", "0.00", "0", "0"] in map(str.split, table.splitlines())
    assert not problems
    patches = sidd.Patches(train, 16, cameras=(*sidd.CAMERAS, "A7"), progress=False)
    (batch,) = patches.batches().as_numpy_iterator()
    assert set(batch["camera"]) == {5} and set(batch["iso"]) == {100}


def test_a_folder_of_the_camera_with_metadata_of_another_is_damaged(add, foreign):
    add(A7)
    (frame,) = sidd.select_frames(sidd.index(foreign), "test", cameras=["A7"])
    metadata = sidd.read_metadata(frame.metadata)
    sidd.write_metadata(frame.metadata, dataclasses.replace(metadata, make="Apple", model=""))
    (message,) = check_frame(frame)[1]
    assert message == (
        f"{frame.metadata}: is of IP at ISO 100, but its folder's name says A7 at ISO 100"
    )


def test_a_camera_that_the_table_lacks_is_read_by_its_folder(foreign):
    instances = sidd.index(foreign)
    frames = sidd.select_frames(instances, cameras=["A7"])
    assert [check_frame(frame)[1] for frame in frames] == [[], [], []]
    assert not survey(instances, progress=False)[1]
    patches = sidd.Patches(frames, 16, cameras=["A7"], progress=False)
    assert patches.frames == frames
    assert sidd.read_metadata(frames[0].metadata).camera == "A7"
    loose = shutil.copy(frames[0].metadata, frames[0].metadata.parents[2])
    with pytest.raises(sidd.SiddError, match=r"METADATA_RAW_010\.MAT: unknown camera, Make 'SONY'"):
        sidd.read_metadata(loose)


def test_a_renamed_folder_is_another_camera_s_also_from_the_cache(foreign, tmp_path):
    """The cache knows files by their contents, which a folder's new name does not change."""
    for code in ("A7", "SONYA7", "GP"):
        for folder in sorted(foreign.glob("Data/*_3200_L")):
            if "_A7_" in folder.name or "_SONYA7_" in folder.name:
                folder.rename(folder.with_name(f"{folder.name[:8]}_{code}_00100_00060_3200_L"))
        frames = [
            f
            for f in sidd.select_frames(sidd.index(foreign), cameras=[code], frame_range=(0, 99))
            if f.instance > 300
        ]
        assert [check_frame(frame)[1] for frame in frames] == [[], [], []]
        patches = sidd.Patches(frames, 16, cameras=[code], cache=tmp_path / "c", progress=False)
        assert not patches.skipped and len(patches.frames) == 3


def test_patches_of_a_camera_without_an_index(foreign):
    frames = sidd.select_frames(sidd.index(foreign), cameras=["A7", "IP"])
    with pytest.raises(ValueError) as raised:
        sidd.Patches(frames, 16, progress=False)
    assert str(raised.value) == (
        "frames of camera A7, but cameras are IP, GP, S6, N6, G4; add the code to the argument "
        "cameras, or leave the frames out (--cam)"
    )


def test_the_offline_dataset_has_sidd_s_cameras_only(add):
    before = camera_iso_pairs()
    add(A7)
    add(dataclasses.replace(cameras.BY_CODE["IP"], code="I8", model="iPhone 8"))
    assert camera_iso_pairs() == before and len(before) == 22
    assert sidd.typical_metadata("I8", 400).nlf == sidd.typical_metadata("IP", 400).nlf


@pytest.mark.parametrize("camera", ["A7", "P9"])
def test_without_a_sensor_there_is_no_typical_metadata(add, camera):
    add(A7)
    message = rf"^no made-up sensor for camera {camera}; allowed: IP, GP, S6, N6, G4$"
    for function in (sensor_of, lambda code: sidd.typical_metadata(code, 100)):
        with pytest.raises(sidd.SiddError, match=message):
            function(camera)
