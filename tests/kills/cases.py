"""The commands that are killed: how each begins, goes on, and what its result is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising, native
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.file_system import sha256
from noise_flow_tf.saving.run_folder import DenoiserRun, RunFolder
from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst
from tests.processes import command

Result = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What the commands work on."""

    dataset: Path
    cache: Path
    shots: Path
    model: Path
    run: Path


@dataclass(frozen=True)
class Case:
    """A command that can be given again after a kill, and what is compared then.

    Attributes:
        line: the command, which writes to a folder.
        result: what must be equal, bit for bit, when it has ended.
        whole: checks a folder at any moment: nothing half-written has a final name.
        workers: in how many processes together it runs; one of them is killed.
        is_python: a call of the library, not a command.
    """

    line: Callable[[Inputs, Path], list[str]]
    result: Callable[[Path], Result]
    whole: Callable[[Path], None]
    workers: int = 1
    is_python: bool = False


def prepare(folder: Path) -> Inputs:
    """Make the inputs, small ones."""
    dataset = folder / "sidd"
    small = {"size": (128, 128), "train_instances": 6, "test_instances": 5, "progress": False}
    sidd.write_synthetic(dataset, **small)
    for number, light in enumerate((0.3, 0.6, 0.9)):
        scene = light * textured_scene((128, 128), seed=number)
        sensor = SimulatedSensor(slope=8e-4, read=2e-3)
        write_burst(folder / "shots" / f"{number}", sensor, scene, 5, seed=number, iso=640)
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    model.layers[0].beta1.assign(np.log(2e-5))
    model.layers[0].beta2.assign(np.log(1e-4))
    saved_model.save(model, folder / "model")
    return Inputs(dataset, folder / "cache", folder / "shots", folder / "model", folder / "run")


def training(arch: str, epochs: int, *more: object, workers: int = 1) -> Case:
    def line(inputs: Inputs, out: Path) -> list[str]:
        data = ["--sidd_path", inputs.dataset, "--cache", inputs.cache, "--n_batch_train", 16]
        length = ["--epochs", epochs, "--checkpoint_every", 2, "--average_batches", 4]
        return command(
            "train.py", "--logdir", out / "run", "--resume", "--arch", arch, *data, *length, *more
        )

    def result(out: Path) -> Result:
        run = RunFolder(out / "run")
        scores = json.loads(run.report.read_text())["test"]
        exported = [variable.numpy().tobytes() for variable in nf.load(run.saved_model).variables]
        trained = _trained(run, nf.load(run.path))
        if workers > 1:  # the sums of an epoch are those of all workers, added up in another order
            trained = {"weights": trained["weights"], "rows": len(trained)}
        return trained | {"scores": scores, "exported": exported}

    return Case(line, result, lambda out: _check_run(RunFolder(out / "run"), nf.load), workers)


def denoiser() -> Case:
    def line(inputs: Inputs, out: Path) -> list[str]:
        data = ["--sidd_path", inputs.dataset, "--cache", inputs.cache, "--n_batch_train", 4]
        size = ["--depth", 3, "--width", 8, "--epochs", 4, "--checkpoint_every", 2]
        size += ["--n_test_patches", 10, "--noise", "gauss"]
        return command("train-denoiser", "--logdir", out / "run", "--resume", *data, *size)

    def result(out: Path) -> Result:
        run = DenoiserRun(out / "run")
        return _trained(run, denoising.load(run.path))

    return Case(line, result, lambda out: _check_run(DenoiserRun(out / "run"), denoising.load))


def of_files(
    line: Callable[[Inputs, Path], list[str]], tables: tuple[str, ...] = (), is_python: bool = False
) -> Case:
    """A command whose files are the same each time; those of `tables` grow row by row."""

    def result(out: Path) -> Result:
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        assert not [path for path in files if path.name.endswith(".tmp")], files
        return {path.relative_to(out).as_posix(): sha256(path) for path in files}

    def whole(out: Path) -> None:
        for path in out.rglob("*"):
            if path.is_file() and path.name not in (*tables, ".lock") and not _is_temporary(path):
                _check_file(path)

    return Case(line, result, whole, is_python=is_python)


