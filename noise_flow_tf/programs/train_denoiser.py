"""Trains a denoiser on sampled or real noise of SIDD, or of the offline dataset."""

import math
import sys
from dataclasses import asdict, replace

import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.denoising import DenoiserRun, schedules, sources
from noise_flow_tf.programs import dataset, running, sampling_plan
from noise_flow_tf.programs.configs import DENOISER_EPOCHS, TrainDenoiserConfig
from noise_flow_tf.programs.denoiser_report import Examples, write_run
from noise_flow_tf.training import callbacks, strategies
from noise_flow_tf.training.checkpoints import BestWeights, CheckpointCallback, Checkpoints
from noise_flow_tf.training.interruption import Interruption
from noise_flow_tf.training.schedules import evaluation_epochs
from noise_flow_tf.training.trainer import DivergedError

_FREE_ON_RESUME = {
    "logdir", "overwrite", "resume", "strategy", "replicas", "sidd_path", "cache",
    "n_train_threads", "checkpoint_every", "model",
}  # fmt: skip
_NEEDED_TO_RESUME = ("steps_per_epoch", "data", "noise_model", "starts")


def run(config: TrainDenoiserConfig) -> None:
    """Trains, or goes on with, the run in `config.logdir`, and writes its report.

    Raises:
        ValueError: settings, a dataset or a run folder that do not fit; training that diverged.
        OSError: a file that cannot be written.
    """
    config = replace(config, logdir=config.logdir or f"runs/dncnn_{config.noise}")
    run = DenoiserRun(config.logdir)
    resuming = config.resume and run.settings.is_file()
    if resuming:
        running.check_settings(config, run.read_settings(), _NEEDED_TO_RESUME, _FREE_ON_RESUME)
    else:
        run.check(config.overwrite)
    strategy = strategies.choose(config.strategy, config.replicas)
    check_shares(config.n_batch_train, strategy.num_replicas_in_sync)
    with tf.device("CPU"):  # where tf.data runs
        model = nf.load(config.model) if config.model else None
    train_frames, test_frames = dataset.frames(config, "train"), dataset.frames(config, "test")
    tf_keras.utils.set_random_seed(config.seed)

    train, test = read_patches(config, train_frames, test_frames)
    steps = train.num_batches(config.n_batch_train, drop_remainder=True)
    if not steps:
        raise ValueError(
            f"{train.num_patches} training patches make no batch of {config.n_batch_train}; take a "
            "smaller --n_batch_train or --stride"
        )
    asked = math.ceil(config.steps / steps) if config.steps else DENOISER_EPOCHS
    config = replace(config, epochs=config.epochs or asked)
    source = sources.make(config.noise, train.nlf_table(), model, config.gauss_mix)
    print(
        f"{train.num_patches} training and {test.num_patches} test patches from "
        f"{dataset.root(config)}; {config.epochs} epochs of {steps} steps"
    )
    data = {"train": train.digest, "test": test.digest}
    weights = sampling_plan.fingerprint(model) if model else None
    if resuming:
        settings = run.read_settings()
        running.check_going_on(run, settings, data, dataset.root(config), config.epochs, steps)
        if settings["noise_model"] != weights:
            raise ValueError(
                f"{config.model} is not the noise model that the run in {run.path} began with; "
                "give that one by --model, or start another run"
            )
    else:
        settings = {**asdict(config), "steps_per_epoch": steps, "data": data, "starts": []}
        settings["noise_model"] = weights
    settings["starts"] = [*settings["starts"], running.start()]

    chief = strategies.is_chief(strategy)
    examples = Examples(test.frames, dataset.noise_label(config))
    with running.to_write(run, settings, config.overwrite, resuming, chief) as writing:
        rows = fit(config, strategy, run, writing, train, test, source, steps, examples)
        if chief:
            best = run.load()
            denoising.save(best, run.saved_model)
            left_out = [*train.skipped.values(), *test.skipped.values()]
            write_run(run, config, rows, best, examples, test.num_patches, left_out)


def check_shares(batch_size: int, replicas: int) -> None:
    """Raises ValueError where some replica would have no patch: oneDNN has no gradient of none."""
    if batch_size < replicas:
        raise ValueError(
            f"--n_batch_train {batch_size} leaves some of the {replicas} devices without a patch; "
            f"take at least {replicas}, or fewer devices"
        )


def read_patches(
    config: TrainDenoiserConfig, train_frames: list[sidd.Frame], test_frames: list[sidd.Frame]
) -> tuple[sidd.Patches, sidd.Patches]:
    """All training patches of the grid, and a fixed choice of test patches from all frames."""
    frames = [*train_frames, *test_frames]
    cameras = list(dict.fromkeys([*sidd.CAMERAS, *(frame.camera for frame in frames)]))
    train = dataset.patches(config, train_frames, cameras, stride=config.stride)
    count = math.ceil(config.n_test_patches / len(test_frames))
    return train, dataset.patches(config, test_frames, cameras, "random", patches_per_image=count)


def fit(config, strategy, run, writing, train, test, source, steps, examples) -> list[dict]:
    """Trains from the beginning, or from the run's last checkpoint; returns the history."""
    with strategy.scope():
        network = denoising.DnCNN(config.depth, config.width, config.seed, config.noise_scale)
        trainer = denoising.DenoiserTrainer(network)
        trainer.compile(schedules.adam(config.schedule, config.lr, config.epochs, steps))
    checkpoints = Checkpoints(trainer, writing.last, steps, score="psnr")
    checkpoints.restore(run.last)
    done, _ = checkpoints.position
    history = callbacks.History(writing.history, rows=run.read_history(done))
    parameters = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    print(
        f"DnCNN of depth {config.depth} and width {config.width} with {parameters} parameters, on "
        f"{strategy.num_replicas_in_sync} device(s)"
    )

    def batches(shard=(0, 1), first_batch=0) -> tf.data.Dataset:
        clean = train.batches(
            config.n_batch_train,
            drop_remainder=True,
            first_batch=first_batch,
            repeat=True,
            shard=shard,
        )
        seed = (config.seed, shard[0])
        return denoising.noisy_batches(clean, source, seed, first_batch, config.n_train_threads)

    test_batches = denoising.noisy_batches(
        test.batches(config.n_batch_test, shuffle=False), denoising.real
    )
    with Interruption(strategy) as interruption:
        kept = [
            callbacks.StopAtNaN(),
            callbacks.StopOnDivergence(),
            BestWeights(writing.best, checkpoints, "val_psnr", highest=True),
            history,
            callbacks.keras_curves(writing.tensorboard),
            callbacks.NoisePictures(writing.tensorboard, lambda: examples.strips(network)),
            CheckpointCallback(checkpoints, interruption, config.checkpoint_every),
        ]
        if config.average_batches:
            settled = batches().take(config.average_batches)
            kept.insert(0, callbacks.ReestimateAverages(settled))
        try:
            trainer.fit(
                strategies.in_shares(lambda shard: batches(shard, checkpoints.step)),
                steps_per_epoch=steps,
                validation_data=test_batches,
                validation_freq=evaluation_epochs(config.epochs, config.epochs_full_valid),
                epochs=config.epochs,
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=kept,
            )
        except DivergedError as error:
            raise ValueError(f"{error}; start another run") from error
    return history.rows
