"""Fits a noise model to a camera: bursts of raw files in, a trained model and its report out."""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import CameraConfig

_EPILOG = """example
  noise-flow camera shots/dim shots/medium shots/bright --darks shots/darks \\
      --name A7 --from runs/demo --logdir runs/a7
  noise-flow sample --model runs/a7 --camera A7 --clean photo.dng
`noise-flow burst --help` says what to shoot; docs/your-own-camera.md says more.

what it does
  1. calibrates the camera and writes pairs, as noise-flow burst does
  2. splits them by burst: at each ISO every third one, from the second on, is held out; a single
     burst is split by its frames, which is said
  3. adds the camera to the model of --from, with its parameters fitted to the calibration, and
     trains these alone
  4. makes a model of this camera alone, whose noise is the calibrated one at first, and trains it
  5. keeps the model with the lower NLL on held-out noise, and reports both beside the noise level
     function

writes to the folder --logdir
  report.md, report.json, pictures/   scores, photon transfer, variance, real and sampled noise
  burst/                              the calibration, its report, and the pairs
  checkpoints/, saved_model/, noise_flow.npz, settings.json   the model, as noise-flow train does"""


def parse(arguments: list[str] | None = None, program: str | None = None) -> CameraConfig:
    """Parse the arguments to a config; `program` is the command's name in messages."""
    parser = ConfigParser(CameraConfig, prog=program, description=__doc__, epilog=_EPILOG)
    return parser.config(arguments)


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is its name in messages."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import camera

    camera.run(config)
