"""Adds sampled noise to clean raw images, or to photographs taken back to raw."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import numpy as np
from tqdm import tqdm

import draws
import noise_flow_tf as nf
import raw_images
import sidd
from noise_flow_tf import plotting

_CROP = 64


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__,
        epilog="""a clean image is one of
  .MAT   a GT_RAW file of SIDD, cleaned as for training; ISO, camera and colours are read from its
         METADATA file, and the real noisy image from its NOISY file, where these stand beside it
  .npy   float, [H, W] Bayer or [H, W, 4] packed (channels (0,0), (0,1), (1,1), (1,0)), in [0, 1]
  .png   8 or 16 bit grey, a Bayer image; its full range becomes [0, 1]
or, with --from_srgb, an ordinary picture: gamma, colours and white balance of the camera are undone
as in Brooks et al. (CVPR 2019), and the result is a raw image that is rendered again
--clean is one of them, a folder of them (with its subfolders), or a list: a .txt or .csv file with
a line PATH or PATH,ISO,CAMERA for each, relative to the list; # begins a comment line

writes to the folder --out; NAME is the image's, with _000, _001, .. where there are --draws
  NAME_noise.npy   the noise, in the form and orientation of the clean image (format npy)
  NAME_noisy.*     the clean image with it, clipped to [0, 1]: .npy like the noise, .MAT as in SIDD,
                   .png upright, 16 bit grey
  NAME_samples.png clean | sampled | real, rendered to sRGB
  NAME_srgb.png    with --from_srgb, the noisy picture in full size
  samples.csv      every draw: file, ISO, camera, seed, temperature, model; what stands there and
                   would come out the same is not drawn again, so that a run can be resumed

seeds: one image and one draw have --seed itself. Else each draw has a seed of its own, made from
--seed, the image's name (in a folder, with its subfolders) and the draw's number, so that it does
not depend on order or on other images. samples.csv has it.""",
    )
    add = parser.option
    add(
        "model",
        metavar="PATH",
        required=True,
        help="run folder of train.py, SavedModel, or prefix of a released checkpoint",
    )
    add("clean", metavar="PATH", required=True, help="clean image, folder or list, see below")
    add("from_srgb", action="store_true", help="the clean images are ordinary pictures")
    add("real", metavar="FILE", help="real noisy image of the same scene, to compare with")
    add("metadata", metavar="FILE", help="METADATA file of SIDD, for ISO, camera and colours")
    add("iso", type=int, help=f"ISO level: {', '.join(map(str, nf.ISO_LEVELS))}")
    add("iso_interpolation", action="store_true", help="allow an ISO between two levels")
    add("camera", metavar="CODE", help=f"camera: {', '.join(nf.CAMERAS)}, or one that was added")
    add("draws", type=cli.positive(int), default=1, help="how many noises for each image")
    add("temperature", type=float, default=1.0, help="standard deviation of the latent")
    add("seed", type=int, default=0, help="the same one gives the same noise, see below")
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
    add(
        "formats",
        nargs="+",
        choices=raw_images.FORMATS,
        default=["npy"],
        help="of the raw results",
    )
    add(
        "pictures",
        choices=["first", "all", "none"],
        default="first",
        help="rendered pictures of each image's first draw, of all or of none",
    )
    add("out", metavar="FOLDER", default="samples", help="where the results go")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Source:
    """A clean image with all that sampling and showing it needs."""

    raw: raw_images.Raw
    metadata: sidd.Metadata
    real: np.ndarray | None


def read_conditions(args: argparse.Namespace, item: draws.Item) -> sidd.Metadata:
    """ISO, camera and colours, the command line's before the list's before the file's."""
    iso = args.iso if args.iso is not None else item.iso
    camera = args.camera if args.camera is not None else item.camera
    path = args.metadata or raw_images.beside(item.path, "GT", "METADATA")
    if path:
        metadata = sidd.read_metadata(path, camera)
    elif iso is None or camera is None:
        raise ValueError(f"{item.path}: no METADATA file beside it; give --iso and --camera")
    else:
        colours = camera if camera in sidd.CAMERAS else sidd.CAMERAS[0]
        metadata = replace(sidd.typical_metadata(colours, iso), camera=camera)
    given = {"iso": iso, "camera": camera}
    return replace(metadata, **{name: v for name, v in given.items() if v is not None})


def read_source(args: argparse.Namespace, item: draws.Item, metadata: sidd.Metadata) -> Source:
    """The clean image and, where there is one, the real noisy one."""
    if args.from_srgb:
        picture = raw_images.read_photograph(item.path, tqdm.write)
        bayer, metadata = sidd.unprocess_srgb(picture, metadata)
        raw = raw_images.Raw(sidd.pack(bayer.T), upright=True, is_packed=False)
        return Source(raw, metadata, None)
    raw = raw_images.read_image(item.path, args.orientation)
    real_path = args.real or raw_images.beside(item.path, "GT", "NOISY")
    if not real_path:
        return Source(raw, metadata, None)
    real = raw_images.read_image(Path(real_path), args.orientation).packed
    if real.shape != raw.packed.shape:
        raise ValueError(
            f"{real_path}: has packed shape {list(real.shape)}, but {item.path} has "
            f"{list(raw.packed.shape)}"
        )
    return Source(raw, metadata, real)


