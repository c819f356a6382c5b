import csv

import h5py
import numpy as np
import pytest
from PIL import Image
from skimage.io import imread

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli import parsing, sample


def call(*arguments):
    sample.main(list(map(str, arguments)))


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("[!.]*.*")}


@pytest.fixture
def images(tmp_path):
    """Three Bayer images, two of them with one name in two folders."""
    rng = np.random.default_rng(0)
    for name in ("a.npy", "sub/a.npy", "b.npy"):
        path = tmp_path / "clean" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.uniform(0.1, 0.9, (12, 16)).astype(np.float32))
    return tmp_path / "clean"


@pytest.fixture
def many(run_folder, images, tmp_path, monkeypatch):
    """Samples a folder twice for each image, with further options; gives the results' folder."""
    monkeypatch.chdir(tmp_path)

    def run(name, *options):
        given = ("--iso", 800, "--camera", "S6", "--pictures", "none", "--draws", 2)
        call("--model", run_folder[0], "--clean", "clean", *given, "--out", name, *options)
        return tmp_path / name

    return run


def test_a_folder_and_what_was_drawn(many, run_folder, images):
    out = many("out", "--temperature", 0.5)
    with (out / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["output"] for row in rows] == [
        f"{name}_{draw:03d}" for name in ("a", "b", "sub/a") for draw in range(2)
    ]
    assert len({row["seed"] for row in rows}) == 6
    model = nf.load(run_folder[0])
    for row in rows:
        assert (row["iso"], row["camera"], row["temperature"]) == ("800", "S6", "0.5")
        clean = sidd.pack(np.load(images.parent / row["file"]).T)
        expected = nf.sample_image(model, clean, 800, "S6", int(row["seed"]), 0.5)
        found = np.load(out / f"{row['output']}_noise.npy")
        np.testing.assert_allclose(found.T, sidd.unpack(expected), atol=1e-6)


def test_a_resumed_and_a_reordered_run_give_the_same_files(many, images):
    whole = files(many("whole"))
    resumed = many("resumed")
    lost = resumed / "sub" / "a_001_noise.npy"
    lost.unlink()
    record = resumed / "samples.csv"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join([lines[0], lines[3], lines[1][:20]]))
    kept = resumed / "b_000_noise.npy"
    before = kept.stat().st_mtime_ns
    many("resumed")
    assert kept.stat().st_mtime_ns == before
    assert files(resumed) == whole
    (images / "a.npy").unlink()
    fewer = files(many("fewer"))
    assert {name: whole[name] for name in fewer if name != "samples.csv"} == {
        name: values for name, values in fewer.items() if name != "samples.csv"
    }
    assert files(many("other", "--seed", 1)).keys() == fewer.keys()
    assert files(many("other", "--seed", 1))["b_000_noise.npy"] != fewer["b_000_noise.npy"]


def test_another_seed_is_drawn_over_what_is_there(many):
    first = files(many("out"))
    again = files(many("out", "--seed", 1))
    assert first.keys() == again.keys()
    assert all(first[name] != again[name] for name in first)


def test_a_list_names_conditions(run_folder, images, tmp_path):
    (tmp_path / "list.csv").write_text("clean/b.npy,100,GP\n\nclean/sub/a.npy,3200,N6\n")
    call("--model", run_folder[0], "--clean", tmp_path / "list.csv", "--out", tmp_path / "out")
    with (tmp_path / "out" / "samples.csv").open() as file:
        rows = [(r["output"], r["iso"], r["camera"]) for r in csv.DictReader(file)]
    assert rows == [("b", "100", "GP"), ("a", "3200", "N6")]
    assert imread(tmp_path / "out" / "b_samples.png").ndim == 3


def test_a_sidd_folder_in_all_formats(run_folder, dataset, tmp_path):
    out = tmp_path / "out"
    call(
        *("--model", run_folder[0], "--clean", dataset, "--out", out, "--pictures", "none"),
        *("--formats", "npy", "mat", "png"),
    )
    frames = [frame for instance in sidd.index(dataset) for frame in instance.frames]
    assert len(list(out.rglob("*_noisy.MAT"))) == len(frames)
    stem = frames[0].clean.relative_to(dataset).with_suffix("")
    noisy = np.load(out / f"{stem}_noisy.npy")
    np.testing.assert_array_equal(sidd.read_raw(out / f"{stem}_noisy.MAT"), noisy)
    with h5py.File(out / f"{stem}_noisy.MAT") as file:
        assert list(file) == ["x"]
    png = imread(out / f"{stem}_noisy.png")
    assert png.dtype == np.uint16
    np.testing.assert_allclose(png / 65535, noisy.T, atol=1 / 65535)


