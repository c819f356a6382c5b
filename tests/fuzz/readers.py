"""Every reader, with a good input and what may come of a damaged one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

import sidd
from sidd.loading.cache import open_cached
from sidd.raw.bursts import read_burst
from sidd.raw.calibration import Calibration, read_calibrations, write_calibrations
from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst
from sidd.tools.extraction import extract
from tests import dng_files

PATCH = 16


@dataclass(frozen=True)
class Reader:
    """A reader of the file `file` in a folder with good inputs.

    `read` takes the folder; `same` says whether a result is what an undamaged file gives, or
    otherwise right.
    """

    file: str
    read: Callable[[Path], Any]
    same: Callable[[Any, Any], bool] = lambda result, good: True
    head: int = 1 << 20


def prepare(folder: Path) -> None:
    """Write a good input for each reader; this takes TensorFlow."""
    import noise_flow_tf as nf
    from noise_flow_tf.saving.run_folder import RunFolder

    root = sidd.write_synthetic(
        folder / "sidd", size=(128, 192), train_instances=1, test_instances=0, progress=False
    )
    frame = sidd.index(root)[0].frames[0]
    for kind, path in zip(("noisy", "clean", "metadata"), frame.files, strict=True):
        shutil.copy(path, folder / f"{kind}.MAT")
    image = sidd.read_raw(frame.noisy)
    with h5py.File(folder / "matlab.MAT", "w") as file:  # as MATLAB writes it: not shuffled
        file.create_dataset("x", data=image, chunks=(16, 16), compression="gzip")
    open_cached([frame], PATCH, folder / "cache", 1, True, False)
    for path in (folder / "cache").glob("[0-9]*"):
        path.rename(folder / f"cache{path.suffix}")
    for name in ("image", "other"):
        np.save(folder / f"{name}.npy", image)
    Image.fromarray((image * 65535).astype(np.uint16)).save(folder / "image.png")
    dng_files.write(folder / "image.dng")
    model = nf.NoiseFlow("sdn5|unc|gain4", seed=0)
    nf.save_npz(model, folder / "weights.npz")
    from noise_flow_tf.cli import train

    config = vars(train.parse(["--logdir", "run", "--arch", model.arch]))
    run = RunFolder(folder / "run")
    run.create({**config, "cameras": model.cameras, "iso_levels": model.iso_levels})
    shutil.copy(run.settings, folder / "settings.json")
    import scipy.io

    blocks = np.random.default_rng(0).random((1, 2, 16, 16)).astype(np.float32)
    for name in ("Noisy", "Gt"):
        key = f"Validation{name}BlocksRaw"
        scipy.io.savemat(folder / f"{name}.mat", {key: blocks}, do_compression=name == "Noisy")
    (folder / "list.txt").write_text("# images\nimage.npy,100,S6\n\nother.npy\n")
    (folder / "pairs.txt").write_text("# pairs\nimage.npy,image.npy,100,S6\n")
    shutil.make_archive(str(folder / "data"), "zip", folder, "list.txt")
    _prepare_models(folder, model)
    _prepare_burst(folder)


def _prepare_models(folder: Path, model: Any) -> None:
    import tensorflow as tf

    from noise_flow_tf.programs.sampling_plan import Draw, Record
    from noise_flow_tf.saving import saved_model
    from noise_flow_tf.saving.kinds import NOISE_MODEL
    from noise_flow_tf.saving.run_folder import RunFolder

    saved_model.save(model, folder / "model")
    run = RunFolder(folder / "run")
    checkpoint = tf.train.Checkpoint(**{NOISE_MODEL.key: model})
    checkpoint.write(str(run.best / "best-1"))
    rows = "epoch,nll,val_nll,seconds\n1,-2.5,-2.25,1.5\n2,-2.625,,1\n"
    run.history.write_text(rows, encoding="utf-8")
    record = Record(folder)
    for number in range(3):
        name = f"image_{number:03d}"
        draw = Draw("image.npy", number, 100, "S6", number, 1.0, "model", "0a1b", name)
        record.add(draw, [folder / "image.npy"])


def _prepare_burst(folder: Path) -> None:
    sensor = SimulatedSensor(slope=8e-4, read=2e-3)
    scene = textured_scene((32, 32), seed=0)
    write_burst(folder / "burst", sensor, scene, 3, seed=0, iso=640)
    picture = np.random.default_rng(0).integers(0, 256, (16, 18, 3), np.uint8)
    Image.fromarray(picture).save(folder / "photo.jpg", quality=95)
    four = (1e-4, 2e-4, 3e-4, 4e-4)
    numbers = dict.fromkeys(("slope", "offset", "slope_error", "offset_error"), four)
    counts = {"camera": "SONYA7", "iso": 640, "bursts": 2, "frames": 6}
    one = Calibration(**counts, **numbers, lowest=0.0, highest=1.0, notes=("dark",))
    write_calibrations(folder / "calibration.json", [one])


def _pair(noisy: str, clean: str = "clean.MAT", metadata: str = "metadata.MAT") -> Callable:
    return lambda folder: sidd.read_pair(folder / noisy, folder / clean, folder / metadata, "IP")


def _same_noise(one: Any, other: Any) -> bool:
    return np.array_equal(one.noise, other.noise) and np.array_equal(one.clean, other.clean)


def _finite(one: sidd.Metadata, other: sidd.Metadata) -> bool:
    numbers = (one.iso, one.nlf, one.as_shot_neutral, one.color_matrix1, one.color_matrix2)
    return all(np.isfinite(number).all() for number in numbers)


def _cache(folder: Path) -> list[np.ndarray]:
    frame = sidd.index(folder / "sidd")[0].frames[0]
    cache = folder / "opened"
    if not cache.exists():
        open_cached([frame], PATCH, cache, 1, True, False)
    for path in cache.glob("[0-9]*"):
        shutil.copyfile(folder / f"cache{path.suffix}", path)
    ((info, tiles),) = open_cached([frame], PATCH, cache, 1, True, False)
    size = min(info.height, info.width)
    values = np.empty((2, size, size, 4), np.float32)
    tiles.read(0, 0, *values)
    tiles.read(info.height - size, info.width - size, *values)
    return [values, np.array(info.nlf), np.array([info.iso, info.noise_sum, info.noise_squares])]


def _raw_image(name: str) -> Callable:
    def read(folder: Path) -> Any:
        from noise_flow_tf.programs import raw_images

        return raw_images.read_image(folder / name, "upright", log=lambda text: None)

    return read


def _weights(folder: Path) -> Any:
    from noise_flow_tf import native

    return native.load(folder / "weights.npz")


def _settings(folder: Path) -> Any:
    from noise_flow_tf.cli import train

    shutil.copy(folder / "settings.json", folder / "run/settings.json")
    return train.parse(["--logdir", str(folder / "run"), "--resume"])


def _blocks(folder: Path) -> Any:
    return list(sidd.read_blocks(folder / "Noisy.mat", folder / "Gt.mat"))


def _list(folder: Path) -> Any:
    from noise_flow_tf.programs import sampling_plan

    return sampling_plan.items(folder / "list.txt", (".npy", ".png"), folder / "out")


def _pairs(folder: Path) -> Any:
    from noise_flow_tf.programs import plain_pairs

    return plain_pairs.read_list(folder / "pairs.txt")


def _zip(folder: Path) -> Any:
    out = folder / "unpacked"
    shutil.rmtree(out, ignore_errors=True)
    return extract(folder / "data.zip", out, progress=False)


def _model(name: str) -> Callable:
    def read(folder: Path) -> list[np.ndarray]:
        import noise_flow_tf as nf

        return [variable.numpy() for variable in nf.load(folder / name).variables]

    return read


def _history(folder: Path) -> list[dict[str, float]]:
    from noise_flow_tf.saving.run_folder import RunFolder

    return RunFolder(folder / "run").read_history(2)


def _record(folder: Path) -> Any:
    from noise_flow_tf.programs.sampling_plan import Record

    return Record(folder)


def _burst(folder: Path) -> Any:
    return read_burst(sorted((folder / "burst").glob("*.dng")))


def _calibrations(folder: Path) -> list[Calibration]:
    return list(read_calibrations(folder / "calibration.json").values())


def _finite_calibrations(one: list[Calibration], other: list[Calibration]) -> bool:
    numbers = [value for c in one for value in (*c.slope, *c.offset, c.lowest, c.highest)]
    return bool(np.isfinite(numbers).all())


def _photograph(folder: Path) -> Any:
    from noise_flow_tf.programs import raw_images

    return raw_images.read_photograph(folder / "photo.jpg", log=lambda text: None)


def _manifest(folder: Path) -> Any:
    return sidd.read_manifest(folder / "sidd")


def _all_equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


READERS = {
    "NOISY": Reader("noisy.MAT", _pair("noisy.MAT"), _same_noise, 4600),
    "GT": Reader("clean.MAT", _pair("noisy.MAT"), _same_noise, 4600),
    "NOISY as of MATLAB": Reader("matlab.MAT", _pair("matlab.MAT"), _same_noise, 8000),
    "METADATA": Reader(
        "metadata.MAT", lambda folder: sidd.read_metadata(folder / "metadata.MAT", "IP"), _finite
    ),
    "cache, tiles": Reader("cache.npy", _cache, _all_equal),
    "cache, JSON": Reader("cache.json", _cache, _all_equal),
    "raw file": Reader("image.dng", lambda folder: sidd.read_dng(folder / "image.dng"), head=900),
    ".npy": Reader("image.npy", _raw_image("image.npy"), head=128),
    ".png": Reader("image.png", _raw_image("image.png"), head=64),
    "weights.npz": Reader("weights.npz", _weights),
    "settings.json": Reader("settings.json", _settings),
    "blocks": Reader("Gt.mat", _blocks, head=200),
    "compressed blocks": Reader("Noisy.mat", _blocks),
    "list of images": Reader("list.txt", _list),
    "list of pairs": Reader("pairs.txt", _pairs),
    "zip": Reader("data.zip", _zip),
    "synthetic.json": Reader("sidd/synthetic.json", _manifest),
    "SavedModel, JSON": Reader("model/noise_flow.json", _model("model")),
    "SavedModel, index": Reader("model/variables/variables.index", _model("model"), _all_equal),
    "SavedModel, weights": Reader(
        "model/variables/variables.data-00000-of-00001", _model("model"), _all_equal
    ),
    "checkpoint, index": Reader("run/checkpoints/best/best-1.index", _model("run"), _all_equal),
    "checkpoint, weights": Reader(
        "run/checkpoints/best/best-1.data-00000-of-00001", _model("run"), _all_equal
    ),
    "history.csv": Reader("run/history.csv", _history),
    "samples.csv": Reader("samples.csv", _record),
    "burst": Reader("burst/frame_000.dng", _burst, head=900),
    "calibration.json": Reader("calibration.json", _calibrations, _finite_calibrations),
    "photograph": Reader("photo.jpg", _photograph, head=700),
}


def names(reader: Reader) -> tuple[str, ...]:
    """Return what an error may call the damaged file, or its folder."""
    own = Path(reader.file)
    if own.parts[0] in ("model", "run"):  # which are files together
        return (own.name, own.parts[0])
    cached = ("opened/",) if own.stem == "cache" else ()
    in_pair = ("noisy.MAT", "matlab.MAT") if reader.file in ("clean.MAT",) else ()
    return (own.name, *cached, *in_pair, json.dumps(reader.file))
