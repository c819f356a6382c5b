"""Trains DnCNN to denoise raw images, on sampled or on real noise (Section 5 of the paper)."""

import textwrap

from noise_flow_tf.cli import flags
from noise_flow_tf.cli.parsing import ConfigParser, positive
from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.programs.configs import DENOISER_EPOCHS, TrainDenoiserConfig
from noise_flow_tf.saving.run_folder import DenoiserRun


def parse(arguments: list[str] | None = None, program: str | None = None) -> TrainDenoiserConfig:
    """Return the config of the arguments; `program` is what messages call the command."""
    parser = make_parser(program)
    config = parser.config(arguments)
    run = DenoiserRun(config.logdir or f"runs/dncnn_{config.noise}")
    if config.resume and run.settings.is_file():
        run.read_settings()
        return _checked(parser, flags.of_run(parser, arguments, run.path))
    if config.epochs and config.steps:
        parser.error("--epochs and --steps exclude each other")
    return _checked(parser, config)


def make_parser(program: str | None = None) -> ConfigParser[TrainDenoiserConfig]:
    """Make the parser; `program` is what messages call the command."""
    parser = ConfigParser(
        TrainDenoiserConfig,
        prog=program,
        description=__doc__,
        epilog=f"""noise to train on (--noise), drawn anew for each batch unless it says otherwise
{_listed_sources()}
Clean patches are those of frame 010 of the training instances; noisy patches are clipped to [0, 1].
`noise-flow evaluate-denoiser` scores what was trained.

The defaults are the original release's but for these: --average_batches; --epochs, of which nothing
is known; --gauss_mix, since pure Noise Flow noise is the paper's text; and the pairs of camera and
ISO, which the release takes from a table of its own with seven pairs less.""",
    )
    add = parser.option
    add("noise", choices=[*SOURCES], help="what to train on, see below; needed but with --resume")
    add(
        "model",
        metavar="PATH",
        help=f"for --noise {_with_model()}: run folder of train.py, SavedModel, or prefix of a "
        "released checkpoint",
    )
    add(
        "gauss_mix",
        type=_part,
        metavar="PART",
        help="give so large a part of the batches Gaussian noise instead, 0.5 in the release",
    )
    _add_training_flags(parser)
    flags.add_run_flags(parser, logdir_note=" (default runs/dncnn_NOISE)")
    flags.add_patch_flags(parser)
    return parser


def _add_training_flags(parser: ConfigParser[TrainDenoiserConfig]) -> None:
    """Add the flags of the network, and of how it is trained."""
    add = parser.option
    add("depth", type=positive(int), help="convolutions (17 in the larger DnCNN)")
    add("width", type=positive(int), help="filters of each (64 in the larger one)")
    add(
        "noise_scale",
        type=positive(float),
        help="what the last convolution gives is multiplied by; about the noise's standard "
        "deviation (0.02) shortens training by far",
    )
    add(
        "epochs",
        type=positive(int),
        help=f"passes over the clean patches (default {DENOISER_EPOCHS})",
    )
    add(
        "steps",
        type=positive(int),
        help="instead of --epochs: as many epochs as make so many steps",
    )
    add(
        "schedule",
        choices=["release", "cosine"],
        help="learning rate: a tenth after epoch 30 and a twentieth after epoch 60 as in the "
        "release, or warm-up and cosine decay over the whole training",
    )
    add("lr", type=positive(float), help="the highest rate of it")
    add(
        "n_test_patches",
        type=positive(int),
        help="test patches, from all test frames, that each evaluation while training is on; the "
        "weights with the highest mean PSNR on them are kept, as in the paper",
    )
    add("stride", type=positive(int), help="from one clean patch to the next")


def _checked(
    parser: ConfigParser[TrainDenoiserConfig], config: TrainDenoiserConfig
) -> TrainDenoiserConfig:
    """Return the config; end the program if its flags do not go together."""
    if not config.noise:
        parser.error(f"--noise is needed: {', '.join(SOURCES)}")
    if config.depth < 2:
        parser.error(f"--depth must be at least 2; got {config.depth}")
    if config.resume and config.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    if SOURCES[config.noise].needs_model != bool(config.model):
        parser.error(f"--noise {_with_model()} and --model PATH go together")
    return config


def _with_model() -> str:
    return " or ".join(source.name for source in SOURCES.values() if source.needs_model)


def _listed_sources() -> str:
    return "\n".join(
        textwrap.fill(f"{source.name:10}  {source.help}", 100,
                      initial_indent="  ", subsequent_indent=" " * 14)
        for source in SOURCES.values()
    )  # fmt: skip


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is what its messages call it."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import train_denoiser

    train_denoiser.run(config)


def _part(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


_part.__name__ = "number from 0 to 1"