def plan(args, items, model) -> list[tuple[draws.Item, sidd.Metadata, list[draws.Draw]]]:
    """For each image its conditions, checked against the model, and its draws."""
    weights = draws.fingerprint(model)
    planned = []
    for item in items:
        metadata = read_conditions(args, item)
        try:
            model.known.iso_index(metadata.iso)
            model.known.camera_index(metadata.camera)
        except ValueError as error:
            raise ValueError(f"{item.path}: {error}") from error
        rows = []
        for number in range(args.draws):
            alone = len(items) == args.draws == 1
            seed = args.seed if alone else draws.seed_of(args.seed, item.name, number)
            output = item.name if args.draws == 1 else f"{item.name}_{number:03d}"
            conditions = (metadata.iso, metadata.camera, seed, args.temperature)
            rows.append(
                draws.Draw(str(item.path), number, *conditions, args.model, weights, output)
            )
        planned.append((item, metadata, rows))
    return planned


def outputs(args: argparse.Namespace, out: Path, draw: draws.Draw) -> list[Path]:
    """The files of a draw."""
    endings = {"npy": ["_noise.npy", "_noisy.npy"], "mat": ["_noisy.MAT"], "png": ["_noisy.png"]}
    names = [ending for form in args.formats for ending in endings[form]]
    if args.pictures == "all" or (args.pictures == "first" and draw.draw == 0):
        names += ["_samples.png"] + ["_srgb.png"] * args.from_srgb
    return [out / f"{draw.output}{ending}" for ending in names]


def write(source: Source, noise: np.ndarray, paths: Sequence[Path]) -> str:
    """Writes the files of a draw; gives what to tell of it."""
    clean, metadata, real = source.raw.packed, source.metadata, source.real
    kl = None if real is None else nf.metrics.marginal_kl(real - clean, noise)
    noisy = np.clip(clean + noise, 0, 1)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith("_samples.png"):
            with sidd.replacing(path) as beside:
                draw_figure(source, noisy, kl).savefig(beside, format="png")
        elif path.name.endswith("_srgb.png"):
            raw_images.save_picture(path, raw_images.render(noisy, metadata))
        else:
            packed = noise if path.name.endswith("_noise.npy") else noisy
            as_given = source.raw.in_given_form(packed)
            raw_images.save(path, path.suffix[1:].lower(), sidd.unpack(packed), as_given)
    told = f"{metadata.camera}, ISO {metadata.iso}: standard deviation {noise.std():.5f}"
    if real is not None:
        told += f" (real {np.std(real - clean):.5f}), KL {kl:.4f} nats"
    return told


def draw_figure(source: Source, noisy: np.ndarray, kl: float | None):
    """The figure of clean | sampled | real, the whole and its middle."""
    images = {"Clean": source.raw.packed, "Sampled": noisy, "Real": source.real}
    rendered = {
        name: raw_images.render(image, source.metadata)
        for name, image in images.items()
        if image is not None
    }
    rows = {
        "whole image": {
            name: plotting.Picture(rgb, kl if name == "Sampled" else None)
            for name, rgb in rendered.items()
        },
        "middle": {
            name: plotting.Picture(plotting.middle(rgb, 2 * _CROP))
            for name, rgb in rendered.items()
        },
    }
    told = f"{source.metadata.camera}, ISO {source.metadata.iso}"
    return plotting.comparison(rows, f"{told} (KL in nats)" if kl is not None else told, inches=3.5)


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    kinds = raw_images.PHOTOGRAPH_KINDS if args.from_srgb else raw_images.RAW_KINDS
    items = draws.items(Path(args.clean), kinds, out)
    if len(items) > 1 and (args.real or args.metadata):
        raise ValueError("--real and --metadata are for one clean image")
    model = nf.load(args.model)
    if args.iso_interpolation:
        model.iso_interpolation = True
    planned = plan(args, items, model)
    record = draws.Record(out)

    todo = [
        (item, metadata, rows)
        for item, metadata, every in planned
        if (rows := [r for r in every if not _is_done(args, out, record, r)])
    ]
    count = sum(len(rows) for _, _, rows in todo)
    total = sum(len(rows) for _, _, rows in planned)
    if count < total:
        print(f"{total - count} of {total} draws are there already")
    many = total > 1
    tell: Callable[[str], None] = (lambda text: None) if many else print
    with tqdm(total=count, unit="draw", disable=not many) as bar:
        for item, metadata, rows in todo:
            source = read_source(args, item, metadata)
            for row in rows:
                noise = nf.sample_image(
                    model,
                    source.raw.packed,
                    row.iso,
                    row.camera,
                    seed=row.seed,
                    temperature=row.temperature,
                    tile=args.tile,
                )
                paths = outputs(args, out, row)
                told = write(source, noise, paths)
                record.add(row)
                tell("\n".join([*map(str, paths), told]))
                bar.update()
    record.finish(row for _, _, rows in planned for row in rows)
    print(record.path)


def _is_done(args, out, record, draw) -> bool:
    return record.has(draw) and all(path.is_file() for path in outputs(args, out, draw))


if __name__ == "__main__":
    cli.run(main)
