"""Train a denoiser on sampled or real noise of SIDD, or of the offline dataset."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising, plotting
from noise_flow_tf.denoising import DenoiserRun, DnCNN, scores, sources
from noise_flow_tf.denoising.trainer import RELEASE_DROPS
from noise_flow_tf.programs import dataset, pictures, run_report, running, sampling_plan
from noise_flow_tf.programs.configs import DENOISER_EPOCHS, TrainDenoiserConfig
from noise_flow_tf.programs.denoiser_report import Examples
from noise_flow_tf.training import callbacks, schedules
from noise_flow_tf.training.fitting import Length
from noise_flow_tf.training.steps import CheckedTrainer


def run(config: TrainDenoiserConfig) -> None:
    """Train, or resume, the run in `config.logdir`, and write its report; see `running.run`."""
    logdir = config.logdir or f"runs/dncnn_{config.noise}"
    running.run(DenoiserTraining, replace(config, logdir=logdir))


class DenoiserTraining(running.Training[TrainDenoiserConfig]):
    """Training of a denoiser."""

    folder = DenoiserRun
    score, highest = "psnr", True
    needed = (*running.Training.needed, "noise_model")

    free_on_resume = running.Training.free_on_resume | {"model"}

    def open(
        self, train: running.Frames, test: running.Frames, strategy: tf.distribute.Strategy
    ) -> int:
        config = self.config
        check_shares(config.n_batch_train, strategy.num_replicas_in_sync)
        with tf.device("CPU"):  # where tf.data runs
            self._model = nf.load(config.model) if config.model else None
        of_frames = (frame.camera for frame in [*train, *test])
        cameras = list(dict.fromkeys([*sidd.CAMERAS, *of_frames]))
        self.train = dataset.patches(config, train, cameras, stride=config.stride)
        count = math.ceil(config.n_test_patches / len(test))
        self.test = dataset.patches(config, test, cameras, "random", patches_per_image=count)
        self.validation = denoising.noisy_batches(
            self.test.batches(config.n_batch_test, shuffle=False), denoising.real
        )
        table = self.train.nlf_table()
        self._source = sources.make(config.noise, table, self._model, config.gauss_mix)
        steps = self.train.num_batches(config.n_batch_train, drop_remainder=True)
        if not steps:
            raise ValueError(
                f"{self.train.num_patches} training patches make no batch of "
                f"{config.n_batch_train}; take a smaller --n_batch_train or --stride"
            )
        self._pass = steps
        return steps if self.config.steps is None else evenly(self.config.steps, steps)

    def default_epochs(self, steps_per_epoch: int) -> int:
        steps = self.config.steps
        return steps // steps_per_epoch if steps else DENOISER_EPOCHS

    def own_settings(self) -> dict[str, Any]:
        return {"noise_model": sampling_plan.fingerprint(self._model) if self._model else None}

    def resume(self, settings: Mapping[str, Any]) -> None:
        if settings["noise_model"] != self.own_settings()["noise_model"]:
            raise ValueError(
                f"{self.config.model} is not the noise model that the run in {self.config.logdir} "
                "began with; give that one by --model, or start another run"
            )

    def trainer(self, length: Length) -> CheckedTrainer:
        config = self.config
        network = DnCNN(config.depth, config.width, config.seed, config.noise_scale)
        trainer = denoising.DenoiserTrainer(network)
        steps = length.steps_per_epoch
        drops = {epoch * self._pass: by for epoch, by in RELEASE_DROPS.items()}
        trainer.compile(schedules.adam(config.schedule, config.lr, length.epochs * steps, drops))
        return trainer

    def batches(self, shard: tuple[int, int] = (0, 1), first_batch: int = 0) -> tf.data.Dataset:
        config = self.config
        clean = self.train.batches(
            config.n_batch_train,
            drop_remainder=True,
            first_batch=first_batch,
            repeat=True,
            shard=shard,
        )
        seed = (config.seed, shard[0])
        return denoising.noisy_batches(
            clean, self._source, seed, first_batch, config.n_train_threads
        )

    def callbacks(self, trainer: CheckedTrainer, folder: Path) -> list[Any]:
        return [callbacks.NoisePictures(folder, lambda: self._examples.strips(trainer.network))]

    def section(self, best: DnCNN, rows: list[dict[str, float]]) -> run_report.Section:
        config = self.config
        label = self._examples.noise_label
        title, trained_on = scores.title(config.noise, config.gauss_mix), config.noise
        if sources.SOURCES[config.noise].of_dataset:
            trained_on = f"the {label} noise of the pairs"
            title += " (simulated noise)" if label == "simulated" else ""
        chart = plotting.Chart(
            {
                "training": pictures.against_epoch(rows, "psnr"),
                "test": pictures.against_epoch(rows, "val_psnr"),
            },
            title=f"PSNR of {title}, {label} test noise",
            xlabel="epoch",
            ylabel="PSNR in dB",
        )
        chosen = max((row for row in rows if "val_psnr" in row), key=lambda row: row["val_psnr"])
        epoch, psnr = int(chosen["epoch"]), chosen["val_psnr"]
        mix = f", {config.gauss_mix:.0%} of the batches Gaussian" if config.gauss_mix else ""
        model = f" (noise model {config.model}{mix})" if config.model else mix
        return run_report.Section(
            title=title,
            text=[
                f"DnCNN of depth {config.depth} and width {config.width}, trained on "
                f"{trained_on}{model}."
            ],
            best=f"Kept are the weights of epoch {epoch}, with {psnr:.2f} dB the best on "
            f"{self.test.num_patches} test patches; `noise-flow evaluate-denoiser` scores them on "
            "whole images.",
            numbers={"noise": config.noise, "best": {"epoch": epoch, "psnr_of_test_patches": psnr}},
            summary=f"{psnr:.2f} dB on the test patches after epoch {epoch}",
            figures={
                "denoised": self._examples.figure({title: best}),
                "psnr": plotting.charts(chart),
            },
        )

    @cached_property
    def _examples(self) -> Examples:
        return Examples(self.test.frames, dataset.noise_label(self.config))


def evenly(total: int, steps: int) -> int:
    """Return the divisor of `total` steps that is nearest to `steps` by ratio.

    Epochs of so many steps, after which the denoiser is evaluated, make `total` exactly. None has
    less than half of `steps`, so that evaluations do not take the time of training.

    >>> evenly(20, 165), evenly(1000, 165), evenly(11, 6), evenly(5003, 60)
    (20, 200, 11, 5003)
    """
    divisors = [divisor for divisor in range(1, total + 1) if total % divisor == 0]
    long_enough = [divisor for divisor in divisors if 2 * divisor >= min(steps, 2 * total)]
    return min(long_enough, key=lambda divisor: max(divisor, steps) / min(divisor, steps))


def check_shares(batch_size: int, replicas: int) -> None:
    """Raise a ValueError if some replica would have no patch: oneDNN has no gradient of none."""
    if batch_size < replicas:
        raise ValueError(
            f"--n_batch_train {batch_size} leaves some of the {replicas} devices without a patch; "
            f"take at least {replicas}, or fewer devices"
        )
