"""The command line of train.py."""

import argparse
import math

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import dataset
import running
from noise_flow_tf import architecture
from noise_flow_tf.training import RunFolder, schedules

OFFLINE_EPOCHS = 60
DEFAULT_STEPS = 10_000
RELEASE_EPOCHS = 2000
_FREE_ON_RESUME = {
    "logdir", "overwrite", "resume", "strategy", "replicas", "sidd_path", "cache",
    "n_train_threads", "checkpoint_every",
}  # fmt: skip
_NEEDED_TO_RESUME = ("steps_per_epoch", "data", "baselines", "starts")


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
    add(
        "new_camera",
        metavar="CODE",
        help="train nothing but a camera's own parameters, added to the model of --from, on this "
        "camera's frames; the other cameras stay as they are",
    )
    parser.add_argument(
        "--from", dest="from_run", metavar="RUN", help="the model to which --new_camera is added"
    )
    add("seed", type=int, default=0, help="of initial values, shuffling and samples")
    parser.add_argument(
        "--resume",
        "--continue_training",
        "--continue-training",
        action="store_true",
        help="go on with the run in that folder from its last checkpoint, with its settings; "
        "begin it where there is none",
    )
    add(
        "checkpoint_every",
        type=cli.positive(int),
        default=500,
        help="steps between checkpoints within an epoch; one more follows each epoch",
    )

    add(
        "epochs",
        type=cli.positive(int),
        help=f"passes over the training set; by default {OFFLINE_EPOCHS} on the offline dataset, "
        f"elsewhere as many as make {DEFAULT_STEPS} steps, and {RELEASE_EPOCHS} with the release's "
        "schedule",
    )
    add(
        "schedule",
        choices=["cosine", "release"],
        help="learning rate: warm-up and cosine decay, or the release's constant; "
        "by default cosine, and release where --lr is given",
    )
    add(
        "lr",
        type=cli.positive(float),
        help=f"cosine's peak (default {schedules.RATES['cosine']:g}), or release's constant "
        f"(default {schedules.RATES['release']:g})",
    )
    add(
        "average_batches",
        type=cli.not_negative,
        default=32,
        metavar="N",
        help="training batches that batch norm's averages are measured on before each evaluation; "
        "0: the lagging averages of training, as in the release",
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
    running.add_strategy_flags(parser)

    add(
        "patch_sampling", choices=["uniform", "random"], default="uniform", help="grid, or anywhere"
    )
    dataset.add_flags(parser)
    args = parser.parse_args(arguments)
    if args.resume and args.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    if bool(args.new_camera) != bool(args.from_run):
        parser.error("--new_camera CODE and --from RUN go together")
    if args.new_camera and args.strategy == "multiworker":
        parser.error("--new_camera trains three numbers or less: leave --strategy multiworker out")
    settings = RunFolder(args.logdir).settings
    if not (args.resume and settings.is_file()):
        return _complete(args)
    settings = RunFolder(args.logdir).read_settings()
    return running.flags_going_on(
        parser,
        arguments,
        settings,
        _complete,
        needed=_NEEDED_TO_RESUME,
        free={*_FREE_ON_RESUME, *(["epochs"] if settings.get("schedule") == "release" else [])},
    )


def default_epochs(args: argparse.Namespace, steps_per_epoch: int) -> int:
    """How many epochs to train where --epochs does not say it."""
    if args.schedule == "release":
        return RELEASE_EPOCHS
    if args.sidd_path is None:
        return OFFLINE_EPOCHS
    return math.ceil(DEFAULT_STEPS / steps_per_epoch)


def _complete(args: argparse.Namespace) -> argparse.Namespace:
    """Fills in what depends on other flags."""
    if args.new_camera:
        args.cam, args.average_batches = [args.new_camera], 0
    args.arch = "|".join(architecture.parse(args.arch))
    args.schedule = args.schedule or ("release" if args.lr else "cosine")
    args.lr = args.lr or schedules.RATES[args.schedule]
    return args
