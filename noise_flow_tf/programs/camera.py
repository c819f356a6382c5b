"""Bursts of a camera to a noise model of it: pairs, calibration, two trainings, a report."""

import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
import sidd
from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.programs import burst, camera_report, running
from noise_flow_tf.programs.configs import BurstConfig, CameraConfig, Shots
from noise_flow_tf.saving import pretrained, saved_model
from noise_flow_tf.saving.files import make_folders, replacing
from noise_flow_tf.saving.loading import load_flow
from noise_flow_tf.saving.run_folder import RunFolder, versions
from noise_flow_tf.training import own_cameras
from noise_flow_tf.training.own_cameras import NLF, Fitted

PATCH = 32
_BATCH, _TEST_BATCH = 16, 128
_OWN_STEPS, _OWN_RATE = 300, 0.02
_RATE = 5e-3


@dataclass(frozen=True)
class Data:
    """Training patches and held-out ones, and how they were split."""

    train: sidd.Patches
    held_out: sidd.Patches
    split: list[str]

    def batches(self) -> tf.data.Dataset:
        """Return the training batches of an epoch."""
        return self.train.batches(_BATCH, drop_remainder=self.train.num_patches >= _BATCH)

    def held_out_batches(self) -> tf.data.Dataset:
        """Return the held-out batches, each of one image, always the same."""
        return self.held_out.batches(_TEST_BATCH, mix_images=False, shuffle=False)


def run(config: CameraConfig) -> None:
    """Calibrate a camera, fit the models, keep the better one, and write run and report.

    Raises:
        ValueError: shots, a model or a run folder that do not fit; the message names them.
        OSError: a file that cannot be written.
    """
    begin = time.monotonic()
    folder = RunFolder(config.logdir)
    folder.check(config.overwrite)
    ConditionSpace(cameras=(config.name,))
    base = load_flow(config.from_run)
    if config.name in base.cameras:
        raise ValueError(
            f"the model {config.from_run} has camera {config.name} already: "
            f"{', '.join(base.cameras)}; give the camera another --name"
        )
    if config.from_run == "demo":
        print(f"{pretrained.DEMO_NOTE}, and a camera that is added to it keeps that noise's shape")
    tf_keras.utils.set_random_seed(config.seed)
    path = folder.path.resolve()
    make_folders(path.parent)
    with folder.locked() if path.is_dir() else nullcontext(), replacing(path) as place:
        writing = RunFolder(place)
        writing.create(asdict(config) | saved_model.recipe(base))
        calibrated = burst.run(_burst_config(config, writing.burst), folder.burst)
        nlf = {iso: one.nlf for iso, one in calibrated.calibrations.items()}
        with tempfile.TemporaryDirectory(dir=place) as cache:
            data = read(calibrated.pairs, config, Path(cache))
            fitted = fit_models(base, config.name, nlf, data, config.steps, config.seed)
            kept = min(fitted, key=lambda name: fitted[name].nll)
            settings = asdict(config) | saved_model.recipe(fitted[kept].model)
            about = {"kept": kept, "starts": [running.start()], "versions": versions()}
            writing.write_settings(settings | about)
            save(fitted[kept].model, writing)
            scored = camera_report.score(config.name, fitted, nlf, data, config.seed)
            minutes = (time.monotonic() - begin) / 60
            camera_report.write(writing, config, scored, kept, fitted, nlf, data, minutes, folder)


def read(pairs: Path, config: CameraConfig, cache: Path) -> Data:
    """Split the pairs, and open their patches, whose frames go to the folder `cache`."""
    instances = sidd.index(pairs)
    lines = sidd.describe_split(instances, [config.name], own=True)
    patches = []
    for split, seed in (("train", config.seed), ("test", config.seed + 1)):
        frames = sidd.select_frames(instances, split, cameras=[config.name], own=True)
        if not frames:
            why = sidd.why_none(instances, split, cameras=[config.name], own=True)
            raise ValueError(f"the bursts leave no {split} frame: {why}; shoot another burst")
        patches.append(
            sidd.Patches(
                frames,
                PATCH,
                "random",
                patches_per_image=config.patches,
                cache=cache,
                seed=seed,
                parallel_reads=2,
                cameras=[config.name],
            )
        )
    for line in lines:
        print(line)
    train, held_out = patches
    return Data(train, held_out, lines)


def fit_models(
    base: nf.NoiseFlow, camera: str, nlf: Mapping[int, NLF], data: Data, steps: int, seed: int
) -> dict[str, Fitted]:
    """Fit both models of a camera from its NLFs.

    Returns:
        "added", the camera's parameters in `base`, unless its architecture has none; and "own",
        the model of this camera alone, which is trained for `steps`.
    """
    batches, held_out = data.batches(), data.held_out_batches()
    fitted = {}
    if base.camera_parameters:
        print(f"fitting {camera} as a further camera of the model of --from", flush=True)
        added = own_cameras.add_camera(base, camera, nlf, batches, seed=seed)
        fitted["added"] = own_cameras.fit(
            added, camera, batches, held_out, _OWN_STEPS, _OWN_RATE, alone=True
        )
    print(f"training a model of {camera} alone", flush=True)
    own = own_cameras.model_of_its_own(base, camera, nlf, seed)
    fitted["own"] = own_cameras.fit(own, camera, batches, held_out, steps, _RATE)
    return fitted


def save(model: nf.NoiseFlow, folder: RunFolder) -> None:
    """Write a model in all forms of a run."""
    tf.train.Checkpoint(noise_model=model).write(str(folder.best / "kept-0"))
    saved_model.save(model, folder.saved_model)
    nf.save_npz(model, folder.numpy_weights)


def _burst_config(config: CameraConfig, out: Path) -> BurstConfig:
    shots = {one.name: getattr(config, one.name) for one in fields(Shots)}
    return BurstConfig(**shots, camera=config.name, out=str(out), seed=config.seed)
