"""Trains a noise model on SIDD, or on the offline dataset if no other is given."""

from noise_flow_tf import architecture
from noise_flow_tf.cli.parsing import ConfigParser, resumed
from noise_flow_tf.programs.configs import TrainConfig
from noise_flow_tf.saving.run_folder import RunFolder


def parse(arguments: list[str] | None = None, program: str | None = None) -> TrainConfig:
    """Return the config of the arguments; `program` is what messages call the command."""
    parser = make_parser(program)
    config = check(parser, parser.config(arguments))
    if config.resume and RunFolder(config.logdir).settings.is_file():
        RunFolder(config.logdir).read_settings()
        return resumed(parser, arguments, config.logdir)
    return config


def make_parser(program: str | None = None) -> ConfigParser[TrainConfig]:
    """Make the parser; `program` is what messages call the command."""
    return ConfigParser(
        TrainConfig,
        prog=program,
        description=f"""{__doc__}

Fits the model to the noise of the training frames by maximum likelihood, scores it next to two
baselines on the test frames (NLL in nats per dimension, KL in nats), keeps the weights
with the lowest test NLL, and writes a report with tables and pictures.""",
        epilog=f"""architectures (--arch): a name of the paper, or {architecture.table()}

writes to the folder --logdir: settings.json, history.csv, checkpoints/, tensorboard/, saved_model/,
noise_flow.npz (weights for NumPy: noise_flow_tf.native.load), report.md, report.json and pictures/

The flags of the original release's job script work unchanged.""",
    )


def check(parser: ConfigParser[TrainConfig], config: TrainConfig) -> TrainConfig:
    """Return the config; end the program if its flags do not go together."""
    if config.resume and config.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    if bool(config.new_camera) != bool(config.from_run):
        parser.error("--new_camera CODE and --from RUN go together")
    if config.pairs and config.sidd_path:
        parser.error("--pairs and --sidd_path exclude each other")
    if config.new_camera and config.strategy == "multiworker":
        parser.error("--new_camera trains three numbers or less: leave --strategy multiworker out")
    return config


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is what its messages call it."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import train

    train.run(config)
