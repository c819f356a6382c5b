"""Trains DnCNN to denoise raw images, on sampled or on real noise (Section 5 of the paper)."""

import textwrap

from noise_flow_tf.cli.parsing import ConfigParser, resumed
from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.programs.configs import TrainDenoiserConfig, sources_with_model
from noise_flow_tf.saving.run_folder import DenoiserRun


def parse(arguments: list[str] | None = None, program: str | None = None) -> TrainDenoiserConfig:
    """Return the config of the arguments; `program` is what messages call the command."""
    parser = make_parser(program)
    config = parser.config(arguments)
    run = DenoiserRun(config.logdir or f"runs/dncnn_{config.noise}")
    if config.resume and run.settings.is_file():
        run.read_settings()
        return _checked(parser, resumed(parser, arguments, run.path))
    if config.epochs and config.steps:
        parser.error("--epochs and --steps exclude each other")
    return _checked(parser, config)


def make_parser(program: str | None = None) -> ConfigParser[TrainDenoiserConfig]:
    """Make the parser; `program` is what messages call the command."""
    return ConfigParser(
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
        parser.error(f"--noise {sources_with_model()} and --model PATH go together")
    return config


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
