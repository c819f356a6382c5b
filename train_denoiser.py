"""Trains a denoiser on sampled or real noise of SIDD, or of the offline dataset."""

import argparse
import math
import sys

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import tensorflow as tf
import tf_keras

import dataset
import denoiser_flags
import draws
import noise_flow_tf as nf
import running
import sidd
from denoiser_report import Examples, write_run
from noise_flow_tf import denoising
from noise_flow_tf.conditions import Known
from noise_flow_tf.denoising import DenoiserRun, schedules
from noise_flow_tf.training import callbacks, strategies
from noise_flow_tf.training.checkpoints import BestWeights, Checkpoints, KeepState
from noise_flow_tf.training.interruption import Interruption
from noise_flow_tf.training.schedules import evaluation_epochs
from noise_flow_tf.training.trainer import DivergedError


def main(arguments: list[str] | None = None) -> None:
    args = denoiser_flags.parse(arguments)
    run = DenoiserRun(args.logdir)
    resuming = args.resume and run.settings.is_file()
    if not resuming:
        run.check(args.overwrite)
    strategy = strategies.choose(args.strategy, args.replicas)
    check_shares(args.n_batch_train, strategy.num_replicas_in_sync)
    with tf.device("CPU"):  # where tf.data runs
        model = nf.load(args.model) if args.model else None
    train_frames, test_frames = dataset.frames(args, "train"), dataset.frames(args, "test")
    tf_keras.utils.set_random_seed(args.seed)

    train, test = read_patches(args, train_frames, test_frames)
    steps = train.num_batches(args.n_batch_train, drop_remainder=True)
    if not steps:
        raise ValueError(
            f"{train.num_patches} training patches make no batch of {args.n_batch_train}; take a "
            "smaller --n_batch_train or --stride"
        )
    args.epochs = args.epochs or (
        math.ceil(args.steps / steps) if args.steps else denoiser_flags.DEFAULT_EPOCHS
    )
    source = make_source(args, train.nlf_table(), model)
    print(
        f"{train.num_patches} training and {test.num_patches} test patches from "
        f"{dataset.root(args)}; {args.epochs} epochs of {steps} steps"
    )
    data = {"train": train.digest, "test": test.digest}
    weights = draws.fingerprint(model) if model else None
    if resuming:
        settings = run.read_settings()
        running.check_going_on(run, settings, data, dataset.root(args), args.epochs, steps)
        if settings["noise_model"] != weights:
            raise ValueError(
                f"{args.model} is not the noise model that the run in {run.path} began with; give "
                "that one by --model, or start another run"
            )
    else:
        settings = {**vars(args), "steps_per_epoch": steps, "data": data, "starts": []}
        settings["noise_model"] = weights
    settings["starts"] = [*settings["starts"], running.start()]

    chief = strategies.is_chief(strategy)
    examples = Examples(test.frames)
    with running.to_write(run, settings, args.overwrite, resuming, chief) as writing:
        rows = fit(args, strategy, run, writing, train, test, source, steps, examples)
        if chief:
            best = run.load()
            denoising.save(best, run.saved_model)
            left_out = [*train.skipped.values(), *test.skipped.values()]
            write_run(run, args, rows, best, examples, test.num_patches, left_out)


def check_shares(batch_size: int, replicas: int) -> None:
    """Raises ValueError where some replica would have no patch: oneDNN has no gradient of none."""
    if batch_size < replicas:
        raise ValueError(
            f"--n_batch_train {batch_size} leaves some of the {replicas} devices without a patch; "
            f"take at least {replicas}, or fewer devices"
        )


def read_patches(
    args: argparse.Namespace, train_frames: list[sidd.Frame], test_frames: list[sidd.Frame]
) -> tuple[sidd.Patches, sidd.Patches]:
    """All training patches of the grid, and a fixed choice of test patches from all frames."""
    frames = [*train_frames, *test_frames]
    cameras = list(dict.fromkeys([*sidd.CAMERAS, *(frame.camera for frame in frames)]))
    train = dataset.patches(args, train_frames, cameras, stride=args.stride)
    count = math.ceil(args.n_test_patches / len(test_frames))
    return train, dataset.patches(args, test_frames, cameras, "random", patches_per_image=count)


def make_source(
    args: argparse.Namespace,
    table: dict[tuple[str, int], tuple[float, float]],
    model: nf.NoiseFlow | None,
) -> denoising.sources.Source:
    """The noise to train on; `table` has the NLF of each pair of camera and ISO."""
    if args.noise == "noise_flow":
        levels = Known.of(model).iso_levels
        pairs = [(camera, iso) for camera, iso in table if iso in levels]
        source = denoising.ModelNoise(model, pairs)
    elif args.noise == "camera_nlf":
        source = denoising.TableNLF(list(table.values()))
    else:
        source = {"gauss": denoising.Gauss(), "real": denoising.real}[args.noise]
    return denoising.GaussMix(source, args.gauss_mix) if args.gauss_mix else source


def fit(args, strategy, run, writing, train, test, source, steps, examples) -> list[dict]:
    """Trains from the beginning, or from the run's last checkpoint; returns the history."""
    with strategy.scope():
        network = denoising.DnCNN(args.depth, args.width, args.seed, args.noise_scale)
        trainer = denoising.DenoiserTrainer(network)
        trainer.compile(schedules.adam(args.schedule, args.lr, args.epochs, steps))
    checkpoints = Checkpoints(trainer, writing.last, steps, score="psnr")
    checkpoints.restore(run.last)
    done, _ = checkpoints.position
    history = callbacks.History(writing.history, rows=run.read_history(done))
    parameters = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    print(
        f"DnCNN of depth {args.depth} and width {args.width} with {parameters} parameters, on "
        f"{strategy.num_replicas_in_sync} device(s)"
    )

    def batches(shard=(0, 1), first_batch=0) -> tf.data.Dataset:
        clean = train.batches(
            args.n_batch_train,
            drop_remainder=True,
            first_batch=first_batch,
            repeat=True,
            shard=shard,
        )
        seed = (args.seed, shard[0])
        return denoising.noisy_batches(clean, source, seed, first_batch, args.n_train_threads)

    test_batches = denoising.noisy_batches(
        test.batches(args.n_batch_test, shuffle=False), denoising.real
    )
    with Interruption(strategy) as interruption:
        kept = [
            callbacks.StopAtNaN(),
            callbacks.StopOnDivergence(),
            BestWeights(writing.best, checkpoints, "val_psnr", highest=True),
            history,
            callbacks.keras_curves(writing.tensorboard),
            callbacks.NoisePictures(writing.tensorboard, lambda: examples.strips(network)),
            KeepState(checkpoints, interruption, args.checkpoint_every),
        ]
        if args.average_batches:
            settled = batches().take(args.average_batches)
            kept.insert(0, callbacks.SettledAverages(settled))
        try:
            trainer.fit(
                strategies.in_shares(lambda shard: batches(shard, checkpoints.step)),
                steps_per_epoch=steps,
                validation_data=test_batches,
                validation_freq=evaluation_epochs(args.epochs, args.epochs_full_valid),
                epochs=args.epochs,
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=kept,
            )
        except DivergedError as error:
            raise ValueError(f"{error}; start another run") from error
    return history.rows


if __name__ == "__main__":
    cli.run(main)
