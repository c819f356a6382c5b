"""Trains a noise model on SIDD, or on the offline dataset where no other is given."""

import argparse
import sys

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import tensorflow as tf
import tf_keras
from tqdm import tqdm

import dataset
import noise_flow_tf as nf
import pictures
import run_report
import running
import train_flags
from noise_flow_tf import architecture, evaluation, export
from noise_flow_tf.training import callbacks, schedules, strategies
from noise_flow_tf.training.checkpoints import BestWeights, Checkpoints, KeepState
from noise_flow_tf.training.interruption import Interruption
from noise_flow_tf.training.run_folder import RunFolder, newest_first
from noise_flow_tf.training.trainer import DivergedError


def main(arguments: list[str] | None = None) -> None:
    args = train_flags.parse(arguments)
    run = RunFolder(args.logdir)
    resuming = args.resume and run.settings.is_file()
    if not resuming:
        run.check(args.overwrite)
    strategies.prepare(args.strategy, args.replicas)  # before TensorFlow computes anything
    if args.new_camera:
        make_model(args)  # before anything is read, whether that can be done
    train_frames, test_frames = dataset.frames(args, "train"), dataset.frames(args, "test")
    strategy = strategies.choose(args.strategy, args.replicas)
    model = make_model(args)
    args.arch, args.width = model.arch, model.width
    tf_keras.utils.set_random_seed(args.seed)

    train = dataset.patches(args, train_frames, model.cameras, args.patch_sampling)
    test = dataset.patches(args, test_frames, model.cameras)
    steps = train.num_batches(args.n_batch_train, mix_images=args.batching == "mixed")
    test_batches = test.batches(args.n_batch_test, shuffle=False)
    test_images = test.batches(args.n_batch_test, mix_images=False, shuffle=False)
    print(
        f"{train.num_patches} training and {test.num_patches} test patches in {steps} and "
        f"{len(test_batches)} batches an epoch, from {dataset.root(args)}"
    )
    args.epochs = args.epochs or train_flags.default_epochs(args, steps)
    data = {"train": train.digest, "test": test.digest}
    if resuming:
        settings = run.read_settings()
        running.check_going_on(run, settings, data, dataset.root(args), args.epochs, steps)
    else:
        settings = {**vars(args), **export.recipe(model), "steps_per_epoch": steps, "data": data}
        settings |= {"baselines": score_baselines(args, train, test_images), "starts": []}
    settings["starts"] = [*settings["starts"], running.start()]
    settings["epochs"] = args.epochs

    chief = strategies.is_chief(strategy)
    with running.to_write(run, settings, args.overwrite, resuming, chief) as writing:
        rows = fit(args, strategy, run, writing, train, test_batches, test.frames, settings)
        if chief:
            finish(args, run, train, test, test_images, test.frames, rows)


def finish(args, run, train, test, test_images, test_frames, rows) -> None:
    """Exports and scores the best weights, and writes the pictures and the report."""
    best = run.load()
    export.save(best, run.saved_model)
    baselines = run.read_settings()["baselines"]
    scores = baselines["scores"] | evaluation.evaluate(
        {"noise_flow": evaluation.for_batches(best)},
        tqdm(test_images, "scoring the best model", unit="batch", leave=False),
        args.seed,
    )
    gaussian = nf.GaussianNoise(baselines["gaussian_stddev"])
    run_report.draw(run, pictures.Examples(test_frames), gaussian, best, rows, baselines["scores"])
    run_report.write(run, args, scores, rows, [*train.skipped.items(), *test.skipped.items()])


def make_model(args: argparse.Namespace) -> nf.NoiseFlow:
    """A fresh model, or a trained one with a camera added."""
    if args.new_camera:
        return nf.add_camera(nf.load(args.from_run), args.new_camera)
    return nf.NoiseFlow(args.arch, args.width, args.seed)


def score_baselines(args, train, test_images) -> dict[str, object]:
    everything = train.batches(args.n_batch_train, shuffle=False)
    stddev = evaluation.gaussian_stddev(
        tqdm(everything, "fitting the Gaussian", unit="batch", leave=False)
    )
    gaussian = evaluation.for_batches(nf.GaussianNoise(stddev))
    models = {"gaussian": gaussian, "camera_nlf": evaluation.camera_nlf}
    bar = tqdm(test_images, "scoring the baselines", unit="batch", leave=False)
    return {"gaussian_stddev": stddev, "scores": evaluation.evaluate(models, bar, args.seed)}


def fit(args, strategy, run, writing, train, test_batches, test_frames, settings) -> list[dict]:
    """Trains from the beginning, or from the run's last checkpoint; returns the history."""
    mixed, steps = args.batching == "mixed", settings["steps_per_epoch"]
    with strategy.scope():
        model = make_model(args)
        trainer = nf.Trainer(model)
        trainer.compile(schedules.adam(args.schedule, args.lr, steps * args.epochs))
    checkpoints = Checkpoints(trainer, writing.last, steps)
    checkpoints.restore(run.last)
    done, _ = checkpoints.position
    history = callbacks.History(writing.history, model, run.read_history(done))
    print(
        f"{architecture.title(args.arch)} ({model.arch}) with {model.num_parameters} parameters on "
        f"{strategy.num_replicas_in_sync} device(s)"
    )

    def batches(shard=(0, 1), first_batch=0) -> tf.data.Dataset:
        return train.batches(
            args.n_batch_train,
            mix_images=mixed,
            first_batch=first_batch,
            repeat=True,
            shard=shard,
        )

    examples = pictures.Examples(test_frames)
    scores = settings["baselines"]["scores"]
    kl = evaluation.sampled_kl(evaluation.for_batches(model), test_batches, args.seed)
    with Interruption(strategy) as interruption:
        kept = [
            callbacks.StopOnDivergence(),
            callbacks.MarginalKL(kl),
            BestWeights(writing.best, checkpoints),
            history,
            callbacks.keras_curves(writing.tensorboard),
            callbacks.LearnedCurves(model, writing.tensorboard, scores),
            callbacks.NoisePictures(writing.tensorboard, lambda: examples.strips(model)),
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
                validation_freq=schedules.evaluation_epochs(args.epochs, args.epochs_full_valid),
                epochs=args.epochs,
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=kept,
            )
        except DivergedError as error:
            good = newest_first(writing.last)
            raise ValueError(
                f"{error}; last good checkpoint: {good[0] if good else 'none'}; start another run"
            ) from error
    return history.rows


if __name__ == "__main__":
    cli.run(main)
