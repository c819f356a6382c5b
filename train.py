"""Trains a noise model on SIDD, or on the offline dataset where no other is given."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import tensorflow as tf
import tf_keras
from tqdm import tqdm

import noise_flow_tf as nf
import pictures
import sidd
import train_flags
from noise_flow_tf import architecture, evaluation, export, report
from noise_flow_tf.training import callbacks, run_folder, schedules, strategies
from noise_flow_tf.training.checkpoints import BestWeights, Checkpoints, KeepState
from noise_flow_tf.training.interruption import Interruption
from noise_flow_tf.training.run_folder import RunFolder
from train_flags import OFFLINE_DATASET


def main(arguments: list[str] | None = None) -> None:
    args = train_flags.parse(arguments)
    run = RunFolder(args.logdir)
    resuming = args.resume and run.settings.is_file()
    if not resuming:
        run.check(args.overwrite)
    if args.new_camera:
        make_model(args)  # before anything is read, whether that can be done
    train_frames, test_frames = select(args)
    strategy = strategies.choose(args.strategy)
    model = make_model(args)
    args.arch, args.width = model.arch, model.width
    tf_keras.utils.set_random_seed(args.seed)

    train, test = read_patches(args, train_frames, test_frames, model.cameras)
    steps = train.num_batches(args.n_batch_train, mix_images=args.batching == "mixed")
    args.epochs = args.epochs or train_flags.default_epochs(args, steps)
    settings = {**vars(args), **export.recipe(model), "steps_per_epoch": steps, **origin()}
    if resuming and run.read_settings()["steps_per_epoch"] != steps:
        raise ValueError(
            f"{args.sidd_path or OFFLINE_DATASET} now gives {steps} batches an epoch, but the run "
            f"in {run.path} began with {run.read_settings()['steps_per_epoch']}; resume it on the "
            "dataset that it began with"
        )
    test_batches = test.batches(args.n_batch_test, shuffle=False)
    print(
        f"{train.num_patches} training and {test.num_patches} test patches in {steps} and "
        f"{len(test_batches)} batches an epoch, from {args.sidd_path or OFFLINE_DATASET}"
    )
    gaussian, scores = score_baselines(args, train, test_batches)

    chief = strategies.is_chief(strategy)
    with run_to_write(run, settings, args.overwrite, resuming, chief) as writing:
        rows = fit(args, strategy, run, writing, train, test_batches, test_frames, scores)
    if chief:
        best = run.load()
        export.save(best, run.saved_model)
        scores |= evaluation.evaluate(
            {"noise_flow": evaluation.for_batches(best)},
            tqdm(test_batches, "scoring the best model", unit="batch", leave=False),
            args.seed,
        )
        draw(run, pictures.Examples(test_frames), gaussian, best, rows, scores)
        write_report(run, args, scores, rows, [*train.skipped.items(), *test.skipped.items()])


def make_model(args: argparse.Namespace) -> nf.NoiseFlow:
    """A fresh model, or a trained one with a camera added."""
    if args.new_camera:
        return nf.add_camera(nf.load(args.from_run), args.new_camera)
    return nf.NoiseFlow(args.arch, args.width, args.seed)


def select(args: argparse.Namespace) -> tuple[list[sidd.Frame], list[sidd.Frame]]:
    """The frames to train and to test on."""
    root = args.sidd_path or sidd.write_synthetic(OFFLINE_DATASET, exist_ok=True)
    instances = sidd.index(root)
    ranges = {
        "train": (args.start_tr_im_idx, args.end_tr_im_idx),
        "test": (args.start_ts_im_idx, args.end_ts_im_idx),
    }
    chosen = []
    for split, frame_range in ranges.items():
        frames = sidd.select_frames(instances, split, frame_range, args.cam, args.iso)
        if not frames:
            raise ValueError(
                f"{root} has no {split} frame left after choosing frames {frame_range[0]} to "
                f"{frame_range[1] - 1}, cameras {args.cam or 'all'} and ISO {args.iso or 'all'}"
            )
        chosen.append(frames)
    return tuple(chosen)


def read_patches(args, train_frames, test_frames, cameras) -> tuple[sidd.Patches, sidd.Patches]:
    shared = {
        "patch_size": args.patch_height,
        "patches_per_image": args.n_patches_per_image,
        "cache": args.cache,
        "strict": args.strict,
        "seed": args.seed,
        "parallel_reads": args.n_train_threads,
        "cameras": cameras,
    }
    train = sidd.Patches(train_frames, sampling=args.patch_sampling, **shared)
    return train, sidd.Patches(test_frames, **shared)


def origin() -> dict[str, object]:
    """What the run was started from: the command, and the commit of this code where git knows."""
    git = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {"command": sys.argv, "git_commit": commit}


def score_baselines(args, train, test_batches) -> tuple[nf.GaussianNoise, dict]:
    everything = train.batches(args.n_batch_train, shuffle=False)
    gaussian = nf.GaussianNoise(
        evaluation.gaussian_stddev(
            tqdm(everything, "fitting the Gaussian", unit="batch", leave=False)
        )
    )
    models = {"gaussian": evaluation.for_batches(gaussian), "camera_nlf": evaluation.camera_nlf}
    bar = tqdm(test_batches, "scoring the baselines", unit="batch", leave=False)
    return gaussian, evaluation.evaluate(models, bar, args.seed)


@contextmanager
def run_to_write(run, settings, overwrite, resuming, chief) -> Iterator[RunFolder]:
    """The run's folder; for a worker beside the chief one that goes away."""
    if chief:
        if not resuming:
            run.create(settings, overwrite)
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        own = RunFolder(Path(folder) / "worker")
        own.create(settings)
        yield own


