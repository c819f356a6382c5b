"""Noise for NumPy arrays without TensorFlow."""

import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

import noise_flow_tf as nf
from noise_flow_tf import architecture, native
from noise_flow_tf.native import library

pytestmark = pytest.mark.skipif(not library.available(), reason="no compiled core")

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (4, 11, 19, 4)
RANDOM = np.random.default_rng(0)
CLEAN = RANDOM.uniform(-0.02, 1, SHAPE).astype(np.float32)
LATENT = RANDOM.normal(size=SHAPE).astype(np.float32)
ISO, CAMERA = [100, 3200, 800, 400], ["S6", "GP", "IP", "N6"]
ARCHITECTURES = [*architecture.PAPER_NAMES, *architecture.CODES, "eq12|unc|eq16", "unc|sdn6|eq14"]


def perturbed(arch="sdn5|unc|gain4|unc", width=4):
    model = nf.NoiseFlow(arch, width, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if not variable.name.startswith(("permutation", "signs", "variance")):
            variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


def both(tmp_path, model):
    path = tmp_path / "noise_flow.npz"
    nf.save_npz(model, path)
    return native.load(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "noise_flow.npz"
    nf.save_npz(perturbed(), path)
    return path


@pytest.fixture(scope="module")
def model(weights):
    return native.load(weights)


def assert_same(ours, theirs, iso=ISO, camera=CAMERA):
    p = theirs(CLEAN, iso, camera)
    noise = ours.sample(CLEAN, iso, camera, latent=LATENT)
    expected = p.noise_of(LATENT).numpy()
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    latent, log_prob = ours.latent_and_log_prob(noise, CLEAN, iso, camera)
    np.testing.assert_allclose(latent, LATENT, atol=1e-4)
    dimensions = noise[0].size
    np.testing.assert_allclose(log_prob / dimensions, p.log_prob(noise) / dimensions, atol=5e-6)
    np.testing.assert_array_equal(log_prob, ours.log_prob(noise, CLEAN, iso, camera))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_it_is_the_model_of_tensorflow(tmp_path, arch):
    theirs = perturbed(arch)
    ours = both(tmp_path, theirs)
    assert ours.arch == theirs.arch
    assert ours.cameras == tuple(theirs.cameras) and ours.iso_levels == tuple(theirs.iso_levels)
    assert_same(ours, theirs)
    assert_same(ours, theirs, 1600, 3)


@pytest.mark.parametrize("arch", ["sdn5|unc|gain4|unc", "eq12|unc|eq16", "sdn6|eq14"])
def test_between_iso_levels(tmp_path, arch):
    theirs = perturbed(arch)
    theirs.iso_interpolation = True
    ours = both(tmp_path, theirs)
    assert ours.iso_interpolation
    assert_same(ours, theirs, [150, 3199, 800, 100], CAMERA)
    assert_same(ours, theirs, 1234.5, "S6")
    for iso in (99, 3201, -100, 0, np.nan, np.inf):
        with pytest.raises(ValueError, match="unknown ISO"):
            ours.sample(CLEAN, iso, "S6")


def test_an_added_camera_and_another_width(tmp_path):
    theirs = perturbed("sdn5|unc|gain4", width=7).with_camera("P9")
    ours = both(tmp_path, theirs)
    assert "P9" in ours.cameras
    assert_same(ours, theirs, ISO, ["S6", "P9", "P9", "N6"])


def test_single_images_and_kinds_of_arrays(model):
    whole = model.sample(CLEAN, ISO, CAMERA, latent=LATENT)
    for i in range(len(CLEAN)):
        alone = model.sample(CLEAN[i], np.int64(ISO[i]), np.str_(CAMERA[i]), latent=LATENT[i])
        np.testing.assert_array_equal(alone, whole[i])
        assert model.log_prob(alone, CLEAN[i], ISO[i], CAMERA[i]).shape == ()
    wide = model.sample(CLEAN.astype(np.float64), np.array(ISO), CAMERA, latent=LATENT)
    np.testing.assert_array_equal(wide, whole)
    flipped = model.sample(CLEAN[:, ::-1, ::2], ISO, CAMERA, latent=LATENT[:, ::-1, ::2])
    contiguous = np.ascontiguousarray
    again = model.sample(
        contiguous(CLEAN[:, ::-1, ::2]), ISO, CAMERA, latent=contiguous(LATENT[:, ::-1, ::2])
    )
    np.testing.assert_array_equal(flipped, again)
    assert model.sample(CLEAN[:0], 800, "S6").shape == (0, *SHAPE[1:])
    assert model.log_prob(CLEAN[:0], CLEAN[:0], 800, "S6").shape == (0,)
    read_only = CLEAN.copy()
    read_only.flags.writeable = False
    model.sample(read_only, 800, "S6")


def test_seeds_and_temperature(model):
    first, again, other = (model.sample(CLEAN, 800, "S6", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    drawn, anew = (model.sample(CLEAN, 800, "S6") for _ in range(2))
    assert not np.array_equal(drawn, anew)
    np.testing.assert_array_equal(
        model.sample(CLEAN, 800, "S6", seed=1, temperature=0),
        model.sample(CLEAN, 800, "S6", latent=np.zeros(SHAPE, np.float32)),
    )


def test_arguments_are_not_changed(model):
    clean, latent = CLEAN.copy(), LATENT.copy()
    noise = model.sample(clean, ISO, CAMERA, latent=latent, temperature=0.5)
    kept = noise.copy()
    model.log_prob(noise, clean, ISO, CAMERA)
    for now, before in ((clean, CLEAN), (latent, LATENT), (noise, kept)):
        np.testing.assert_array_equal(now, before)


def spoiled(value):
    clean = CLEAN.copy()
    clean[1, 2, 3, 0] = value
    return clean


REFUSED = {
    "nan": ((spoiled(np.nan), 800, "S6"), "raw intensities"),
    "infinite": ((spoiled(np.inf), 800, "S6"), "raw intensities"),
    "not normalised": ((CLEAN * 1023, 800, "S6"), "normalise raw values"),
    "integers": (((CLEAN * 255).astype(np.uint8), 800, "S6"), "floating-point.*uint8"),
    "complex": ((CLEAN.astype(complex), 800, "S6"), "floating-point"),
    "text": ((np.array("clean"), 800, "S6"), "floating-point"),
    "three channels": ((CLEAN[..., :3], 800, "S6"), "must have shape"),
    "two axes": ((CLEAN[0, ..., 0], 800, "S6"), "must have shape"),
    "five axes": ((CLEAN[None], 800, "S6"), "must have shape"),
    "no rows": ((CLEAN[:, :0], 800, "S6"), "must have shape"),
    "unknown ISO": ((CLEAN, 801, "S6"), "unknown ISO 801; supported ISO levels: 100,"),
    "ISO as text": ((CLEAN, "800", "S6"), "unknown ISO '800'"),
    "no ISO": ((CLEAN, None, "S6"), "unknown ISO None"),
    "true ISO": ((CLEAN, True, "S6"), "unknown ISO True"),
    "too few ISOs": ((CLEAN, [100, 800], "S6"), "one for each of the 4 images"),
    "ISOs of two axes": ((CLEAN, [[100] * 4], "S6"), "one for each of the 4 images"),
    "unknown camera": ((CLEAN, 800, "XX"), "unknown camera 'XX'; supported cameras: .*S6"),
    "camera out of range": ((CLEAN, 800, 5), "unknown camera 5"),
    "negative camera": ((CLEAN, 800, -1), "unknown camera -1"),
    "fractional camera": ((CLEAN, 800, 1.5), "unknown camera 1.5"),
    "true camera": ((CLEAN, 800, True), "unknown camera True"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(model, name):
    arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as refused:
        model.sample(*arguments)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=message):
        model.log_prob(np.zeros_like(CLEAN), *arguments)


def test_refusals_of_latents_noise_and_temperatures(model):
    with pytest.raises(ValueError, match="latent must have the shape of clean"):
        model.sample(CLEAN, 800, "S6", latent=LATENT[:2])
    with pytest.raises(ValueError, match="latent must be floating-point"):
        model.sample(CLEAN, 800, "S6", latent=np.zeros(SHAPE, int))
    with pytest.raises(ValueError, match="noise must have the shape of clean"):
        model.log_prob(LATENT[0], CLEAN, 800, "S6")
    for temperature in (-1, np.nan, np.inf, [1.0, 2.0]):
        with pytest.raises(ValueError, match="temperature must be finite and not negative"):
            model.sample(CLEAN, 800, "S6", temperature=temperature)


def test_noise_that_is_nan_has_no_density(model):
    noise = np.zeros(SHAPE, np.float32)
    noise[2, 0, 0, 0] = np.nan
    found = model.log_prob(noise, CLEAN, 800, "S6")
    np.testing.assert_array_equal(np.isnan(found), [False, False, True, False])


# Files.


def changed(weights, path, **changes):
    with np.load(weights) as file:
        content = dict(file)
    about = json.loads(str(content["about"]))
    for name, value in changes.pop("about", {}).items():
        about[name] = value
    content["about"] = np.array(json.dumps(about))
    for name, value in changes.items():
        content.pop(name, None)
        if value is not None:
            content[name] = value
    np.savez(path, **content)
    return path


def cut(part):
    def make(weights, path):
        data = weights.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])

    return make


def flipped(weights, path):
    data = bytearray(weights.read_bytes())
    with zipfile.ZipFile(weights) as archive:
        at = archive.getinfo("2/0.npy").header_offset + 200
    data[at] ^= 255
    path.write_bytes(data)


def pickled(weights, path):
    np.savez(path, about=np.array([{"a": 1}], dtype=object))


DAMAGED = {
    "empty": lambda weights, path: path.write_bytes(b""),
    "text": lambda weights, path: path.write_text("weights\n"),
    "cut at the start": cut(0.1),
    "cut at the end": cut(0.95),
    "a flipped byte": flipped,
    "another npz": lambda weights, path: np.savez(path, weights=np.zeros(3)),
    "one array": lambda weights, path: np.save(path.open("wb"), np.zeros(3)),
    "a pickle": pickled,
    "a folder": lambda weights, path: path.mkdir(),
    "a missing parameter": lambda w, p: changed(w, p, **{"1/2": None}),
    "a missing op table": lambda w, p: changed(w, p, ops=None),
    "another shape": lambda w, p: changed(w, p, **{"2/0": np.zeros((3, 3, 2, 5), np.float32)}),
    "a scalar": lambda w, p: changed(w, p, **{"1/2": np.float32(0)}),
    "NaN": lambda w, p: changed(w, p, **{"1/2": np.full(4, np.nan, np.float32)}),
    "float64": lambda w, p: changed(w, p, **{"1/2": np.zeros(4)}),
    "an unknown op": lambda w, p: changed(w, p, ops=np.array([[9, 0]], np.int32)),
    "ops of one column": lambda w, p: changed(w, p, ops=np.array([[1]], np.int32)),
    "ops of no axis": lambda w, p: changed(w, p, ops=np.int32(1)),
    "a width of zero": lambda w, p: changed(w, p, ops=np.array([[4, 0]], np.int32)),
    "another format": lambda w, p: changed(w, p, about={"format": 99}),
    "cameras that are a number": lambda w, p: changed(w, p, about={"cameras": 5}),
    "one camera too few": lambda w, p: changed(w, p, about={"cameras": ["S6"]}),
    "levels as text": lambda w, p: changed(w, p, about={"iso_levels": ["a"] * 5}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_other_and_damaged_files_are_refused(weights, tmp_path, name):
    path = tmp_path / "file.npz"
    DAMAGED[name](weights, path)
    with pytest.raises(ValueError, match="file.npz: not weights that noise_flow_tf.save_npz wrote"):
        native.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        native.load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        nf.save_npz(perturbed("gain4"), tmp_path / "weights.npy")


def test_it_needs_no_tensorflow(weights):
    program = """
        import sys
        from pathlib import Path
        import numpy as np
        from noise_flow_tf import native

        model = native.load(Path(sys.argv[1]))
        clean = np.full([2, 32, 32, 4], 0.3)
        noise = model.sample(clean, iso=800, camera="S6", seed=0)
        assert np.isfinite(model.log_prob(noise, clean, 800, "S6")).all()
        heavy = {"tensorflow", "tensorflow_probability", "keras", "tf_keras", "scipy", "h5py"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(weights)]
    subprocess.run(command, cwd=ROOT, check=True)
