"""Denoises a raw image with a trained denoiser."""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import DenoiseConfig


def parse(arguments: list[str] | None = None, program: str | None = None) -> DenoiseConfig:
    """Return the config that the arguments ask for; messages name the command `program`."""
    parser = ConfigParser(
        DenoiseConfig,
        prog=program,
        description=__doc__,
        epilog="""a noisy image, of any even size, is one of
  .MAT   a NOISY_RAW file of SIDD; its colours are read from its METADATA file, and the clean image
         from its GT file, if they are in the same folder
  .npy   float, [H, W] Bayer or [H, W, 4] packed (channels (0,0), (0,1), (1,1), (1,0)), in [0, 1]
  .png   8 or 16 bit grey, a Bayer image; its full range becomes [0, 1]
  a camera's raw file with a 2x2 Bayer pattern: DNG, ARW, NEF, CR2, CR3, RAF, RW2, ORF (pip install
         'noise-flow-tf[raw]'); it is clipped to [0, 1], and its colours are read from its tags

writes to the folder --out; NAME is the image's
  NAME_denoised.*     the denoised raw image in [0, 1]: .npy in the form and orientation of the
                      noisy one, .MAT as in SIDD, .png upright, 16 bit grey, .dng with the tags of
                      the raw file or METADATA, and with NoiseReductionApplied 1
  NAME_denoised_srgb.png, NAME_noisy_srgb.png
                      rendered to sRGB, upright""",
    )
    return parser.config(arguments)


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; messages name it `program`."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import denoise

    denoise.run(config)
