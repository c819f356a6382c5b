"""Add sampled noise to clean raw images, or to photographs converted back to raw."""

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs.configs import SampleConfig

_EPILOG = """a clean image is one of
  .MAT   a GT_RAW file of SIDD, cleaned as for training; ISO, camera and colours are read from its
         METADATA file, and the real noisy image from its NOISY file, if they are in the same folder
  .npy   float, [H, W] Bayer or [H, W, 4] packed (channels (0,0), (0,1), (1,1), (1,0)), in [0, 1]
  .png   8 or 16 bit grey, a Bayer image; its full range becomes [0, 1]
  a camera's raw file with a 2x2 Bayer pattern: DNG, ARW, NEF, CR2, CR3, RAF, RW2, ORF; ISO, camera
         and colours are read from its tags (--camera for a camera that they do not name), and the
         image is clipped to [0, 1]; it lies as on the sensor, and pictures of it are upright
or, with --from_srgb, an ordinary picture: gamma, colours and white balance of the camera are undone
as in Brooks et al. (CVPR 2019), and the result is a raw image that is rendered again
raw files need rawpy and tifffile: pip install 'noise-flow-tf[raw]'
--clean is one of them, a folder of them (with its subfolders), or a list: a .txt or .csv file with
one line PATH or PATH,ISO,CAMERA per image, relative to the list; # begins a comment line; or a
pattern in quotes, such as 'shots/**/*.dng', or an address, s3://BUCKET/FOLDER or a pattern there
(pip install 'noise-flow-tf[remote]'; gs:// with gcsfs). Its images are copied to .copies in --out;
SIDD's files there need --iso and --camera

output in the folder --out; NAME is the image's, with _000, _001, .. if --draws is more than 1
  NAME_noise.npy   the noise, in the form and orientation of the clean image (format npy)
  NAME_noisy.*     the clean image with it, clipped to [0, 1]: .npy like the noise, .MAT as in SIDD,
                   .png upright, 16 bit grey; .dng with the tags of its raw file, at its bit depth
                   and levels, or with those of the camera, 16 bits and black level 4096, and with
                   noise below black
  NAME_samples.png clean | sampled | real, rendered to sRGB
  NAME_srgb.png    with --from_srgb, the noisy picture in full size
  samples.csv      one row per draw: file, ISO, camera, seed, temperature, model; a draw that is
                   recorded with the same values is skipped, so that a run can be resumed

seeds: a single draw of a single image uses --seed itself. Otherwise each draw has its own seed,
made from --seed, the image's name (in a folder, with its subfolders) and the draw's number, so that
it does not depend on order or on other images; samples.csv lists it

several processes or machines: give each of them the same command, with one --out and --shard 0/N to
--shard N-1/N, or in a job array of Slurm --shard slurm. Each draws a part of about equal pixels and
keeps its record, samples-I-of-N.csv; one that was stopped is run again and resumes. Then
  noise-flow sample --merge OUT
writes samples.csv if all are complete, and files and record are those of a single process"""


def parse(arguments: list[str] | None = None, program: str | None = None) -> SampleConfig:
    """Parse the arguments to a config; `program` is the command's name in messages."""
    parser = ConfigParser(SampleConfig, prog=program, description=__doc__, epilog=_EPILOG)
    config = parser.config(arguments)
    if (config.clean is None) == (config.merge is None):
        parser.error("one of --clean and --merge is needed")
    if config.allow_mixed and config.merge is None:
        parser.error("--allow_mixed is for --merge")
    if config.address and config.engine != "ray":
        parser.error("--address is for --engine ray")
    if config.shard and config.merge is not None:
        parser.error("--shard is for drawing, before --merge")
    return config


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is its name in messages."""
    config = parse(arguments, program)
    from noise_flow_tf.programs import sample

    sample.run(config)
