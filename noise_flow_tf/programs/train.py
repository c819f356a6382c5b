"""Trains a noise model on SIDD, or on the offline dataset where no other is given."""

import math
import sys
from dataclasses import asdict, replace

import tensorflow as tf
import tf_keras
from tqdm import tqdm

import noise_flow_tf as nf
from noise_flow_tf import architecture, evaluation
from noise_flow_tf.programs import dataset, pictures, run_report, running
from noise_flow_tf.programs.configs import (
    DEFAULT_STEPS,
    OFFLINE_EPOCHS,
    RELEASE_EPOCHS,
    TrainConfig,
)
from noise_flow_tf.saving import saved_model
from noise_flow_tf.saving.run_folder import RunFolder, newest_first
from noise_flow_tf.training import callbacks, schedules, strategies
from noise_flow_tf.training.checkpoints import BestWeights, CheckpointCallback, Checkpoints
from noise_flow_tf.training.interruption import Interruption
from noise_flow_tf.training.names import RATES
from noise_flow_tf.training.trainer import DivergedError

_FREE_ON_RESUME = {
    "logdir", "overwrite", "resume", "strategy", "replicas", "sidd_path", "cache",
    "n_train_threads", "checkpoint_every",
}  # fmt: skip
_NEEDED_TO_RESUME = ("steps_per_epoch", "data", "baselines", "starts")


def complete(config: TrainConfig) -> TrainConfig:
    """Fills in what depends on other settings."""
    if config.new_camera:
        config = replace(config, cam=[config.new_camera], average_batches=0)
    schedule = config.schedule or ("release" if config.lr else "cosine")
    return replace(
        config,
        arch="|".join(architecture.parse(config.arch)),
        schedule=schedule,
        lr=config.lr or RATES[schedule],
    )


def default_epochs(config: TrainConfig, steps_per_epoch: int) -> int:
    """How many epochs to train where the config does not say it."""
    if config.schedule == "release":
        return RELEASE_EPOCHS
    if config.sidd_path is None:
        return OFFLINE_EPOCHS
    return math.ceil(DEFAULT_STEPS / steps_per_epoch)


def run(config: TrainConfig) -> None:
    """Trains, or goes on with, the run in `config.logdir`, and writes its report.

    Raises:
        ValueError: settings, a dataset or a run folder that do not fit; training that diverged.
        OSError: a file that cannot be written.
    """
    config = complete(config)
    run = RunFolder(config.logdir)
    resuming = config.resume and run.settings.is_file()
    if resuming:
        free = {*_FREE_ON_RESUME, *(["epochs"] if config.schedule == "release" else [])}
        running.check_settings(config, run.read_settings(), _NEEDED_TO_RESUME, free)
    else:
        run.check(config.overwrite)
    strategies.prepare(config.strategy, config.replicas)  # before TensorFlow computes anything
    if config.new_camera:
        make_model(config)  # before anything is read, whether that can be done
    train_frames, test_frames = dataset.frames(config, "train"), dataset.frames(config, "test")
    strategy = strategies.choose(config.strategy, config.replicas)
    model = make_model(config)
    config = replace(config, arch=model.arch, width=model.width)
    tf_keras.utils.set_random_seed(config.seed)

    train = dataset.patches(config, train_frames, model.cameras, config.patch_sampling)
    test = dataset.patches(config, test_frames, model.cameras)
    steps = train.num_batches(config.n_batch_train, mix_images=config.batching == "mixed")
    test_batches = test.batches(config.n_batch_test, shuffle=False)
    test_images = test.batches(config.n_batch_test, mix_images=False, shuffle=False)
    print(
        f"{train.num_patches} training and {test.num_patches} test patches in {steps} and "
        f"{len(test_batches)} batches an epoch, from {dataset.root(config)}"
    )
    config = replace(config, epochs=config.epochs or default_epochs(config, steps))
    data = {"train": train.digest, "test": test.digest}
    if resuming:
        settings = run.read_settings()
        running.check_going_on(run, settings, data, dataset.root(config), config.epochs, steps)
    else:
        settings = {
            **asdict(config),
            **saved_model.recipe(model),
            "steps_per_epoch": steps,
            "data": data,
        }
        settings |= {"baselines": score_baselines(config, train, test_images), "starts": []}
    settings["starts"] = [*settings["starts"], running.start()]
    settings["epochs"] = config.epochs

    chief = strategies.is_chief(strategy)
    with running.to_write(run, settings, config.overwrite, resuming, chief) as writing:
        rows = fit(config, strategy, run, writing, train, test_batches, test.frames, settings)
        if chief:
            finish(config, run, train, test, test_images, test.frames, rows)


