import pytest

import sidd
from sidd.scenes import DATASETS, SceneName

NAMES = (
    "0004_001_IP_00100_00060_3200_L",
    "0054_001_GP_00800_00060_5500_N",
    "0200_010_S6_03200_01000_4400_H",
    "0201_010_G4_00050_01000_4400_H",
)


def make_medium(data):
    for name in NAMES:
        folder = data / name
        folder.mkdir(parents=True)
        for number in (10, 11, 12):
            for kind in ("NOISY", "GT", "METADATA"):
                (folder / f"{name[:4]}_{kind}_RAW_{number:03d}.MAT").touch()


def make_full(data):
    for name in NAMES:
        for kind in ("NOISY", "GT", "METADATA"):
            folder = data / name / f"{name[:4]}_{kind}_RAW"
            folder.mkdir(parents=True)
            for number in (10, 11, 12):
                (folder / f"{name[:4]}_{kind}_RAW_{number:03d}.MAT").touch()


@pytest.mark.parametrize("make", [make_medium, make_full])
@pytest.mark.parametrize("data", ["", "Data"])
def test_both_layouts_from_either_folder(tmp_path, make, data):
    make(tmp_path / data)
    for root in {tmp_path, tmp_path / data}:
        instances = sidd.index(root)
        assert [instance.path.name for instance in instances] == list(NAMES)
        first = instances[0]
        assert (first.instance, first.scene, first.camera, first.iso) == (4, 1, "IP", 100)
        assert (first.shutter, first.illuminant, first.brightness) == (60, 3200, "L")
        assert [frame.number for frame in first.frames] == [10, 11, 12]
        frame = first.frames[1]
        assert (frame.instance, frame.camera, frame.iso) == (4, "IP", 100)
        assert frame.noisy.name == "0004_NOISY_RAW_011.MAT" and frame.noisy.is_file()
        assert frame.clean.name == "0004_GT_RAW_011.MAT" and frame.clean.is_file()
        assert frame.metadata.name == "0004_METADATA_RAW_011.MAT" and frame.metadata.is_file()


@pytest.mark.parametrize("make", [make_medium, make_full])
def test_incomplete_frames_say_what_they_lack(tmp_path, make):
    make(tmp_path)
    gone = [
        next(tmp_path.rglob(name))
        for name in (
            "0004_GT_RAW_011.MAT",
            "0054_METADATA_RAW_010.MAT",
            "0054_NOISY_RAW_010.MAT",
            "0054_NOISY_RAW_011.MAT",
            "0054_NOISY_RAW_012.MAT",
        )
    ]
    for path in gone:
        path.unlink()
    first, second, *others = sidd.index(tmp_path)
    assert [frame.number for frame in first.frames] == [10, 12]
    assert [frame.number for frame in first.incomplete] == [11]
    assert first.missing == gone[:1]
    assert second.frames == () and [frame.number for frame in second.incomplete] == [10, 11, 12]
    assert sorted(second.missing) == sorted(gone[1:])
    assert all(len(other.frames) == 3 and not other.missing for other in others)
    assert not {frame.instance for frame in sidd.select_frames([second])}


def test_an_instance_without_any_file_is_left_out(tmp_path):
    make_medium(tmp_path)
    (tmp_path / "0001_001_S6_00100_00060_3200_L").mkdir()
    assert [instance.instance for instance in sidd.index(tmp_path)] == [4, 54, 200, 201]


def test_a_folder_without_scenes_says_what_was_expected(tmp_path):
    (tmp_path / "Data" / "0001_001_S6").mkdir(parents=True)
    with pytest.raises(sidd.SiddError, match="no scene instance found.*0001_NOISY_RAW_010.MAT"):
        sidd.index(tmp_path)
    with pytest.raises(sidd.SiddError, match="nowhere: no such folder"):
        sidd.index(tmp_path / "nowhere")


# The release's, as its description lists them.
TRAIN = """4 11 13 17 18 20 22 23 25 27 28 29 30 34 35 39 40 42 43 44 45 47 81 86 88 90 101 102 104
    105 110 111 115 116 125 126 127 129 132 135 138 140 175 177 178 179 180 181 185 186 189 192 193
    194 196 197"""
TEST = "54 55 57 59 60 62 63 66 150 151 152 154 155 159 160 161 163 164 165 166 198 199"
EXCLUSIONS = "1 3 5 7 10 11 13 14 15 18 19 20 23 24 25 28 31 33 35 38"


