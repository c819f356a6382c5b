"""Trains a noise model on SIDD, or on the offline dataset if no other is given."""

from noise_flow_tf import architecture
from noise_flow_tf.cli import flags
from noise_flow_tf.cli.parsing import ConfigParser, positive
from noise_flow_tf.programs.configs import (
    DEFAULT_STEPS,
    OFFLINE_EPOCHS,
    RELEASE_EPOCHS,
    TrainConfig,
)
from noise_flow_tf.saving.run_folder import RunFolder
from noise_flow_tf.training.names import RATES


def parse(arguments: list[str] | None = None, program: str | None = None) -> TrainConfig:
    """Return the config of the arguments; `program` is what messages call the command."""
    parser = make_parser(program)
    config = check(parser, parser.config(arguments))
    if config.resume and RunFolder(config.logdir).settings.is_file():
        RunFolder(config.logdir).read_settings()
        return flags.of_run(parser, arguments, config.logdir)
    return config


def make_parser(program: str | None = None) -> ConfigParser[TrainConfig]:
    """Make the parser; `program` is what messages call the command."""
    parser = ConfigParser(
        TrainConfig,
        prog=program,
        description=__doc__,
        epilog="architectures (--arch): a name of the paper, or "
        + architecture.table()
        + "\n\nThe flags of the original release's job script are taken as they stand.",
    )
    add = parser.option
    add("arch", help="architecture, see below")
    add("width", type=positive(int), help="hidden channels of the couplings")
    add(
        "new_camera",
        metavar="CODE",
        help="train nothing but a camera's own parameters, added to the model of --from, on this "
        "camera's frames; the other cameras stay as they are",
    )
    parser.add_argument(
        "--from", dest="from_run", metavar="RUN", help="the model to which --new_camera is added"
    )
    _add_training_flags(parser)
    flags.add_run_flags(parser, "--continue_training", "--continue-training")
    add("patch_sampling", choices=["uniform", "random"], help="grid, or anywhere")
    flags.add_patch_flags(parser)
    return parser


def _add_training_flags(parser: ConfigParser[TrainConfig]) -> None:
    """Add the flags that say for how long, how fast and on what batches to train."""
    add = parser.option
    add(
        "epochs",
        type=positive(int),
        help=f"passes over the training set; by default {OFFLINE_EPOCHS} on the offline dataset, "
        f"elsewhere as many as make {DEFAULT_STEPS} steps, and {RELEASE_EPOCHS} with the release's "
        "schedule",
    )
    add(
        "schedule",
        choices=["cosine", "release"],
        help="learning rate: warm-up and cosine decay, or the release's constant; "
        "by default cosine, and release if --lr is given",
    )
    add(
        "lr",
        type=positive(float),
        help=f"cosine's peak (default {RATES['cosine']:g}), or release's constant "
        f"(default {RATES['release']:g})",
    )
    add(
        "batching",
        choices=["mixed", "release"],
        help="batches of all images, or each of one image as in the release",
    )


def check(parser: ConfigParser[TrainConfig], config: TrainConfig) -> TrainConfig:
    """Return the config; end the program if its flags do not go together."""
    if config.resume and config.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    if bool(config.new_camera) != bool(config.from_run):
        parser.error("--new_camera CODE and --from RUN go together")
    if config.new_camera and config.strategy == "multiworker":
        parser.error("--new_camera trains three numbers or less: leave --strategy multiworker out")
    return config


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is what its messages call it."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import train

    train.run(config)
