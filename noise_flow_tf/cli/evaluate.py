"""Scores trained noise models on SIDD's test scenes: likelihood, marginal KL, and what these miss.

Writes tables next to the paper's, the scores of every image, and figures.
"""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import EvaluateConfig


def parse(arguments: list[str] | None = None, program: str | None = None) -> EvaluateConfig:
    """Return the config that the arguments ask for; messages name the command `program`."""
    parser = ConfigParser(
        EvaluateConfig,
        prog=program,
        description=__doc__,
        epilog="""writes to the folder --out
  evaluation.md    what the metrics are, and tables: all test images, each camera, each ISO level
  scores.csv       the same, one line per group and model
  images.csv       one line per image and model
  evaluation.json  everything, for programs
  figures/         correlation, variance against intensity, the latent, sampling temperature, and
                   patches rendered to sRGB (saved in examples.npz); --draw redraws them from the
                   files""",
    )
    config = parser.config(arguments)
    if not config.model and not config.draw:
        parser.error("--model PATH is needed: a run folder, a SavedModel or a released checkpoint")
    return config


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; messages name it `program`."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import evaluate

    evaluate.run(config)
