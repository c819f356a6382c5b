"""Fetch the weights of the original release, once, after you have accepted their licence."""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import ExportConfig, WeightsConfig
from noise_flow_tf.saving import pretrained

_EXPORT = """Write a run as a SavedModel with a model card, ready to be published."""

_FETCH_EPILOG = f"""noise-flow weights export RUN --out FOLDER writes your own model for others;
noise-flow weights export --help has its options

models that have a name, for --model and nf.load
  demo             comes with the package; its sensors are simulated
  release          the original release's weights, which this command fetches
  hf://USER/REPO   from the Hugging Face Hub, with huggingface_hub; @REVISION may follow

The release's files are kept in the user's cache folder, or below the folder that the environment
variable {pretrained.FOLDER_VARIABLE} names. Proxies are those of the environment (HTTPS_PROXY)."""

_EXPORT_EPILOG = """writes to the folder --out
  saved_model.pb, variables/, noise_flow.json   the SavedModel, for nf.load and plain TensorFlow
  noise_flow.npz                                the weights for NumPy (noise_flow_tf.native)
  README.md                                     the model card: data, scores, command, versions"""


def parse(
    arguments: list[str] | None = None, program: str | None = None
) -> WeightsConfig | ExportConfig:
    """Return the config of the arguments; `program` is what messages call the command."""
    arguments = list(arguments or [])
    if arguments[:1] == ["export"]:
        parser = ConfigParser(
            ExportConfig,
            prog=f"{program or 'weights'} export",
            description=_EXPORT,
            epilog=_EXPORT_EPILOG,
        )
        return parser.config(arguments[1:])
    return ConfigParser(
        WeightsConfig, prog=program, description=__doc__, epilog=_FETCH_EPILOG
    ).config(arguments)


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is its name in messages."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import weights

    if isinstance(config, ExportConfig):
        weights.export(config)
    else:
        weights.fetch(config)
