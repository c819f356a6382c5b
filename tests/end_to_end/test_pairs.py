"""Training on a list of plain pairs, by the command."""

import json

import numpy as np
import pytest
from PIL import Image

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli.main import main

SLOPE, OFFSET = 2e-3, 2e-5


def write_pair(folder, number, form="npy", shape=(96, 80)):
    rng = np.random.default_rng(number)
    clean = np.tile(np.linspace(0.0, 0.9, shape[1], dtype=np.float32), (shape[0], 1))
    noisy = clean + np.sqrt(SLOPE * clean + OFFSET) * rng.normal(size=shape)
    paths = [folder / f"{kind}{number}.{form}" for kind in ("clean", "noisy")]
    for path, image in zip(paths, (clean, noisy), strict=True):
        if form == "npy":
            np.save(path, image.astype(np.float32))
        elif form == "png":
            values = np.rint(np.clip(image, 0, 1) * 65535).astype(np.uint16)
            Image.fromarray(values).save(path)
        else:
            sidd.write_raw(path, image.T)
    return ",".join(path.name for path in paths)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shots").mkdir()
    return tmp_path / "shots"


def train(folder, *flags):
    run = folder.parent / "run"
    main(["train", "--pairs", str(folder / "list.csv"), "--logdir", str(run), "--cache",
          str(folder.parent / "cache"), *map(str, flags)])  # fmt: skip
    return run


def test_a_model_of_plain_pairs(folder, capsys):
    """Three kinds of files of one's own camera, at ISO levels that SIDD does not have."""
    lines = [
        f"{write_pair(folder, n, form)},{iso},SONYA7"
        for iso in (250, 12800)
        for n, form in enumerate(("npy", "png", "MAT", "npy"), iso)
    ]
    (folder / "list.csv").write_text("# CLEAN,NOISY,ISO,CAMERA\n\n" + "\n".join(lines) + "\n")
    run = train(folder, "--arch", "S-G-CAM", "--epochs", 1)
    printed = capsys.readouterr().out
    assert "SONYA7, ISO 250: 4 scenes, for testing: 2" in printed
    assert "SONYA7, ISO 12800: 4 scenes, for testing: 6" in printed
    assert "SONYA7: ISO levels added for it: 250, 12800" in printed
    model = nf.load(run)
    assert (model.cameras, model.iso_levels) == (("SONYA7",), (250, 12800))
    (root,) = (folder.parent / "cache").glob("pairs-*")
    frames = sidd.select_frames(sidd.index(root), cameras=["SONYA7"])
    assert len(frames) == 8
    for frame in frames:
        pair = sidd.read_pair(*frame.files)
        assert pair.nlf[0] == pytest.approx(SLOPE, rel=0.1)
        assert pair.nlf[1] == pytest.approx(OFFSET, rel=0.3)
        rows = pair.clean[..., 0]  # in file orientation: intensity rises along the first axis
        assert (np.diff(rows, axis=0) > 0).all() and np.allclose(np.diff(rows, axis=1), 0)
    assert min(sidd.read_pair(*f.files).noise.min() for f in frames) < -0.01
    assert json.loads((run / "settings.json").read_text())["iso_levels"] == [250, 12800]


@pytest.mark.slow
def test_pairs_of_sidd_s_cameras_are_no_scenes_of_sidd(folder):
    lines = [f"{write_pair(folder, n)},800,S6" for n in range(3)]
    (folder / "list.csv").write_text("\n".join(lines))
    run = train(folder, "--arch", "S-G", "--epochs", 1)
    assert nf.load(run).cameras == nf.CAMERAS


@pytest.mark.slow
def test_the_noise_level_function_is_of_the_training_pairs(folder, capsys):
    """The second pair, which is for testing, has three times the noise."""
    for n in range(3):
        write_pair(folder, n)
    clean, noisy = (np.load(folder / f"{kind}1.npy") for kind in ("clean", "noisy"))
    np.save(folder / "noisy1.npy", clean + 3 * (noisy - clean))
    lines = [f"clean{n}.npy,noisy{n}.npy,800,A7" for n in range(3)]
    (folder / "list.csv").write_text("\n".join(lines))
    train(folder, "--arch", "S-G", "--epochs", 1)
    assert "A7, ISO 800: 3 scenes, for testing: 2" in capsys.readouterr().out
    (root,) = (folder.parent / "cache").glob("pairs-*")
    for frame in sidd.select_frames(sidd.index(root), cameras=["A7"]):
        assert sidd.read_pair(*frame.files).nlf[0] == pytest.approx(SLOPE, rel=0.1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clean0.npy,noisy0.npy,800", "line 3: expected CLEAN,NOISY,ISO,CAMERA; got 'clean0.npy,"),
        ("clean0.npy,noisy0.npy,eight,A7", "line 3: ISO must be a positive whole number; got 'ei"),
        ("clean0.npy,noisy0.npy,0,A7", "line 3: ISO must be a positive whole number; got '0'"),
        ("clean0.npy,noisy0.npy,800,a7", "line 3: a camera's code is two to eight capitals"),
        ("clean9.npy,noisy0.npy,800,A7", "clean9.npy: no such file"),
        ("clean0.npy,small.npy,800,A7", "line 3: {0}/small.npy: has packed shape [5, 5, 4], but"),
        (
            "noisy0.npy,noisy0.npy,800,A7",
            "line 3: {0}/noisy0.npy: values must be finite and in [0,",
        ),
        (
            "clean0.npy,counts.npy,800,A7",
            "line 3: {0}/counts.npy: values must be finite and in [-0",
        ),
        ("clean0.npy,photo.jpg,800,A7", "photo.jpg: unknown kind of raw image"),
    ],
)
def test_a_bad_line_is_named(folder, capsys, line, message):
    write_pair(folder, 0)
    np.save(folder / "small.npy", np.zeros((10, 10), np.float32))
    np.save(folder / "counts.npy", np.full((96, 80), 900.0, np.float32))
    (folder / "photo.jpg").write_bytes(b"")
    (folder / "list.csv").write_text(f"# a list\n\n{line}\n")
    with pytest.raises(SystemExit) as ended:
        train(folder)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "list.csv, line 3: " in printed and message.format(folder) in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (folder.parent / "run").exists()
    assert not list(folder.parent.glob("cache/pairs-*"))


def test_one_pair_cannot_be_split(folder, capsys):
    (folder / "list.csv").write_text(f"{write_pair(folder, 0)},800,A7")
    with pytest.raises(SystemExit):
        train(folder)
    assert "no test frame left: none is of split test; there are train (1 frame)" in (
        capsys.readouterr().err
    )
