"""Scores denoisers as in Table 3 of the paper, on whole test images or on SIDD's validation blocks.

Runs with the same noise and different seeds become one line with mean and standard deviation.
"""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import EvaluateDenoiserConfig


def parse(arguments: list[str] | None = None, program: str | None = None) -> EvaluateDenoiserConfig:
    """Return the config that the arguments ask for; messages name the command `program`."""
    parser = ConfigParser(
        EvaluateDenoiserConfig,
        prog=program,
        description=__doc__,
        epilog="""writes to the folder --out
  report.md     the table with the paper's numbers, PSNR and SSIM by camera and ISO, the runs
  report.json   the same numbers
  scores.csv    PSNR and SSIM of each image and run
  denoised.png  noisy, denoised and clean patches, rendered to sRGB, with the PSNR on each (Figure 8
                of the paper); not with --blocks, which come without metadata

PSNR has peak 1; SSIM has Gaussian weights of standard deviation 1.5 and data range 1 (the release's
range 2 has a column of its own), and is the mean over the four packed channels. Denoised images are
clipped to [0, 1]. Means are over whole images (over blocks with --blocks).""",
    )
    config = parser.config(arguments)
    if config.release_exclusions and not config.blocks:
        parser.error("--release_exclusions goes with --blocks")
    if config.blocks and (config.sidd_path or config.cam or config.iso):
        parser.error("--blocks excludes --sidd_path, --cam and --iso")
    return config


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; messages name it `program`."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import evaluate_denoiser

    evaluate_denoiser.run(config)