def test_iso_between_levels(run_folder, images, tmp_path):
    arguments = ["--model", run_folder[0], "--clean", images / "b.npy", "--iso", 1000]
    arguments += ["--camera", "S6", "--out", tmp_path / "out"]
    with pytest.raises(
        ValueError, match=r"b.npy: unknown ISO 1000; supported ISO levels: 100, 400"
    ):
        call(*arguments)
    call(*arguments, "--iso_interpolation")
    assert (tmp_path / "out" / "b_noisy.npy").is_file()


def picture(path, mode="RGB", size=(30, 20), **options):
    height, width = size[1], size[0]
    ramp = np.linspace(40, 210, height * width).reshape(height, width).astype(np.uint8)
    image = Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=-1)).convert(mode)
    image.save(path, **options)
    return np.asarray(image.convert("RGB"))


def from_srgb(run_folder, path, out):
    call(
        *("--model", run_folder[0], "--from_srgb", "--clean", path, "--out", out),
        *("--iso", 100, "--camera", "S6", "--temperature", 0),
    )
    return imread(out / f"{path.stem}_srgb.png")


def test_a_photograph_comes_back(run_folder, tmp_path):
    """Without noise, but for what the demosaic does to the last rows."""
    expected = picture(tmp_path / "photo.png")
    noisy = from_srgb(run_folder, tmp_path / "photo.png", tmp_path / "out").astype(int)
    assert noisy.shape == (20, 30, 3)
    assert np.abs(noisy - expected)[4:-4, 4:-4].mean() < 8


def test_odd_sizes_are_cropped_with_a_word(run_folder, tmp_path, capsys):
    picture(tmp_path / "odd.png", size=(31, 21))
    assert from_srgb(run_folder, tmp_path / "odd.png", tmp_path / "out").shape == (20, 30, 3)
    assert "odd.png: cropped from 31 x 21 to 30 x 20 pixels" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK"])
def test_kinds_of_pictures(run_folder, tmp_path, mode):
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    picture(path, mode)
    assert from_srgb(run_folder, path, tmp_path / "out").shape == (20, 30, 3)


def test_exif_orientation(run_folder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "turned.jpg", exif=exif)
    assert from_srgb(run_folder, tmp_path / "turned.jpg", tmp_path / "out").shape == (30, 20, 3)


def _list(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "l.txt").write_text("\n".join(names))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: (p / "empty").mkdir(), {"clean": "empty"}, "empty: no clean image found"),
        (lambda p: (p / "l.txt").write_text(""), {"clean": "l.txt"}, "the list names no image"),
        (
            lambda p: (p / "l.txt").write_text("# first\n\na.npy"),
            {"clean": "l.txt"},
            "l.txt: line 3: a.npy: no such file",
        ),
        (
            lambda p: (p / "l.txt").write_text("a.npy,100"),
            {"clean": "l.txt"},
            "line 1 must be PATH or PATH,ISO,CAMERA; got 'a.npy,100'",
        ),
        (
            lambda p: _list(p, "a.npy", "sub/a.npy"),
            {"clean": "l.txt"},
            "would both be written as a",
        ),
        (lambda p: (p / "l.txt").write_text("gone.npy"), {"clean": "l.txt"}, "no such file"),
        (
            lambda p: _list(p, "a.npy", "b.npy"),
            {"clean": "l.txt", "real": "a.npy"},
            "--real and --metadata are for one clean image",
        ),
        (
            lambda p: ((p / "out").mkdir(), (p / "out" / "samples.csv").write_text("x")),
            {"clean": "a.npy"},
            "is not a record of sample.py",
        ),
        (
            lambda p: (p / "x.jpg").write_text("x"),
            {"clean": "x.jpg", "from_srgb": ""},
            "x.jpg: not a readable picture",
        ),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capsys, tmp_path, run_folder, make, options, message):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    options = {"model": run_folder[0], "iso": 100, "camera": "S6", "out": "out"} | options
    arguments = [f"--{k}={v}" if v != "" else f"--{k}" for k, v in options.items()]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(lambda: call(*arguments))
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]
