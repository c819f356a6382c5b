import numpy as np
import pytest
from PIL import Image
from skimage.io import imread, imsave

import sidd
from noise_flow_tf.cli import parsing, sample


@pytest.fixture(scope="module")
def frame(dataset):
    return sidd.select_frames(sidd.index(dataset), "test", cameras=["S6"])[0]


@pytest.fixture(scope="module")
def pair(frame):
    return sidd.read_pair(frame.noisy, frame.clean, frame.metadata)


def call(*arguments):
    sample.main(list(map(str, arguments)))


def test_sidd_frame_in_a_process_of_its_own(script, run_folder, frame, pair, tmp_path):
    model, _ = run_folder
    done = script("sample.py", "--model", model, "--clean", frame.clean, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    stem = frame.clean.stem
    noise, noisy = (np.load(tmp_path / f"{stem}_{what}.npy") for what in ("noise", "noisy"))
    clean = sidd.unpack(pair.clean)
    assert noise.shape == clean.shape
    np.testing.assert_allclose(noisy, np.clip(clean + noise, 0, 1), atol=1e-6)
    assert imread(tmp_path / f"{stem}_samples.png").ndim == 3
    assert f"S6, ISO {frame.iso}" in done.stdout
    assert "KL" in done.stdout


@pytest.mark.parametrize("form", ["bayer.npy", "packed.npy", "grey.png", "file.npy"])
def test_forms_of_a_clean_image_give_the_same_noise(run_folder, frame, pair, tmp_path, form):
    """The noise of an array is that of the file, turned as the array is turned."""
    bayer = sidd.unpack(pair.clean)
    inputs = {"bayer.npy": bayer.T, "packed.npy": sidd.pack(bayer.T), "file.npy": bayer}
    given = tmp_path / form
    if form == "grey.png":
        imsave(given, np.round(bayer.T * 65535).astype(np.uint16), check_contrast=False)
    else:
        np.save(given, inputs[form])
    model = run_folder[0] / "saved_model"
    call("--model", model, "--clean", frame.clean, "--out", tmp_path / "mat")
    options = ["--orientation", "file"] if form == "file.npy" else []
    call(
        *("--model", model, "--clean", given, "--iso", frame.iso, "--camera", "S6"),
        *("--out", tmp_path / "other", *options),
    )
    expected = np.load(tmp_path / "mat" / f"{frame.clean.stem}_noise.npy")
    found = np.load(tmp_path / "other" / f"{given.stem}_noise.npy")
    if form == "packed.npy":
        assert found.shape[-1] == 4
        found = sidd.unpack(found)
    if form != "file.npy":
        found = found.T
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_seed_and_temperature(run_folder, frame, tmp_path):
    for name, options in {
        "a": ["--seed", 1],
        "same": ["--seed", 1],
        "b": ["--seed", 2],
        "cool": ["--seed", 1, "--temperature", 0.1],
    }.items():
        out = tmp_path / name
        call("--model", run_folder[0], "--clean", frame.clean, "--out", out, *options)
    a, same, b, cool = (
        np.load(tmp_path / name / f"{frame.clean.stem}_noise.npy")
        for name in ("a", "same", "b", "cool")
    )
    np.testing.assert_array_equal(a, same)
    assert not np.array_equal(a, b)
    assert cool.std() < 0.2 * a.std()


def test_released_checkpoint_samples_an_image_of_any_even_size(reference, tmp_path):
    np.save(tmp_path / "flat.npy", np.full((38, 54), 0.4))
    call(
        *("--model", reference / "release_checkpoint" / "model.ckpt.best"),
        *("--clean", tmp_path / "flat.npy", "--iso", 800, "--camera", "GP", "--out", tmp_path),
    )
    noise = np.load(tmp_path / "flat_noise.npy")
    assert noise.shape == (38, 54)
    assert 0.001 < noise.std() < 0.2


def test_real_sidd_files_are_cleaned_as_for_training(reference, run_folder, tmp_path):
    """The sample of SIDD's files has values outside [0, 1]."""
    clean = next(reference.glob("sidd_sample/Data/*/*_GT_RAW_010.MAT"))
    call("--model", run_folder[0], "--clean", clean, "--out", tmp_path)
    noisy = np.load(tmp_path / f"{clean.stem}_noisy.npy")
    assert noisy.shape == sidd.read_raw(clean).shape
    assert 0 <= noisy.min() <= noisy.max() <= 1


@pytest.mark.parametrize("size", [(2, 2), (2, 100), (6, 2)])
def test_smallest_images(run_folder, tmp_path, size):
    np.save(tmp_path / "small.npy", np.full(size, 0.5))
    call(
        *("--model", run_folder[0], "--clean", tmp_path / "small.npy", "--iso", 100),
        *("--camera", "G4", "--out", tmp_path),
    )
    assert np.load(tmp_path / "small_noise.npy").shape == size


def test_input_beside_the_results_is_kept(run_folder, tmp_path):
    given = tmp_path / "raw.png"
    imsave(given, np.full((8, 8), 99, np.uint8), check_contrast=False)
    before = given.read_bytes()
    call(
        *("--model", run_folder[0], "--clean", given, "--iso", 100, "--camera", "S6"),
        *("--out", tmp_path),
    )
    assert given.read_bytes() == before
    assert len([path for path in tmp_path.iterdir() if path.name != ".lock"]) == 5


def bad_inputs(folder):
    np.save(folder / "odd.npy", np.zeros((5, 8)))
    np.save(folder / "rgb.npy", np.zeros((4, 8, 3)))
    np.save(folder / "large.npy", np.full((4, 8), 1023.0))
    np.save(folder / "nan.npy", np.full((4, 8), np.nan))
    np.save(folder / "ints.npy", np.zeros((4, 8), int))
    np.save(folder / "fine.npy", np.full((8, 8), 0.5))
    np.save(folder / "pickle.npy", np.array([{}]), allow_pickle=True)
    (folder / "text.npy").write_text("no array")
    (folder / "text.png").write_text("no picture")
    (folder / "text.MAT").write_text("no matrix")
    np.save(folder / "empty.npy", np.zeros((0, 8)))
    imsave(folder / "cut.png", np.arange(4096, dtype=np.uint16).reshape(64, 64))
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-20])
    Image.fromarray(np.zeros((8, 8), bool)).save(folder / "bits.png")
    imsave(folder / "rgb.png", np.zeros((4, 8, 3), np.uint8), check_contrast=False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clean": "nowhere.npy"}, "nowhere.npy: no such file"),
        ({"clean": "odd.npy"}, "odd.npy"),
        ({"clean": "rgb.npy"}, "[H, W] Bayer or [H, W, 4] packed; got [4, 8, 3]"),
        ({"clean": "large.npy"}, "values must be finite and in [0, 1]; got 1023.0 to 1023.0"),
        ({"clean": "nan.npy"}, "values must be finite"),
        ({"clean": "ints.npy"}, "values must be floats in [0, 1]"),
        ({"clean": "pickle.npy"}, "pickle.npy: expected numbers in a .npy file; got object"),
        ({"clean": "text.npy"}, "text.npy: not a readable .npy file"),
        ({"clean": "text.png"}, "text.png: not a readable PNG"),
        ({"clean": "rgb.png"}, "a raw PNG has one channel"),
        ({"clean": "text.MAT"}, "text.MAT"),
        ({"clean": "empty.npy"}, "empty.npy: a raw image is"),
        ({"clean": "cut.png"}, "cut.png: not a readable PNG"),
        ({"clean": "bits.png"}, "bits.png: a raw PNG has one channel of 8 or 16 bits"),
        ({"clean": "movie.mp4"}, "unknown kind of raw image; give a .MAT, .npy, .png or raw file"),
        ({"iso": 200}, "unknown ISO 200; supported ISO levels: 100, 400, 800, 1600, 3200"),
        ({"camera": "Z9"}, "unknown camera Z9"),
        ({"camera": None}, "give --iso and --camera"),
        ({"iso": 0}, "ISO must be positive; got 0"),
        ({"camera": ""}, "unknown camera"),
        ({"seed": 2**32}, "seed must be a whole number"),
        ({"temperature": -0.5}, "temperature must be finite and not negative"),
        ({"out": "movie.mp4"}, "--out movie.mp4 is a file"),
        ({"real": "odd.npy"}, "odd.npy"),
        ({"model": "nowhere"}, "holds no model; give a run folder of noise-flow train"),
        ({"metadata": "text.MAT"}, "text.MAT"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    monkeypatch, capsys, tmp_path, run_folder, changed, message
):
    monkeypatch.chdir(tmp_path)
    bad_inputs(tmp_path)
    (tmp_path / "movie.mp4").touch()
    options = {"model": run_folder[0], "clean": "fine.npy", "iso": 100, "camera": "S6"}
    options |= {"out": "out"} | changed
    arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(lambda: call(*arguments))
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]
    assert not (tmp_path / "out").exists()
