"""The command line of train_denoiser.py."""

import argparse

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import dataset
import running
from noise_flow_tf.denoising import DenoiserRun

NOISES = ("gauss", "camera_nlf", "noise_flow", "real")
DEFAULT_EPOCHS = 180
_FREE_ON_RESUME = {
    "logdir", "overwrite", "resume", "strategy", "replicas", "sidd_path", "cache",
    "n_train_threads", "checkpoint_every", "model",
}  # fmt: skip
_NEEDED_TO_RESUME = ("steps_per_epoch", "data", "noise_model", "starts")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description="Trains DnCNN to denoise raw images, on sampled or on real noise (Section 5 of "
        "the paper).",
        epilog="""noise to train on (--noise)
  gauss       white Gaussian, sigma ~ U(0.24, 11.5) / 255 for each patch
  camera_nlf  N(0, beta1 * clean + beta2), for each patch with the NLF that METADATA states for a
              random one of the training frames' pairs of camera and ISO
  noise_flow  sampled from the noise model --model, for each patch with a random one of these pairs
  real        that of the real pairs
The first three are drawn anew for each batch. Clean patches are those of frame 010 of the training
instances; noisy patches are clipped to [0, 1]. evaluate_denoiser.py scores what was trained.

The defaults are the original release's but for these: --average_batches; --epochs, of which nothing
is known; --gauss_mix, since pure Noise Flow noise is the paper's text; and the pairs of camera and
ISO, which the release takes from a table of its own with seven pairs less.""",
    )
    add = parser.option
    add("noise", choices=NOISES, help="what to train on, see below; needed but with --resume")
    add(
        "model",
        metavar="PATH",
        help="for --noise noise_flow: run folder of train.py, SavedModel, or prefix of a released "
        "checkpoint",
    )
    add(
        "gauss_mix",
        type=_part,
        default=0.0,
        metavar="PART",
        help="give so large a part of the batches Gaussian noise instead, 0.5 in the release",
    )
    add(
        "logdir", metavar="RUN", help="folder that the run is written to (default runs/dncnn_NOISE)"
    )
    add("overwrite", action="store_true", help="remove an earlier run in that folder first")
    add("seed", type=int, default=0, help="of initial values, shuffling and noise")
    add(
        "resume",
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

    add("depth", type=cli.positive(int), default=9, help="convolutions (17 in the larger DnCNN)")
    add("width", type=cli.positive(int), default=32, help="filters of each (64 in the larger one)")
    add(
        "noise_scale",
        type=cli.positive(float),
        default=1.0,
        help="what the last convolution gives is multiplied by; about the noise's standard "
        "deviation (0.02) shortens training by far",
    )
    add(
        "epochs",
        type=cli.positive(int),
        help=f"passes over the clean patches (default {DEFAULT_EPOCHS})",
    )
    add(
        "steps",
        type=cli.positive(int),
        help="instead of --epochs: as many epochs as make so many steps",
    )
    add(
        "schedule",
        choices=["release", "cosine"],
        default="release",
        help="learning rate: a tenth after epoch 30 and a twentieth after epoch 60 as in the "
        "release, or warm-up and cosine decay over the whole training",
    )
    add("lr", type=cli.positive(float), default=1e-3, help="the highest rate of it")
    add(
        "average_batches",
        type=cli.not_negative,
        default=32,
        metavar="N",
        help="training batches that batch norm's averages are measured on before each evaluation; "
        "0: the moments of the last batch alone, as in the release",
    )
    add("n_batch_train", type=cli.positive(int), default=128, help="patches in a training batch")
    add("n_batch_test", type=cli.positive(int), default=128, help="patches in a test batch")
    add(
        "n_test_patches",
        type=cli.positive(int),
        default=512,
        help="test patches, from all test frames, that each evaluation while training is on; the "
        "weights with the highest mean PSNR on them are kept, as in the paper",
    )
    add(
        "epochs_full_valid",
        type=cli.positive(int),
        default=10,
        help="evaluate every so many epochs, besides each of the first ten and each tenth below "
        "100",
    )
    add("stride", type=cli.positive(int), default=64, help="from one clean patch to the next")
    running.add_strategy_flags(parser)
    dataset.add_flags(parser)
    parser.set_defaults(end_tr_im_idx=11)
    args = _complete(parser.parse_args(arguments))
    run = DenoiserRun(args.logdir)
    if args.resume and run.settings.is_file():
        return _checked(parser, _going_on(parser, arguments, run))
    if args.epochs and args.steps:
        parser.error("--epochs and --steps exclude each other")
    return _checked(parser, args)


def _going_on(parser, arguments, run: DenoiserRun) -> argparse.Namespace:
    needed, free = _NEEDED_TO_RESUME, _FREE_ON_RESUME
    return running.flags_going_on(parser, arguments, run.read_settings(), _complete, needed, free)


def _checked(parser: cli.Parser, args: argparse.Namespace) -> argparse.Namespace:
    if not args.noise:
        parser.error(f"--noise is needed: {', '.join(NOISES)}")
    if args.depth < 2:
        parser.error(f"--depth must be at least 2; got {args.depth}")
    if args.resume and args.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    if (args.noise == "noise_flow") != bool(args.model):
        parser.error("--noise noise_flow and --model PATH go together")
    return args


def _complete(args: argparse.Namespace) -> argparse.Namespace:
    """Fills in what depends on other flags."""
    args.logdir = args.logdir or f"runs/dncnn_{args.noise}"
    return args


def _part(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


_part.__name__ = "number from 0 to 1"
