"""Trains a noise model on SIDD, or on the offline dataset where no other is given."""

import argparse
import json
import sys
import time

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import tensorflow as tf
import tf_keras
from tqdm import tqdm

import noise_flow_tf as nf
import pictures
import sidd
from noise_flow_tf import architecture, evaluation, export, report
from noise_flow_tf.training import callbacks, run_folder, schedules

OFFLINE_DATASET = "data/synthetic_sidd"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__,
        epilog="architectures (--arch): a name of the paper, or "
        + architecture.table()
        + "\n\nThe flags of the original release's job script are taken as they stand.",
    )
    add = parser.option
    add("logdir", metavar="RUN", default="runs/train", help="folder that the run is written to")
    add("overwrite", action="store_true", help="remove an earlier run in that folder first")
    add("arch", default="S-Ax4-G-Ax4-CAM", help="architecture, see below")
    add("width", type=cli.positive(int), default=4, help="hidden channels of the couplings")
    add("seed", type=int, default=0, help="of initial values, shuffling and samples")

    add("epochs", type=cli.positive(int), default=60, help="passes over the training set")
    add(
        "schedule",
        choices=["cosine", "release"],
        help="learning rate: warm-up and cosine decay, or the release's constant; "
        "by default cosine, and release where --lr is given",
    )
    add(
        "lr",
        type=cli.positive(float),
        help=f"cosine's peak (default {schedules.COSINE_RATE:g}), or release's constant "
        f"(default {schedules.RELEASE_RATE:g})",
    )
    add("n_batch_train", type=cli.positive(int), default=138, help="patches in a training batch")
    add("n_batch_test", type=cli.positive(int), default=138, help="patches in a test batch")
    add(
        "batching",
        choices=["mixed", "release"],
        default="mixed",
        help="batches of all images, or each of one image as in the release",
    )
    add(
        "epochs_full_valid",
        type=cli.positive(int),
        default=10,
        help="test every so many epochs, besides each of the first ten and each tenth below 100",
    )
    add(
        "strategy",
        choices=["auto", "none", "mirrored"],
        default="auto",
        help="MirroredStrategy over all GPUs (auto: where there are any)",
    )

    add(
        "sidd_path",
        metavar="ROOT",
        help="SIDD_Medium_Raw or SIDD_Full; by default the offline dataset, written once to "
        f"{OFFLINE_DATASET}",
    )
    add("patch_height", type=cli.positive(int), default=32, help="patch side in packed pixels")
    add(
        "patch_sampling", choices=["uniform", "random"], default="uniform", help="grid, or anywhere"
    )
    add(
        "n_patches_per_image",
        type=cli.positive(int),
        help="at most so many patches of an image (default its whole grid; the release has 2898)",
    )
    add("start_tr_im_idx", type=int, default=10, help="first frame of each training instance")
    add("end_tr_im_idx", type=int, default=12, help="end of the training frames, exclusive")
    add("start_ts_im_idx", type=int, default=10, help="first frame of each test instance")
    add("end_ts_im_idx", type=int, default=12, help="end of the test frames, exclusive")
    add("cam", nargs="+", metavar="CODE", help=f"only these cameras: {', '.join(sidd.CAMERAS)}")
    add(
        "iso",
        nargs="+",
        type=int,
        metavar="ISO",
        help=f"only these ISO levels: {', '.join(map(str, sidd.ISO_LEVELS))}",
    )
    add("n_train_threads", type=cli.positive(int), default=4, help="files read at the same time")
    args = parser.parse_args(arguments)
    args.schedule = args.schedule or ("release" if args.lr else "cosine")
    default_rates = {"cosine": schedules.COSINE_RATE, "release": schedules.RELEASE_RATE}
    args.lr = args.lr or default_rates[args.schedule]
    return args


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


def patches(args, train_frames, test_frames) -> tuple[sidd.Patches, sidd.Patches]:
    shared = {
        "patch_size": args.patch_height,
        "patches_per_image": args.n_patches_per_image,
        "strict": True,
        "seed": args.seed,
        "parallel_reads": args.n_train_threads,
    }
    train = sidd.Patches(train_frames, sampling=args.patch_sampling, **shared)
    return train, sidd.Patches(test_frames, **shared)


