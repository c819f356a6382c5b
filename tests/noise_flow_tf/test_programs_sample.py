"""What sample.py draws, with a small model and images that differ in size and conditions."""

import csv
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf.programs import sample, sampling_plan
from noise_flow_tf.programs.configs import SampleConfig
from noise_flow_tf.saving import run_folder
from noise_flow_tf.saving.file_system import place

SIZES = {"a": (6, 10), "b": (12, 4), "c": (2, 8)}
"""Upright Bayer images."""


def clean_image(name):
    seed = sorted(SIZES).index(name)
    return np.random.default_rng(seed).uniform(0.0, 1.0, SIZES[name]).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    """Shared by the tests, so that its functions are compiled once."""
    model = nf.NoiseFlow("sdn5|unc|gain4", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    return model


@pytest.fixture
def folder(tmp_path):
    for name in SIZES:
        np.save(tmp_path / f"{name}.npy", clean_image(name))
    lines = [
        "# PATH,ISO,CAMERA",
        "",
        "a.npy,100,GP",
        "# b.npy,800,S6",
        "c.npy , 3200 , N6",
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch):
    """Samples with a model; gives the rows of the record."""

    def run(model, **options):
        monkeypatch.setattr(nf, "load", lambda path: model, raising=False)
        given = {"clean": str(folder / "list.csv"), "out": str(folder / "out")}
        given |= {"model": "runs/some", "pictures": "none"}
        sample.run(SampleConfig(**given | options))
        with (folder / "out" / sampling_plan.RECORD).open() as file:
            return list(csv.DictReader(file))

    return run


def expected_noise(model, row, **options):
    packed = sidd.pack(clean_image(row["output"][0]).T)
    noise = nf.sample_image(
        model, packed, int(row["iso"]), row["camera"], int(row["seed"]), **options
    )
    return sidd.unpack(noise).T


def test_a_list_is_drawn_as_it_says(folder, run, model):
    rows = run(model, draws=2, temperature=0.5, tile=2)
    conditions = [(row["output"], row["iso"], row["camera"], row["temperature"]) for row in rows]
    assert conditions == [
        (f"{name}_{draw:03d}", iso, camera, "0.5")
        for name, iso, camera in (("a", "100", "GP"), ("c", "3200", "N6"))
        for draw in range(2)
    ]
    for row in rows:
        noise, noisy = (
            np.load(folder / "out" / f"{row['output']}_{w}.npy") for w in ("noise", "noisy")
        )
        expected = expected_noise(model, row, temperature=0.5)
        np.testing.assert_allclose(noise, expected, atol=1e-6)
        clean = clean_image(row["output"][0])
        np.testing.assert_allclose(noisy, np.clip(clean + expected, 0, 1), atol=1e-6)
    assert not np.array_equal(*(expected_noise(model, row) for row in rows[:2]))


def test_the_command_line_goes_before_the_list(folder, run, model):
    rows = run(model, iso=800, camera="G4")
    assert [(row["iso"], row["camera"]) for row in rows] == [("800", "G4")] * 2
    noise = np.load(folder / "out" / "a_noise.npy")
    np.testing.assert_allclose(noise, expected_noise(model, rows[0]), atol=1e-6)
    only_iso = run(model, iso=1600)
    assert [(row["iso"], row["camera"]) for row in only_iso] == [("1600", "GP"), ("1600", "N6")]


def test_the_seed_of_one_image_is_the_commands_own(folder, run, model):
    given = {"clean": str(folder / "b.npy"), "iso": 400, "camera": "IP", "seed": 2**31 - 1}
    (row,) = run(model, **given)
    assert row["seed"] == str(2**31 - 1)
    rows = run(model, seed=5)
    assert [int(row["seed"]) for row in rows[:2]] == [
        sampling_plan.draw_seed(5, name, 0) for name in ("a", "c")
    ]
    assert len({sampling_plan.draw_seed(5, f"{f}/a", d) for f in "xy" for d in (0, 1)}) == 4


def test_tiles_are_those_that_are_asked_for(folder, run, model, monkeypatch):
    asked = []
    known = nf.sample_image

    def note(*args, **options):
        asked.append(options["tile"])
        return known(*args, **options)

    monkeypatch.setattr(nf, "sample_image", note, raising=False)
    run(model, tile=3)
    assert asked == [3, 3]


def test_what_is_drawn_again_and_what_is_kept(folder, run, model):
    """Other conditions, or another's weights, are another draw; the record keeps all images."""
    out = folder / "out"

    def draw(name, **options):
        given = {"clean": str(folder / f"{name}.npy"), "iso": 100, "camera": "S6"}
        rows = run(model, **{**given, **options})
        return [row["output"] for row in rows], (out / f"{name}_noise.npy").stat().st_mtime_ns

    _, first = draw("a")
    order, again = draw("a")
    assert (order, again) == (["a"], first)
    order, _ = draw("b")
    assert order == ["b", "a"]
    for change in ({"iso": 800}, {"camera": "IP"}, {"temperature": 0.5}, {"seed": 1}):
        order, later = draw("a", **change)
        assert later > first, change
        assert order == ["a", "b"]
        first = later


def test_weights_that_are_not_trained_count_too():
    model = nf.NoiseFlow("unc", seed=0)
    before = sampling_plan.fingerprint(model)
    model.layers[0].network.moments1.mean.assign([0.0, 0.0, 0.0, 1e-6])
    assert sampling_plan.fingerprint(model) != before
    assert sampling_plan.fingerprint(nf.NoiseFlow("unc", seed=0)) == before


def test_a_folder_leaves_out_what_is_no_clean_image(tmp_path):
    for name in (
        "x_GT_RAW_010.MAT",
        "x_NOISY_RAW_010.MAT",
        "x_METADATA_RAW_010.MAT",
        "deep/er/y.npy",
        "notes.txt",
        "out/z.npy",
        "out/deeper/z.npy",
        "outside/z.npy",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sampling_plan.items(tmp_path, (".mat", ".npy"), tmp_path / "out")
    assert [item.name for item in found] == ["deep/er/y", "outside/z", "x_GT_RAW_010"]


def _pair(folder, real):
    """A frame of SIDD's, of a camera and ISO that its METADATA tell."""
    clean = np.random.default_rng(3).uniform(0.3, 0.6, (8, 12)).astype(np.float32)
    paths = [folder / f"0001_{kind}_RAW_010.MAT" for kind in ("GT", "NOISY", "METADATA")]
    sidd.write_raw(paths[0], clean)
    sidd.write_raw(paths[1], real(clean))
    sidd.write_metadata(paths[2], sidd.typical_metadata("N6", 1600))
    return paths[0], clean


def test_a_frame_of_sidd_is_compared_with_its_real_noise(folder, run, model, capsys):
    """The divergence of the sampled noise from the real one, in that order."""
    (folder / "frame").mkdir()
    rng = np.random.default_rng(4)
    path, clean = _pair(folder / "frame", lambda c: (c + rng.normal(0, 0.03, c.shape)).astype("f4"))
    (row,) = run(model, clean=str(path))
    assert (row["iso"], row["camera"]) == ("1600", "N6")
    noise = np.load(folder / "out" / "0001_GT_RAW_010_noise.npy")
    real = sidd.read_raw(folder / "frame" / "0001_NOISY_RAW_010.MAT") - clean
    told = capsys.readouterr().out
    kl = nf.metrics.marginal_kl(real, noise)
    assert kl != pytest.approx(nf.metrics.marginal_kl(noise, real), abs=1e-3)
    assert (
        f"N6, ISO 1600: standard deviation {noise.std():.5f} (real {real.std():.5f}), KL {kl:.4f}"
        in told
    )
    (row,) = run(model, clean=str(path), camera="IP", iso=100)[:1]
    assert (row["iso"], row["camera"]) == ("100", "IP")


def test_pictures_of_the_first_draw_or_of_all(folder):
    given = {"clean": str(folder / "a.npy"), "iso": 100, "camera": "S6", "draws": 3}
    for pictures, count in (("none", 0), ("first", 1), ("all", 3)):
        config = SampleConfig(model="m", pictures=pictures, **given)
        draws = [
            sampling_plan.Draw("a.npy", i, 100, "S6", i, 1.0, "m", "w", f"a_{i:03d}")
            for i in range(3)
        ]
        paths = [path.name for draw in draws for path in sample.outputs(config, draw)]
        assert sum(name.endswith("_samples.png") for name in paths) == count
        assert [n for n in paths if n.endswith("_samples.png")][:1] == ["a_000_samples.png"][:count]


def test_cameras_of_the_models_own(folder, run):
    own = nf.NoiseFlow("sdn5|gain4", seed=0, cameras=("A7", "B8"), iso_levels=(50, 200))
    given = {"clean": str(folder / "b.npy"), "camera": "B8"}
    (row,) = run(own, iso=50, **given)
    assert (row["iso"], row["camera"]) == ("50", "B8")
    noise = np.load(folder / "out" / "b_noise.npy")
    np.testing.assert_allclose(noise, expected_noise(own, row), atol=1e-6)
    with pytest.raises(ValueError, match="b.npy: unknown ISO 100; supported ISO levels: 50, 200"):
        run(own, iso=100, **given)
    (row,) = run(own, iso=100, iso_interpolation=True, **given)
    noise = np.load(folder / "out" / "b_noise.npy")
    np.testing.assert_allclose(noise, expected_noise(own, row), atol=1e-6)


@pytest.fixture
def drawn(folder, run, model):
    """Draws image a twice, with options; gives how many of the draws were made."""

    def drawn(own=model, **options):
        given = {"clean": str(folder / "a.npy"), "iso": 100, "camera": "S6", "draws": 2}
        before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*_noise.npy")}
        run(own, **given | options)
        now = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*_noise.npy")}
        return sum(before.get(path) != time for path, time in now.items())

    return drawn


def test_a_draw_is_kept_only_if_all_that_it_depends_on_is_as_before(
    folder, drawn, model, monkeypatch
):
    assert drawn() == 2
    assert drawn() == 0
    for options in ({"orientation": "file"}, {"tile": 4}, {"iso_interpolation": True}):
        assert drawn(**options) == 2
        assert drawn(**options) == 0
    model.iso_interpolation = False
    assert drawn() == 2
    np.save(folder / "a.npy", clean_image("a") * np.float32(0.9))
    assert drawn() == 2
    versions = run_folder.versions()
    for changed in ({"noise_flow_tf": "77"}, {"core": "compiled (other)"}):
        monkeypatch.setattr(run_folder, "versions", lambda now=changed: versions | now)
        assert drawn() == 2
        assert drawn() == 0


def test_outputs_that_are_gone_or_changed_are_made_again(folder, drawn, capsys):
    drawn()
    assert "made again" not in capsys.readouterr().out
    path = folder / "out" / "a_000_noise.npy"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-4], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        assert drawn() == 1
        assert "1 of 2 draws is made again: " in capsys.readouterr().out
        assert path.read_bytes() == whole
    (folder / "out" / "a_001_noisy.npy").unlink()
    assert drawn() == 1
    assert drawn() == 0


@pytest.mark.parametrize("length", [1, 30, 150, -1, -5, -20])
def test_a_record_that_a_kill_has_cut(folder, drawn, length):
    drawn()
    record = folder / "out" / "samples.csv"
    whole = record.read_text()
    record.write_text(whole[:length])
    drawn()
    assert record.read_text() == whole


def test_a_cut_row_of_a_record_that_stays_unfinished(folder, drawn):
    """The row is replaced by the next one that is added, not made longer."""
    drawn()
    record = sampling_plan.Record(folder / "out")
    whole = record.path.read_text()
    record.path.write_text(whole[:-3])
    first = next(iter(sampling_plan.Record(folder / "out")._done.values()))
    record.add(first, [])
    rows = list(csv.DictReader(record.path.open()))
    assert [row["output"] for row in rows] == ["a_000", "a_000"]
    assert all(None not in row and None not in row.values() for row in rows)


def test_records_of_earlier_versions_are_kept_and_completed(folder, drawn, run, model):
    out = folder / "out"
    out.mkdir()
    earlier = ["file,draw,iso,camera,seed,temperature,model,weights,output"]
    earlier += ["z.npy,0,100,S6,7,1.0,m,abc,z"]
    (out / "samples.csv").write_text("\n".join(earlier) + "\n")
    assert drawn() == 2
    rows = list(csv.DictReader((out / "samples.csv").open()))
    assert [(row["output"], bool(row["outputs"])) for row in rows] == [
        ("a_000", True),
        ("a_001", True),
        ("z", False),
    ]


def test_two_processes_with_one_folder_lose_no_rows(folder, drawn):
    """Each has read the record before the other has added to it."""
    drawn()
    records = [sampling_plan.Record(folder / "out") for _ in range(2)]
    known = next(iter(records[0]._done.values()))
    draws = [[replace(known, output=f"{name}{i}") for i in range(3)] for name in "pq"]
    for pair in zip(*draws, strict=True):
        for record, draw in zip(records, pair, strict=True):
            record.add(draw, [])
    for record, own in zip(records, draws, strict=True):
        record.finish(own)
    found = [row["output"] for row in csv.DictReader(records[0].path.open())]
    assert sorted(found) == ["a_000", "a_001", "p0", "p1", "p2", "q0", "q1", "q2"]


def test_a_file_of_the_records_name_is_not_overwritten(folder, drawn):
    (folder / "out").mkdir()
    for content in ("x", "file,dog\n", "file,draw,iso,camera,dog"):
        (folder / "out" / "samples.csv").write_text(content)
        with pytest.raises(ValueError, match="is not a record of sample.py"):
            drawn()


def test_what_killed_processes_left_is_removed(folder, drawn):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    drawn()
    left = folder / "out" / f".a_000_noise.npy.{place()}-{dead.pid}.tmp"
    left.touch()
    drawn()
    assert not left.exists()