def fit(args, strategy, run, writing, train, test_batches, test_frames, scores) -> list[dict]:
    """Trains from the beginning, or from the run's last checkpoint; returns the history."""
    mixed = args.batching == "mixed"
    steps = train.num_batches(args.n_batch_train, mix_images=mixed)
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
    baseline_nll = {name: score["nll"] for name, score in scores.items()}
    with Interruption(strategy) as interruption:
        kept = [
            callbacks.StopOnDivergence(),
            BestWeights(writing.best, checkpoints),
            history,
            callbacks.keras_curves(writing.tensorboard),
            callbacks.LearnedCurves(model, writing.tensorboard, baseline_nll),
            callbacks.NoisePictures(writing.tensorboard, lambda: examples.strips(model)),
            KeepState(checkpoints, interruption, args.checkpoint_every),
        ]
        if args.average_batches:
            settled = batches().take(args.average_batches)
            kept.insert(0, callbacks.SettledAverages(settled))
        trainer.fit(
            strategies.in_shares(lambda shard: batches(shard, checkpoints.step)),
            steps_per_epoch=steps,
            validation_data=test_batches,
            validation_freq=schedules.evaluation_epochs(args.epochs, args.epochs_full_valid),
            epochs=args.epochs,
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=kept,
        )
    return history.rows


def draw(run, examples, gaussian, best, rows, scores) -> None:
    """Writes the pictures of samples and of the history."""
    camera_nlf = nf.CameraNLF(examples.nlf[:, 0], examples.nlf[:, 1])
    models = {"Gaussian": gaussian, "Camera NLF": camera_nlf, "Noise Flow": best}
    baselines = {name: score for name, score in scores.items() if name != "noise_flow"}
    figures = {"samples": examples.comparison(models), **pictures.history(rows, baselines)}
    for name, figure in figures.items():
        with sidd.replacing(run.pictures / f"{name}.png") as path:
            figure.savefig(path, format="png")


def write_report(run, args, scores, rows, skipped) -> None:
    dataset = args.sidd_path or f"the offline stand-in for SIDD ({OFFLINE_DATASET})"
    settings = run.read_settings()
    minutes = sum(row["seconds"] for row in rows) / 60
    steps = settings["steps_per_epoch"] * len(rows)
    versions = ", ".join(f"{name} {number}" for name, number in settings["versions"].items())
    table = report.table(scores)
    text = [
        f"# {architecture.title(args.arch)} on {dataset}",
        "",
        "Test NLL in nats per dimension and marginal KL divergence in nats; in parentheses the "
        "relative improvement of Noise Flow, as in Table 1 of the paper.",
        "",
        table,
        "",
        f"{len(rows)} epochs, {steps} steps of {args.n_batch_train} patches in {minutes:.1f} "
        f"minutes; schedule {args.schedule} at {args.lr:g}, seed {args.seed}. The best weights by "
        "test NLL were kept, as in the original release.",
        "",
        f"Command `{' '.join(settings['command'])}`, commit {settings['git_commit']}, {versions}.",
        "",
        *[f"Frame left out: {reason}" for _, reason in skipped],
        *([""] if skipped else []),
        *[f"![{path.stem}](pictures/{path.name})" for path in sorted(run.pictures.glob("*.png"))],
        "",
    ]
    numbers = {
        "test": scores,
        "dataset": str(dataset),
        "training": {"minutes": minutes, "steps": steps, "epochs": len(rows)},
        "left_out": [reason for _, reason in skipped],
        "seed": args.seed,
        **{name: settings[name] for name in ("versions", "git_commit", "command")},
    }
    run_folder.write_text(run.report, json.dumps(numbers, indent=2) + "\n")
    run_folder.write_text(run.report_text, "\n".join(text))
    print(f"\n{table}\n")
    print(f"report    {run.report_text}")
    print(f"pictures  {run.pictures}")
    print(f"model     {run.saved_model}")
    print(f"curves    tensorboard --logdir {run.tensorboard}")


if __name__ == "__main__":
    cli.run(main)
