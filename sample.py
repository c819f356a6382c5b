"""Adds sampled noise to a clean raw image."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import numpy as np
from PIL import Image
from skimage.io import imread

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting

_CROP = 64


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__,
        epilog="""the clean image is one of
  .MAT   a GT_RAW file of SIDD, cleaned as for training; ISO, camera and colours are read from its
         METADATA file, and the real noisy image from its NOISY file, where these stand beside it
  .npy   float, [H, W] Bayer or [H, W, 4] packed (channels (0,0), (0,1), (1,1), (1,0)), in [0, 1]
  .png   8 or 16 bit grey, a Bayer image; its full range becomes [0, 1]

writes to the folder --out, in the form and orientation of the clean image
  NAME_noise.npy   the noise
  NAME_noisy.npy   the clean image with it, clipped to [0, 1]
  NAME_samples.png clean | sampled | real, rendered to sRGB""",
    )
    add = parser.option
    add(
        "model",
        metavar="PATH",
        required=True,
        help="run folder of train.py, SavedModel, or prefix of a released checkpoint",
    )
    add("clean", metavar="FILE", required=True, help="clean raw image, see below")
    add("real", metavar="FILE", help="real noisy image of the same scene, to compare with")
    add("metadata", metavar="FILE", help="METADATA file of SIDD, for ISO, camera and colours")
    add("iso", type=int, help=f"ISO level: {', '.join(map(str, nf.ISO_LEVELS))}")
    add("camera", metavar="CODE", help=f"camera: {', '.join(nf.CAMERAS)}")
    add("temperature", type=float, default=1.0, help="standard deviation of the latent")
    add("seed", type=int, default=0, help="of the latent; the same seed gives the same noise")
    add(
        "tile",
        type=cli.positive(int),
        default=1024,
        help="side of the tiles it works in, in packed pixels",
    )
    add(
        "orientation",
        choices=["upright", "file"],
        default="upright",
        help="how a .npy lies: as one looks at it, or transposed as HDF5 gives SIDD's files",
    )
    add("out", metavar="FOLDER", default="samples", help="where the results go")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Raw:
    """A raw image, packed in file orientation, and the form in which it came."""

    packed: np.ndarray
    upright: bool
    is_packed: bool

    def in_given_form(self, packed: np.ndarray) -> np.ndarray:
        """An image of the same size, from the packed file orientation to how this one came."""
        bayer = sidd.unpack(packed)
        bayer = bayer.T if self.upright else bayer
        return sidd.pack(bayer) if self.is_packed else bayer


def read_image(path: Path, orientation: str) -> Raw:
    """A Bayer or packed image in [0, 1] from a .MAT, .npy or .png file."""
    kind = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    upright = kind == ".png" or (kind == ".npy" and orientation == "upright")
    if kind == ".mat":
        return Raw(sidd.read_packed(path), upright=False, is_packed=False)
    if kind == ".npy":
        image = _read_npy(path)
    elif kind == ".png":
        image = _read_png(path)
    else:
        raise ValueError(f"{path}: unknown kind of image; give a .MAT, .npy or .png file")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 4)) or image.size == 0:
        raise ValueError(
            f"{path}: a raw image is [H, W] Bayer or [H, W, 4] packed; got {list(image.shape)}"
        )
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"{path}: values must be finite and in [0, 1]; got {image.min()} to {image.max()}"
        )
    is_packed = image.ndim == 3
    try:
        bayer = sidd.unpack(image) if is_packed else image
        packed = sidd.pack(bayer.T if upright else bayer)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Raw(packed.astype(np.float32), upright, is_packed)


def _read_npy(path: Path) -> np.ndarray:
    try:
        image = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npy file: {error}") from error
    if not isinstance(image, np.ndarray) or image.dtype.kind != "f":
        raise ValueError(f"{path}: values must be floats in [0, 1]")
    return image


def _read_png(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as png:
            png.verify()
        image = imread(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a readable PNG: {error}") from error
    if image.ndim != 2 or image.dtype.kind != "u":
        raise ValueError(
            f"{path}: a raw PNG has one channel of 8 or 16 bits, a grey Bayer image; "
            f"got {list(image.shape)} of {image.dtype}"
        )
    return (image / np.iinfo(image.dtype).max).astype(np.float32)


def beside(clean: Path, kind: str) -> Path | None:
    """The file of another kind of the same SIDD frame as a GT file, where there is one."""
    sister = Path(str(clean).replace("_GT_RAW", f"_{kind}_RAW"))
    return sister if "_GT_RAW" in clean.name and sister.is_file() else None


def read_conditions(args: argparse.Namespace) -> sidd.Metadata:
    """ISO, camera and colours, the command line's before the file's."""
    path = args.metadata or beside(Path(args.clean), "METADATA")
    if path:
        metadata = sidd.read_metadata(path)
    elif args.iso is None or args.camera is None:
        raise ValueError(f"{args.clean}: no METADATA file beside it; give --iso and --camera")
    else:
        metadata = sidd.typical_metadata(args.camera, args.iso)
    given = {"iso": args.iso, "camera": args.camera}
    return replace(metadata, **{name: v for name, v in given.items() if v is not None})


def draw(clean, noise, real, kl, metadata):
    """The figure of clean | sampled | real, the whole and its middle."""
    images = {"Clean": clean, "Sampled": np.clip(clean + noise, 0, 1)}
    kls = {"Sampled": kl}
    if real is not None:
        images["Real"] = real
    rendered = {name: sidd.render_packed(image, metadata) for name, image in images.items()}
    rows = {
        "whole image": {
            name: plotting.Picture(rgb, kls.get(name)) for name, rgb in rendered.items()
        },
        "middle": {
            name: plotting.Picture(plotting.middle(rgb, 2 * _CROP))
            for name, rgb in rendered.items()
        },
    }
    return plotting.comparison(
        rows, f"{metadata.camera}, ISO {metadata.iso} (KL in nats)", inches=3.5
    )


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    clean_path = Path(args.clean)
    clean = read_image(clean_path, args.orientation)
    metadata = read_conditions(args)
    real_path = args.real or beside(clean_path, "NOISY")
    real = read_image(Path(real_path), args.orientation).packed if real_path else None
    if real is not None and real.shape != clean.packed.shape:
        raise ValueError(
            f"{real_path}: has packed shape {list(real.shape)}, but {clean_path} has "
            f"{list(clean.packed.shape)}"
        )
    model = nf.load(args.model)
    noise = nf.sample_image(
        model,
        clean.packed,
        metadata.iso,
        metadata.camera,
        seed=args.seed,
        temperature=args.temperature,
        tile=args.tile,
    )

    kl = None if real is None else nf.metrics.marginal_kl(real - clean.packed, noise)
    noisy = np.clip(clean.packed + noise, 0, 1)
    figure = draw(clean.packed, noise, real, kl, metadata)
    stem = clean_path.stem
    outputs = {
        f"{stem}_noise.npy": lambda path: save_npy(path, clean.in_given_form(noise)),
        f"{stem}_noisy.npy": lambda path: save_npy(path, clean.in_given_form(noisy)),
        f"{stem}_samples.png": lambda path: figure.savefig(path, format="png"),
    }
    out = output_folder(Path(args.out))
    for name, write in outputs.items():
        with sidd.replacing(out / name) as path:
            write(path)
        print(out / name)
    told = f"{metadata.camera}, ISO {metadata.iso}: standard deviation {noise.std():.5f}"
    if real is not None:
        told += f" (real {np.std(real - clean.packed):.5f}), KL {kl:.4f} nats"
    print(told)


def output_folder(path: Path) -> Path:
    """Makes the folder for the results, where there is none."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path} is a file; give the name of a folder")
    path.mkdir(parents=True, exist_ok=True)
    return path


def save_npy(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


if __name__ == "__main__":
    cli.run(main)
