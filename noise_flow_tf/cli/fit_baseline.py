"""Fits baselines, noise models of few parameters without a network, to a dataset's noise."""

import textwrap

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import FitBaselineConfig
from noise_flow_tf.saving.kinds import BASELINES


def parse(arguments: list[str] | None = None, program: str | None = None) -> FitBaselineConfig:
    """Return the config of the arguments; messages name the command `program`."""
    parser = ConfigParser(
        FitBaselineConfig,
        prog=program,
        description=__doc__,
        epilog=f"""baselines (--baseline)
{_listed()}

writes a folder OUT/NAME with the file baseline.json for each; such a folder is a --model of
  noise-flow evaluate --model OUT/NAME RUN         scored in one table with other models
  noise-flow sample --model OUT/NAME               its noise for clean images
  noise-flow train-denoiser --noise NAME --model OUT/NAME
A camera or an ISO level that the training frames do not have is refused.""",
    )
    return parser.config(arguments)


def _listed() -> str:
    return "\n".join(
        textwrap.fill(f"{kind.name:16}  {kind.help}", 100,
                      initial_indent="  ", subsequent_indent=" " * 20)
        for kind in BASELINES.values()
    )  # fmt: skip


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; messages name it `program`."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import fit_baseline

    fit_baseline.run(config)
