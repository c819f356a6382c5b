"""Takes the noise from a raw image with a trained denoiser."""

import argparse
from pathlib import Path

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import numpy as np

import raw_images
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.denoising import scores


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__,
        epilog="""a noisy image, of any even size, is one of
  .MAT   a NOISY_RAW file of SIDD; its colours are read from its METADATA file, and the clean image
         from its GT file, where these stand beside it
  .npy   float, [H, W] Bayer or [H, W, 4] packed (channels (0,0), (0,1), (1,1), (1,0)), in [0, 1]
  .png   8 or 16 bit grey, a Bayer image; its full range becomes [0, 1]

writes to the folder --out; NAME is the image's
  NAME_denoised.*     the denoised raw image in [0, 1]: .npy in the form and orientation of the
                      noisy one, .MAT as in SIDD, .png upright, 16 bit grey
  NAME_denoised_srgb.png, NAME_noisy_srgb.png
                      rendered to sRGB, upright""",
    )
    add = parser.option
    add(
        "model",
        metavar="PATH",
        required=True,
        help="run folder of train_denoiser.py, or SavedModel of a denoiser",
    )
    add("noisy", metavar="FILE", required=True, help="noisy raw image, see below")
    add("out", metavar="FOLDER", default="denoised", help="where the results go")
    add("clean", metavar="FILE", help="clean image of the same scene, to tell the PSNR")
    add("metadata", metavar="FILE", help="METADATA file of SIDD, for colours")
    add(
        "camera",
        metavar="CODE",
        default=sidd.CAMERAS[0],
        help=f"whose colours to render with where there is no METADATA: {', '.join(sidd.CAMERAS)}",
    )
    add(
        "tile",
        type=cli.positive(int),
        default=512,
        help="side of the tiles it works in, in packed pixels; they do not show",
    )
    add(
        "orientation",
        choices=["upright", "file"],
        default="upright",
        help="how a .npy lies: as one looks at it, or transposed as HDF5 gives SIDD's files",
    )
    add(
        "formats",
        nargs="+",
        choices=raw_images.FORMATS,
        default=["npy"],
        help="of the raw result",
    )
    return parser.parse_args(arguments)


def read_colours(args: argparse.Namespace, path: Path) -> sidd.Metadata:
    """What rendering needs, from METADATA or as typical of the camera."""
    metadata = args.metadata or raw_images.beside(path, "NOISY", "METADATA")
    if metadata:
        return sidd.read_metadata(metadata)
    return sidd.typical_metadata(args.camera, sidd.ISO_LEVELS[0])


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    path, out = Path(args.noisy), Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    network = denoising.load(args.model)
    noisy = raw_images.read_image(path, args.orientation)
    colours = read_colours(args, path)
    clean_path = args.clean or raw_images.beside(path, "NOISY", "GT")
    clean = raw_images.read_image(Path(clean_path), args.orientation) if clean_path else None
    if clean and clean.packed.shape != noisy.packed.shape:
        raise ValueError(
            f"{clean_path}: has packed shape {list(clean.packed.shape)}, but {path} has "
            f"{list(noisy.packed.shape)}"
        )

    denoised = denoising.denoise_image(network, noisy.packed, args.tile)
    out.mkdir(parents=True, exist_ok=True)
    kinds = {"npy": "npy", "mat": "MAT", "png": "png"}
    for form in args.formats:
        target = out / f"{path.stem}_denoised.{kinds[form]}"
        raw_images.save(target, form, sidd.unpack(denoised), noisy.in_given_form(denoised))
        print(target)
    for name, packed in (("denoised", denoised), ("noisy", noisy.packed)):
        target = out / f"{path.stem}_{name}_srgb.png"
        raw_images.save_picture(target, raw_images.render(packed, colours))
        print(target)
    if clean and min(denoised.shape[:2]) >= scores.SSIM_WINDOW:
        before, after = (scores.score(clean.packed, image) for image in (noisy.packed, denoised))
        print(
            f"PSNR {before['psnr']:.2f} dB, denoised {after['psnr']:.2f} dB; SSIM "
            f"{before['ssim']:.4f}, denoised {after['ssim']:.4f}"
        )
    else:
        print(f"took away a standard deviation of {np.std(noisy.packed - denoised):.5f}")


if __name__ == "__main__":
    cli.run(main)