def test_the_split_is_the_release_s(tmp_path):
    lists = sidd.TRAIN_INSTANCES, sidd.TEST_INSTANCES, sidd.RELEASE_EXCLUSIONS
    assert [" ".join(map(str, numbers)) for numbers in lists] == [
        " ".join(text.split()) for text in (TRAIN, TEST, EXCLUSIONS)
    ]
    assert DATASETS == {"medium-raw": 160, "full-raw": 160}
    assert sidd.ISO_LEVELS == (100, 400, 800, 1600, 3200)
    make_medium(tmp_path)
    instances = sidd.index(tmp_path)
    assert [f.instance for f in sidd.select_frames(instances, "train")] == [4, 4]
    assert [f.instance for f in sidd.select_frames(instances, "test")] == [54, 54]


def test_selection(tmp_path):
    make_medium(tmp_path)
    instances = sidd.index(tmp_path)
    every = sidd.select_frames(instances)
    assert [(f.instance, f.number) for f in every] == [
        (instance, number) for instance in (4, 54, 200) for number in (10, 11)
    ], "instance 201 has an ISO level that is not modelled"
    chosen = sidd.select_frames(instances, frame_range=(11, 13), cameras=["GP", "S6"], isos=[800])
    assert [(f.instance, f.number) for f in chosen] == [(54, 11), (54, 12)]
    chosen = sidd.select_frames(instances, cameras="GP")
    assert [(f.instance, f.scene, f.brightness) for f in chosen] == 2 * [(54, 1, "N")]
    assert sidd.select_frames(instances, isos=3200)[0].instance == 200
    assert sidd.select_frames(instances, cameras=["N6"]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "unknown split 'valid'; allowed: train, test"),
        ({"cameras": ["GP", "X9"]}, "unknown camera X9; allowed: IP, GP, S6, N6, G4"),
        ({"isos": [50]}, "unknown ISO 50; allowed: 100, 400, 800, 1600, 3200"),
        ({"frame_range": (12, 10)}, r"end exclusive; got \(12, 10\)"),
    ],
)
def test_wrong_selections_list_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        sidd.select_frames([], **arguments)


def test_a_wrong_folder_name_is_named():
    with pytest.raises(sidd.SiddError, match="holiday: not a scene-instance folder"):
        SceneName.parse("holiday")


def make_own(root, names, numbers=(1,)):
    for name in names:
        folder = root / f"{name}_00060_3200_L"
        folder.mkdir()
        for kind in ("NOISY", "GT", "METADATA"):
            for number in numbers:
                (folder / f"{name[:4]}_{kind}_RAW_{number:03d}.MAT").touch()
    return sidd.index(root)


def split_of(instances, cameras, value):
    return tuple(
        [value(f) for f in sidd.select_frames(instances, split, cameras=cameras)]
        for split in ("train", "test")
    )


def test_scenes_of_a_new_camera_are_split_at_each_iso(tmp_path):
    """Every frame counts, whatever its number, and numbers of SIDD's instances mean nothing."""
    names = [
        f"{54 + i:04d}_{i % 5 + 1:03d}_SONYA7_{iso:05d}" for iso in (50, 640) for i in range(5)
    ]
    instances = make_own(tmp_path, names, numbers=(0, 200))
    train, test = split_of(instances, ["SONYA7"], lambda f: (f.iso, f.scene))
    assert set(train) == {(iso, scene) for iso in (50, 640) for scene in (1, 3, 4)}
    assert set(test) == {(iso, scene) for iso in (50, 640) for scene in (2, 5)}
    assert len(train) + len(test) == 20
    assert sidd.describe_split(instances, ["SONYA7"]) == [
        f"SONYA7, ISO {iso}: 5 scenes, for testing: 2, 5" for iso in (50, 640)
    ]
    assert {f.iso for f in sidd.select_frames(instances, "train", None, ["SONYA7"], [640])} == {640}
    numbers = {f.number for f in sidd.select_frames(instances, "train", (0, 1), ["SONYA7"])}
    assert numbers == {0}