def choose_strategy(name: str) -> tf.distribute.Strategy:
    if name == "mirrored" or (name == "auto" and tf.config.list_physical_devices("GPU")):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    tf_keras.utils.set_random_seed(args.seed)
    arch = "|".join(architecture.parse(args.arch))
    folder = run_folder.RunFolder(args.logdir)
    folder.check(args.overwrite)
    train_frames, test_frames = select(args)
    train_patches, test_patches = patches(args, train_frames, test_frames)
    in_training = {"batch_size": args.n_batch_train, "mix_images": args.batching == "mixed"}
    train = train_patches.batches(**in_training)
    test = test_patches.batches(args.n_batch_test, shuffle=False)
    print(
        f"{len(train_frames)} training and {len(test_frames)} test frames in {len(train)} and "
        f"{len(test)} batches an epoch, from {args.sidd_path or OFFLINE_DATASET}"
    )

    gaussian = nf.GaussianNoise(
        evaluation.gaussian_stddev(tqdm(train, "fitting the Gaussian", unit="batch", leave=False))
    )
    baselines = {"gaussian": evaluation.for_batches(gaussian), "camera_nlf": evaluation.camera_nlf}
    scores = evaluation.evaluate(
        baselines, tqdm(test, "scoring the baselines", unit="batch", leave=False), args.seed
    )

    folder.create({**vars(args), "arch": arch, "command": sys.argv}, args.overwrite)
    strategy = choose_strategy(args.strategy)
    with strategy.scope():
        model = nf.NoiseFlow(args.arch, args.width, args.seed)
        trainer = nf.Trainer(model)
        trainer.compile(schedules.adam(args.schedule, args.lr, len(train) * args.epochs))
    print(
        f"{args.arch} ({model.arch}) with {model.num_parameters} parameters on "
        f"{strategy.num_replicas_in_sync} device(s)"
    )

    examples = pictures.Examples(test_frames)
    start = time.monotonic()
    trainer.fit(
        train_patches.batches(**in_training, repeat=True),
        steps_per_epoch=len(train),
        validation_data=test,
        validation_freq=schedules.evaluation_epochs(args.epochs, args.epochs_full_valid),
        epochs=args.epochs,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            callbacks.StopOnDivergence(),
            callbacks.BestWeights(folder.best),
            callbacks.last_weights(folder.last),
            callbacks.History(folder.history, model),
            callbacks.keras_curves(folder.tensorboard),
            callbacks.LearnedCurves(
                model, folder.tensorboard, {name: score["nll"] for name, score in scores.items()}
            ),
            callbacks.NoisePictures(folder.tensorboard, lambda: examples.strips(model)),
        ],
    )
    minutes = (time.monotonic() - start) / 60

    best = folder.load()
    export.save(best, folder.saved_model)
    scores |= evaluation.evaluate(
        {"noise_flow": evaluation.for_batches(best)},
        tqdm(test, "scoring the best model", unit="batch", leave=False),
        args.seed,
    )
    camera_nlf = nf.CameraNLF(examples.nlf[:, 0], examples.nlf[:, 1])
    figure = examples.comparison(
        {"Gaussian": gaussian, "Camera NLF": camera_nlf, "Noise Flow": best}
    )
    with sidd.replacing(folder.pictures / "samples.png") as path:
        figure.savefig(path, format="png")
    write_report(folder, args, scores, minutes, len(train) * args.epochs)


def write_report(folder, args, scores, minutes: float, steps: int) -> None:
    dataset = args.sidd_path or f"the offline stand-in for SIDD ({OFFLINE_DATASET})"
    table = report.table(scores)
    text = [
        f"# {args.arch} on {dataset}",
        "",
        "Test NLL in nats per dimension and marginal KL divergence in nats; in parentheses the "
        "relative improvement of Noise Flow, as in Table 1 of the paper.",
        "",
        table,
        "",
        f"{args.epochs} epochs, {steps} steps of {args.n_batch_train} patches in {minutes:.1f} "
        f"minutes; schedule {args.schedule} at {args.lr:g}, seed {args.seed}. The best weights by "
        "test NLL were kept, as in the original release.",
        "",
        "![Samples beside the real noise](pictures/samples.png)",
        "",
    ]
    training = {"minutes": minutes, "steps": steps, "epochs": args.epochs}
    numbers = {"test": scores, "dataset": str(dataset), "training": training}
    run_folder.write_text(folder.report, json.dumps(numbers, indent=2) + "\n")
    run_folder.write_text(folder.report_text, "\n".join(text))
    print(f"\n{table}\n")
    print(f"report    {folder.report_text}")
    print(f"pictures  {folder.pictures}")
    print(f"model     {folder.saved_model}")
    print(f"curves    tensorboard --logdir {folder.tensorboard}")


if __name__ == "__main__":
    cli.run(main)