def added_camera() -> Case:
    def line(inputs: Inputs, out: Path) -> list[str]:
        short = ["--steps", 20, "--patches", 20, "--overwrite"]
        names = ["--name", "SONYA7", "--from", inputs.model, "--logdir", out / "run"]
        return command("camera", inputs.shots, *names, *short)

    def result(out: Path) -> Result:
        report = json.loads(RunFolder(out / "run").report.read_text())
        del report["minutes"]
        weights = [variable.numpy().tobytes() for variable in nf.load(out / "run").variables]
        assert not [*out.glob(".*")]
        return {"report": report, "weights": weights}

    def whole(out: Path) -> None:
        if (out / "run").exists():
            result_of_run = RunFolder(out / "run")
            json.loads(result_of_run.report.read_text())
            nf.load(result_of_run.saved_model)

    return Case(line, result, whole)


def _burst(inputs: Inputs, out: Path) -> list[str]:
    return command(
        "burst", inputs.shots, "--camera", "SONYA7", "--out", out / "pairs", "--overwrite"
    )


def _sample(inputs: Inputs, out: Path) -> list[str]:
    what = ["--clean", inputs.dataset, "--draws", 2, "--formats", "npy", "mat", "png"]
    return command("sample.py", "--model", inputs.model, *what, "--out", out / "samples")


_PROGRAMS = {
    "cache": "import sidd, sys; root, cache = sys.argv[1:]; frames = [f for i in sidd.index(root) "
    "for f in i.frames]; sidd.Patches(frames, 32, cache=cache, progress=False)",
    "export": "import noise_flow_tf as nf, sys; from noise_flow_tf.saving import saved_model; "
    "from noise_flow_tf.saving.files import clear_partial; from pathlib import Path; "
    "clear_partial(Path(sys.argv[2]).parent); "
    "[saved_model.save(nf.load(sys.argv[1]), sys.argv[2]) for _ in range(3)]; "
    "nf.save_npz(nf.load(sys.argv[1]), sys.argv[2] + '.npz')",
    "dataset": "import sidd, sys; sidd.write_synthetic(sys.argv[1], size=(128, 128), "
    "train_instances=12, test_instances=6, progress=False, exist_ok=True)",
}


def program(name: str, *arguments: object) -> list[str]:
    return [command("train.py")[0], "-c", _PROGRAMS[name], *map(str, arguments)]


def export() -> Case:
    def result(out: Path) -> Result:
        assert not [*out.glob(".*")]
        weights = [v.numpy().tobytes() for v in nf.load(out / "model").variables]
        return {"weights": weights, "npz": sha256(out / "model.npz")}

    def whole(out: Path) -> None:
        if (out / "model").exists():
            nf.load(out / "model")
        if (out / "model.npz").exists():
            native.load(out / "model.npz")

    def line(inputs: Inputs, out: Path) -> list[str]:
        return program("export", inputs.model, out / "model")

    return Case(line, result, whole, is_python=True)


CASES = {
    "training": training("sdn5|unc|gain4", 6),
    "full model": training("S-Ax4-G-Ax4-CAM", 3),
    "two workers": training("sdn5|unc|gain4", 6, "--strategy", "multiworker", workers=2),
    "denoiser": denoiser(),
    "cache": of_files(lambda i, out: program("cache", i.dataset, out / "cache"), is_python=True),
    "sampling": of_files(_sample, tables=("samples.csv",)),
    "export": export(),
    "offline dataset": of_files(lambda i, out: program("dataset", out / "sidd"), is_python=True),
    "new camera": added_camera(),
    "burst": of_files(_burst),
}


def _trained(run: RunFolder, model: Any) -> Result:
    history = run.history.read_text().splitlines()
    seconds = history[0].split(",").index("seconds")
    rows = [line.split(",") for line in history]
    epochs = {f"row {n}": row[:seconds] + row[seconds + 1 :] for n, row in enumerate(rows)}
    assert not list(run.path.rglob(".*.tmp"))
    return {"weights": [variable.numpy().tobytes() for variable in model.variables], **epochs}


def _check_run(run: RunFolder, load: Callable[[Path], Any]) -> None:
    if run.saved_model.exists():
        load(run.saved_model)
    if run.report.exists():
        json.loads(run.report.read_text())
    if run.numpy_weights.exists():
        native.load(run.numpy_weights)


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(".") and part.endswith(".tmp") for part in path.parts)


def _check_file(path: Path) -> None:
    """Raise an error if a file is not whole."""
    kind = path.suffix.lower()
    if kind == ".npy":
        if "cache" not in path.parts:  # tiles are sidd's own, compared at the end
            np.load(path)
    elif kind == ".mat" and "METADATA" not in path.name:
        sidd.read_raw(path)
    elif kind == ".mat":
        sidd.read_metadata(path)
    elif kind == ".json":
        json.loads(path.read_text())
    elif kind == ".png":
        from PIL import Image

        with Image.open(path) as image:
            image.load()