@pytest.mark.parametrize(
    ("names", "numbers", "unit", "expected"),
    [
        (["0001_001_P9_00100", "0002_002_P9_00100"], (1,), "scene", ([1], [2])),
        (["0004_007_P9_00100", "0300_007_P9_00100"], (1,), "instance", ([4], [300])),
        (["0004_007_P9_00100"], (3, 5, 8), "frame", ([3, 8], [5])),
        (["0004_007_P9_00100"], (3,), "frame", ([3], [])),
    ],
)
def test_few_scenes_of_a_new_camera(tmp_path, names, numbers, unit, expected):
    instances = make_own(tmp_path, names, numbers)
    value = {"scene": lambda f: f.scene, "frame": lambda f: f.number}
    assert split_of(instances, ["P9"], value.get(unit, lambda f: f.instance)) == expected
    (line,) = sidd.describe_split(instances, ["P9"])
    assert ("only one scene" in line) == (unit != "scene")
    if not expected[1]:
        assert "for testing: none" in line
        why = sidd.why_none(instances, "test", cameras=["P9"])
        assert why == "none is of split test; there are train (1 frame)"


def test_says_which_condition_leaves_no_frame(tmp_path):
    make_medium(tmp_path)
    instances = sidd.index(tmp_path)
    for arguments, message in (
        ({"cameras": ["N6"]}, "none is of camera N6; there are G4 (3 frames), GP (3 frames)"),
        ({"cameras": ["GP"], "isos": [100]}, "none is of ISO 100; there are 800 (3 frames)"),
        ({"frame_range": (3, 5)}, "none is of frame number 3 to 4; there are 10 (3 frames), 11"),
        ({"split": "test", "cameras": ["S6"]}, "none is of split test; there are neither (2 fr"),
        ({"split": "test"}, ""),
    ):
        why = sidd.why_none(instances, **arguments)
        assert why.startswith(message) and bool(why) == bool(message), why
        assert bool(sidd.select_frames(instances, **arguments)) == (not message)


@pytest.mark.parametrize("code", ["A", "a7", "SONYALPHA", "A-7"])
def test_codes_are_of_two_to_eight_capitals_and_digits(code):
    with pytest.raises(sidd.SiddError, match="camera of 2 to 8 capitals and digits"):
        SceneName.parse(f"0001_001_{code}_00100_00060_3200_L")
    assert SceneName.parse("0001_001_SONYA7R5_102400_00060_3200_L").iso == 102400


def test_a_name_is_what_it_was_read_from():
    name = SceneName.parse("0012_003_N6_00400_00120_4400_H")
    assert name == SceneName(12, 3, "N6", 400, 120, 4400, "H")
    assert str(name) == "0012_003_N6_00400_00120_4400_H"


def test_a_scene_in_both_places_counts_once_where_it_has_more_frames(tmp_path):
    name = "0001_001_S6_00100_00060_3200_L"
    few, many = tmp_path / name, tmp_path / "Data" / name
    for folder, numbers in ((few, (10,)), (many, (10, 11))):
        folder.mkdir(parents=True)
        for number in numbers:
            for kind in ("NOISY", "GT", "METADATA"):
                (folder / f"0001_{kind}_RAW_{number:03d}.MAT").touch()
    (instance,) = sidd.index(tmp_path)
    assert instance.path == many
    (many / "0001_GT_RAW_011.MAT").unlink()
    (instance,) = sidd.index(tmp_path)
    assert instance.path == few


def test_one_folder_level_too_many_or_too_few(offline, tmp_path):
    expected = [instance.path.name for instance in sidd.index(offline)]
    (tmp_path / "above").mkdir()
    (tmp_path / "above/sidd").symlink_to(offline)
    for root in (offline, offline / "Data", tmp_path / "above"):
        assert [instance.path.name for instance in sidd.index(root)] == expected
    (one,) = sidd.index(offline / "Data" / expected[0])
    assert one.path.name == expected[0] and len(one.frames) == 2
    (tmp_path / "above/other").symlink_to(offline)
    with pytest.raises(sidd.SiddError, match="several datasets; give the folder of one: other, s"):
        sidd.index(tmp_path / "above")


def test_frames_that_are_neither_for_training_nor_for_tests(tmp_path):
    for name in (
        "0001_001_S6_00200_00060_3200_L", "0002_001_S6_00100_00060_3200_L",
        "0004_001_S6_00100_00060_3200_L",
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        for number in (10, 12, 13):
            for kind in ("NOISY", "GT", "METADATA"):
                (tmp_path / name / f"{name[:4]}_{kind}_RAW_{number:03d}.MAT").touch()
    assert sidd.describe_left_out(sidd.index(tmp_path)) == [
        "3 frames of ISO 200",
        "4 frames of frame number 12, 13",
        "1 frame of instances in neither list: 0002",
    ]
