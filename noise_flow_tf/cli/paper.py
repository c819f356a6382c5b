"""Section 4 of the Noise Flow paper from one command: Tables 1 and 2, Figures 4 to 7, and beyond.

Trains Noise Flow, its ablations and the paper's own formulas, scores all of them on the same test
images with both baselines, and writes a report with the paper's numbers next to the measured ones.
"""

import sys
from dataclasses import fields, replace

from noise_flow_tf.cli import train
from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import OFFLINE_PAPER, PaperConfig, TrainConfig

_FIXED = (
    "logdir", "arch", "seed", "sidd_path", "cache", "patch_height", "n_patches_per_image", "cam",
    "iso", "start_ts_im_idx", "end_ts_im_idx", "overwrite", "new_camera", "from_run",
)  # fmt: skip


def parse(arguments: list[str] | None = None, program: str | None = None) -> PaperConfig:
    """Return the config of the arguments; `program` is what messages call the command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = ConfigParser(
        PaperConfig,
        prog=program,
        description=__doc__,
        epilog="""writes to the folder --out
  report.md        the tables and figures, with the paper's numbers next to the measured ones
  report.json      the same numbers, for programs
  NAME/            the run of each variant, as train.py writes it
  evaluation/      the scores of all variants side by side, as noise-flow evaluate writes them
  figures/         drawn from the files above; --draw makes them anew
  check.md         with --check: each score, the range that passes, and the result
The same command resumes where it stopped. Arguments after -- go to each `noise-flow train`.

By default all is done on the offline dataset, in 15 to 40 minutes on 2 cores. --full with
--sidd_path ROOT does it on the real SIDD: 40,000 steps for each variant, 2898 patches of an image
as in the release; add -- --schedule release for its 2000 epochs.""",
    )
    config = parser.config(arguments[:end])
    if config.full != bool(config.sidd_path):
        parser.error("--full and --sidd_path ROOT go together")
    if config.check and not config.full:
        parser.error("--check goes with --full: the paper's scores are of the real SIDD")
    return replace(config, train=_of_training(parser.prog, arguments[end + 1 :], config.full))


def _of_training(program: str, arguments: list[str], full: bool) -> TrainConfig:
    """Return the config of the flags for each training."""
    parser = train.make_parser(program)
    preset = TrainConfig() if full else OFFLINE_PAPER
    parser.set_defaults(**{one.name: getattr(preset, one.name) for one in fields(preset)})
    config = train.check(parser, parser.config(arguments))
    for name in _FIXED:
        if getattr(config, name) != getattr(preset, name):
            parser.error(f"--{name} behind -- would not reach the scoring; leave it out")
    if config.strategy == "multiworker":
        parser.error("--strategy multiworker behind -- is for one training alone; leave it out")
    return config


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is what its messages call it."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import paper

    if not paper.run(config):
        sys.exit(1)