def finish(config, run, train, test, test_images, test_frames, rows) -> None:
    """Exports and scores the best weights, and writes the pictures and the report."""
    best = run.load()
    saved_model.save(best, run.saved_model)
    baselines = run.read_settings()["baselines"]
    scores = baselines["scores"] | evaluation.evaluate(
        {"noise_flow": best},
        tqdm(test_images, "scoring the best model", unit="batch", leave=False),
        config.seed,
    )
    gaussian = nf.GaussianNoise(baselines["gaussian_stddev"])
    examples = pictures.Examples(test_frames, dataset.noise_label(config))
    run_report.draw(run, examples, gaussian, best, rows, baselines["scores"])
    run_report.write(run, config, scores, rows, [*train.skipped.items(), *test.skipped.items()])


def make_model(config: TrainConfig) -> nf.NoiseFlow:
    """A fresh model, or a trained one with a camera added."""
    if config.new_camera:
        return nf.load(config.from_run).with_camera(config.new_camera)
    return nf.NoiseFlow(config.arch, config.width, config.seed)


def score_baselines(config, train, test_images) -> dict[str, object]:
    everything = train.batches(config.n_batch_train, shuffle=False)
    stddev = evaluation.gaussian_stddev(
        tqdm(everything, "fitting the Gaussian", unit="batch", leave=False)
    )
    models = {"gaussian": nf.GaussianNoise(stddev), "camera_nlf": nf.CameraNLF()}
    bar = tqdm(test_images, "scoring the baselines", unit="batch", leave=False)
    return {"gaussian_stddev": stddev, "scores": evaluation.evaluate(models, bar, config.seed)}


def fit(config, strategy, run, writing, train, test_batches, test_frames, settings) -> list[dict]:
    """Trains from the beginning, or from the run's last checkpoint; returns the history."""
    mixed, steps = config.batching == "mixed", settings["steps_per_epoch"]
    with strategy.scope():
        model = make_model(config)
        trainer = nf.Trainer(model, config.new_camera)
        trainer.compile(schedules.adam(config.schedule, config.lr, steps * config.epochs))
    checkpoints = Checkpoints(trainer, writing.last, steps)
    checkpoints.restore(run.last)
    done, _ = checkpoints.position
    history = callbacks.History(writing.history, model, run.read_history(done))
    print(
        f"{architecture.title(config.arch)} ({model.arch}) with {model.num_parameters} parameters, "
        f"{trainer.num_trained} of them to train, on {strategy.num_replicas_in_sync} device(s)"
    )

    def batches(shard=(0, 1), first_batch=0) -> tf.data.Dataset:
        return train.batches(
            config.n_batch_train,
            mix_images=mixed,
            first_batch=first_batch,
            repeat=True,
            shard=shard,
        )

    examples = pictures.Examples(test_frames, dataset.noise_label(config))
    scores = settings["baselines"]["scores"]
    kl = evaluation.sampled_kl(model, test_batches, config.seed)
    with Interruption(strategy) as interruption:
        kept = [
            callbacks.StopOnDivergence(),
            callbacks.MarginalKL(kl),
            BestWeights(writing.best, checkpoints),
            history,
            callbacks.keras_curves(writing.tensorboard),
            callbacks.LearnedCurves(model, writing.tensorboard, scores),
            callbacks.NoisePictures(writing.tensorboard, lambda: examples.strips(model)),
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
                validation_freq=schedules.evaluation_epochs(
                    config.epochs, config.epochs_full_valid
                ),
                epochs=config.epochs,
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=kept,
            )
        except DivergedError as error:
            good = newest_first(writing.last)
            raise ValueError(
                f"{error}; last good checkpoint: {good[0] if good else 'none'}; start another run"
            ) from error
    return history.rows
