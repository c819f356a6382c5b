"""Calibrates a camera's noise from bursts of raw files, and writes clean and noisy pairs."""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import BurstConfig


def parse(arguments: list[str] | None = None, program: str | None = None) -> BurstConfig:
    """Return the config that the arguments ask for; messages name the command `program`."""
    parser = ConfigParser(
        BurstConfig,
        prog=program,
        description=__doc__,
        epilog="""what to shoot
  Put the camera on a tripod and fix ISO, exposure, aperture and focus by hand. Shoot raw, without
  noise reduction. For each ISO: ten frames of each of three scenes, or of one scene in three
  brightnesses, with dark parts and bright ones that do not burn out; and ten darks with the lens
  cap on at the same exposure. Put each burst into its own folder:

    noise-flow burst shots/dim shots/medium shots/bright --darks shots/darks --camera A7 --out pairs

what it reads
  raw files (DNG and makers' formats), or .npy, float [H, W], (level - black) / (white - black), not
  clipped. JPEGs beside raw files and hidden files are left out. Frames of different settings,
  frames given twice, and bursts that are too short are refused by name.

what it does
  gain        flicker is undone by one gain per frame and colour place
  movement    is measured to a hundredth of a pixel; frames beyond --max_shift are left out
  clean       the mean of the frames
  noise       a frame less the mean, times sqrt(N / (N - 1))
  masks       hot and blinking pixels, regions in which something moved, and pixels within 4
              standard deviations of a clipping level, in all frames: leaving out only the frames
              that were clipped would select by noise
  calibration variance = slope intensity + offset for each channel, from the photon transfer
  pairs       isolated masked pixels get noise drawn from the calibration, other masked pixels are
              NaN, and training leaves out patches that have one; the report states the shares

writes to the folder --out
  report.md           the calibration, with errors, and what looked wrong
  report.json         the same and the points of the photon transfer, for programs
  calibration.json    the calibration of each ISO (sidd.raw.calibration)
  pictures/           photon transfer, rows and columns, darks, masked pixels
  Data/               pairs in SIDD's layout; METADATA has the calibrated noise level function""",
    )
    return parser.config(arguments)


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; messages name it `program`."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import burst

    burst.run(config)
