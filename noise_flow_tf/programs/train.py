"""Train a noise model on SIDD, or on the offline dataset if no other is given."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf import architecture, evaluation, plotting
from noise_flow_tf.evaluation import tables
from noise_flow_tf.programs import dataset, pictures, plain_pairs, run_report, running
from noise_flow_tf.programs.configs import (
    DEFAULT_STEPS,
    OFFLINE_EPOCHS,
    RELEASE_EPOCHS,
    TrainConfig,
)
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.loading import load_flow
from noise_flow_tf.saving.run_folder import RunFolder
from noise_flow_tf.training import callbacks, schedules
from noise_flow_tf.training.fitting import Length
from noise_flow_tf.training.names import BATCHES, BETA_2, RATES
from noise_flow_tf.training.steps import CheckedTrainer
from sidd.progress import progress_bar


def run(config: TrainConfig) -> None:
    """Train, or resume, the run in `config.logdir`, and write its report; see `running.run`."""
    running.run(NoiseModelTraining, config)


class NoiseModelTraining(running.Training[TrainConfig]):
    """Training of a noise model, or of a camera that is added to one."""

    folder = RunFolder
    score, highest = "nll", False
    needed = (*running.Training.needed, "baselines")

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(complete(config))
        if self.config.schedule == "release":  # whose rate does not depend on the epochs
            self.free_on_resume = self.free_on_resume | {"epochs"}
        if self.config.new_camera:
            make_model(self.config)  # before anything is read, whether that can be done
        self._frames: running.Frames = []

    def open(
        self, train: running.Frames, test: running.Frames, strategy: tf.distribute.Strategy
    ) -> int:
        self._frames = [*train, *test]
        self._fresh = model = make_model(self.config, self._frames)
        for line in added_levels(self.config, model):
            print(line)
        cameras = model.cameras
        self.config = config = replace(self.config, arch=model.arch, width=model.width)
        self.train = dataset.patches(config, train, cameras, config.patch_sampling)
        self.test = dataset.patches(config, test, cameras)
        self.validation = self.test.batches(config.n_batch_test, shuffle=False)
        mix_images = config.batching == "mixed"
        return self.train.num_batches(self._batch_size, mix_images=mix_images)

    def default_epochs(self, steps_per_epoch: int) -> int:
        if self.config.schedule == "release":
            return RELEASE_EPOCHS
        if self.config.sidd_path is None:
            return OFFLINE_EPOCHS
        return math.ceil(DEFAULT_STEPS / steps_per_epoch)

    def own_settings(self) -> dict[str, Any]:
        self._baselines = score_baselines(self.config, self.train, self._images, self._instances)
        return saved_model.recipe(self._fresh) | {"baselines": self._baselines}

    def resume(self, settings: Mapping[str, Any]) -> None:
        self._baselines = settings["baselines"]
        float(self._baselines["gaussian_stddev"])
        for name in ("gaussian", "camera_nlf"):
            float(self._baselines["scores"][name]["nll"])

    def trainer(self, length: Length) -> CheckedTrainer:
        config = self.config
        trainer = nf.Trainer(make_model(config, self._frames), config.new_camera)
        schedule, rate = rate_of(config)
        steps = length.epochs * length.steps_per_epoch
        trainer.compile(schedules.adam(schedule, rate, steps, beta_2=BETA_2[schedule]))
        return trainer

    def batches(self, shard: tuple[int, int] = (0, 1), first_batch: int = 0) -> tf.data.Dataset:
        return self.train.batches(
            self._batch_size,
            mix_images=self.config.batching == "mixed",
            first_batch=first_batch,
            repeat=True,
            shard=shard,
        )

    def callbacks(self, trainer: CheckedTrainer, folder: Path) -> list[Any]:
        model = trainer.noise_model
        kl = evaluation.sampled_kl(model, self.validation, self.config.seed)
        return [
            callbacks.MarginalKL(kl),
            callbacks.LearnedCurves(model, folder, self._baselines["scores"]),
            callbacks.NoisePictures(folder, lambda: self._examples.strips(model)),
        ]

    def export(self, best: Any, folder: RunFolder) -> None:
        super().export(best, folder)
        with suppress(ValueError):  # a layer of a user's own, which the compiled core has not
            nf.save_npz(best, folder.numpy_weights)

    def section(self, best: nf.NoiseFlow, rows: list[dict[str, float]]) -> run_report.Section:
        bar = progress_bar(self._images, "scoring the best model", unit="batch", leave=False)
        baselines = self._baselines["scores"]
        scores = baselines | evaluation.evaluate(
            {"noise_flow": best}, bar, self.config.seed, self._instances
        )
        models = {
            "Gaussian": nf.GaussianNoise(self._baselines["gaussian_stddev"]),
            "Camera NLF": nf.CameraNLF(),
            "Noise Flow": best,
        }
        noise = self._examples.noise_label
        samples = pictures.comparison_figure(self._examples.comparison(models), noise)
        floor = scores["noise_flow"]["kl_floor"]
        charts = pictures.history(rows, baselines, best.summaries(), noise, floor)
        table = tables.table(scores)
        return run_report.Section(
            title=architecture.title(self.config.arch),
            text=[tables.explained("Noise Flow"), table],
            best="The best weights by test NLL were kept, as in the original release.",
            numbers={"test": scores},
            summary=table,
            figures={"samples": samples}
            | {name: plotting.charts(chart) for name, chart in charts.items()},
        )

    @property
    def _batch_size(self) -> int:
        return batch_of(self.config)

    @cached_property
    def _examples(self) -> pictures.Examples:
        return pictures.Examples(self.test.frames, dataset.noise_label(self.config))

    @property
    def _instances(self) -> list[int]:
        """The scene instance of each test frame."""
        return [frame.instance for frame in self.test.frames]

    @property
    def _images(self) -> tf.data.Dataset:
        """The test batches, each of one image, for the scores."""
        return self.test.batches(self.config.n_batch_test, mix_images=False, shuffle=False)


def complete(config: TrainConfig) -> TrainConfig:
    """Return the config with what depends on other settings."""
    if config.pairs:
        pairs = plain_pairs.read_list(Path(config.pairs))
        folder = plain_pairs.in_sidds_layout(
            Path(config.pairs), config.orientation, Path(config.cache)
        )
        codes = config.cam or list(dict.fromkeys(line.camera for line in pairs))
        config = replace(config, sidd_path=str(folder), cam=codes)
    if config.new_camera:
        config = replace(config, cam=[config.new_camera], average_batches=0)
    schedule, rate = rate_of(config)
    arch = "|".join(architecture.parse(config.arch))
    return replace(config, arch=arch, schedule=schedule, lr=rate, n_batch_train=batch_of(config))


def rate_of(config: TrainConfig) -> tuple[str, float]:
    """Return the schedule and its learning rate."""
    schedule = config.schedule or ("release" if config.lr else "cosine")
    return schedule, config.lr or RATES[schedule]


def batch_of(config: TrainConfig) -> int:
    """Return how many patches a training batch has."""
    return config.n_batch_train or BATCHES[rate_of(config)[0]]


def make_model(config: TrainConfig, frames: running.Frames | None = None) -> nf.NoiseFlow:
    """Make a fresh model, or a trained one with a camera added.

    It has SIDD's cameras and ISO levels, unless no frame is of them, and those of the frames. ISO
    levels that SIDD does not have are of the cameras of their frames alone.
    """
    shot: dict[str, set[int]] = {}
    for frame in frames or []:
        shot.setdefault(frame.camera, set()).add(frame.iso)
    if config.new_camera and config.from_run:
        own = sorted(shot.get(config.new_camera, ()))
        return load_flow(config.from_run).with_camera(config.new_camera, own)
    known = nf.CAMERAS if not shot or {*nf.CAMERAS} & shot.keys() else ()
    cameras = (*known, *sorted(shot.keys() - {*nf.CAMERAS}))
    of_camera = [shot.get(c, set()).union(nf.ISO_LEVELS if c in known else ()) for c in cameras]
    return nf.NoiseFlow(
        config.arch,
        config.width,
        config.seed,
        cameras=cameras,
        iso_levels=sorted(set().union(*of_camera)),
        camera_levels=[sorted(levels) for levels in of_camera],
    )


def added_levels(config: TrainConfig, model: nf.NoiseFlow) -> list[str]:
    """Return a line for each camera with ISO levels that SIDD's or the model of --from lacks."""
    base = load_flow(config.from_run).iso_levels if config.from_run else nf.ISO_LEVELS
    lines = []
    for camera in model.cameras:
        added = [iso for iso in model.condition_space.levels_of(camera) if iso not in base]
        if added and (not config.new_camera or camera == config.new_camera):
            lines.append(f"{camera}: ISO levels added for it: {', '.join(map(str, added))}")
    return lines


def score_baselines(
    config: TrainConfig,
    train: sidd.Patches,
    test_images: tf.data.Dataset,
    instances: Sequence[int],
) -> dict[str, Any]:
    """Fit the Gaussian baseline to the training frames, and score both baselines.

    `instances` are the scene instances of the test frames.
    """
    stddev = train.noise_stddev()
    models = {"gaussian": nf.GaussianNoise(stddev), "camera_nlf": nf.CameraNLF()}
    bar = progress_bar(test_images, "scoring the baselines", unit="batch", leave=False)
    scores = evaluation.evaluate(models, bar, config.seed, instances)
    return {"gaussian_stddev": stddev, "scores": scores}
