"""Adds sampled noise to clean raw images, or to photographs taken back to raw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting
from noise_flow_tf.programs import raw_images, sampling_plan
from noise_flow_tf.programs.configs import SampleConfig
from noise_flow_tf.saving.files import replacing

_CROP = 64


@dataclass(frozen=True)
class Source:
    """A clean image with all that sampling and showing it needs."""

    raw: raw_images.Raw
    metadata: sidd.Metadata
    real: np.ndarray | None


def read_conditions(config: SampleConfig, item: sampling_plan.Item) -> sidd.Metadata:
    """ISO, camera and colours, the command line's before the list's before the file's."""
    iso = config.iso if config.iso is not None else item.iso
    camera = config.camera if config.camera is not None else item.camera
    path = config.metadata or raw_images.beside(item.path, "GT", "METADATA")
    if path:
        metadata = sidd.read_metadata(path, camera)
    elif iso is None or camera is None:
        raise ValueError(f"{item.path}: no METADATA file beside it; give --iso and --camera")
    else:
        colours = camera if camera in sidd.CAMERAS else sidd.CAMERAS[0]
        metadata = replace(sidd.typical_metadata(colours, iso), camera=camera)
    given = {"iso": iso, "camera": camera}
    return replace(metadata, **{name: v for name, v in given.items() if v is not None})


def read_source(config: SampleConfig, item: sampling_plan.Item, metadata: sidd.Metadata) -> Source:
    """The clean image and, where there is one, the real noisy one."""
    if config.from_srgb:
        picture = raw_images.read_photograph(item.path, tqdm.write)
        bayer, metadata = sidd.unprocess_srgb(picture, metadata)
        raw = raw_images.Raw(sidd.pack(bayer.T), upright=True, is_packed=False)
        return Source(raw, metadata, None)
    raw = raw_images.read_image(item.path, config.orientation)
    real_path = config.real or raw_images.beside(item.path, "GT", "NOISY")
    if not real_path:
        return Source(raw, metadata, None)
    real = raw_images.read_image(Path(real_path), config.orientation).packed
    if real.shape != raw.packed.shape:
        raise ValueError(
            f"{real_path}: has packed shape {list(real.shape)}, but {item.path} has "
            f"{list(raw.packed.shape)}"
        )
    return Source(raw, metadata, real)


def plan(
    config, items, model
) -> list[tuple[sampling_plan.Item, sidd.Metadata, list[sampling_plan.Draw]]]:
    """For each image its conditions, checked against the model, and its draws."""
    weights = sampling_plan.fingerprint(model)
    planned = []
    for item in items:
        metadata = read_conditions(config, item)
        try:
            model.condition_space.iso_index(metadata.iso)
            model.condition_space.camera_index(metadata.camera)
        except ValueError as error:
            raise ValueError(f"{item.path}: {error}") from error
        rows = []
        for number in range(config.draws):
            alone = len(items) == config.draws == 1
            seed = config.seed if alone else sampling_plan.seed_of(config.seed, item.name, number)
            output = item.name if config.draws == 1 else f"{item.name}_{number:03d}"
            conditions = (metadata.iso, metadata.camera, seed, config.temperature)
            rows.append(
                sampling_plan.Draw(
                    str(item.path), number, *conditions, config.model, weights, output
                )
            )
        planned.append((item, metadata, rows))
    return planned


def outputs(config: SampleConfig, out: Path, draw: sampling_plan.Draw) -> list[Path]:
    """The files of a draw."""
    endings = {"npy": ["_noise.npy", "_noisy.npy"], "mat": ["_noisy.MAT"], "png": ["_noisy.png"]}
    names = [ending for form in config.formats for ending in endings[form]]
    if config.pictures == "all" or (config.pictures == "first" and draw.draw == 0):
        names += ["_samples.png"] + ["_srgb.png"] * config.from_srgb
    return [out / f"{draw.output}{ending}" for ending in names]


def write(source: Source, noise: np.ndarray, paths: Sequence[Path]) -> str:
    """Writes the files of a draw; gives what to tell of it."""
    clean, metadata, real = source.raw.packed, source.metadata, source.real
    kl = None if real is None else nf.metrics.marginal_kl(real - clean, noise)
    noisy = np.clip(clean + noise, 0, 1)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith("_samples.png"):
            with replacing(path) as beside:
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


def run(config: SampleConfig) -> None:
    """Does it; raises ValueError or OSError for bad input."""
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    kinds = raw_images.PHOTOGRAPH_KINDS if config.from_srgb else raw_images.RAW_KINDS
    items = sampling_plan.items(Path(config.clean), kinds, out)
    if len(items) > 1 and (config.real or config.metadata):
        raise ValueError("--real and --metadata are for one clean image")
    model = nf.load(config.model)
    if config.iso_interpolation:
        model.iso_interpolation = True
    planned = plan(config, items, model)
    record = sampling_plan.Record(out)

    todo = [
        (item, metadata, rows)
        for item, metadata, every in planned
        if (rows := [r for r in every if not _is_done(config, out, record, r)])
    ]
    count = sum(len(rows) for _, _, rows in todo)
    total = sum(len(rows) for _, _, rows in planned)
    if count < total:
        print(f"{total - count} of {total} draws are there already")
    many = total > 1
    tell: Callable[[str], None] = (lambda text: None) if many else print
    with tqdm(total=count, unit="draw", disable=not many) as bar:
        for item, metadata, rows in todo:
            source = read_source(config, item, metadata)
            for row in rows:
                noise = nf.sample_image(
                    model,
                    source.raw.packed,
                    row.iso,
                    row.camera,
                    seed=row.seed,
                    temperature=row.temperature,
                    tile=config.tile,
                )
                paths = outputs(config, out, row)
                told = write(source, noise, paths)
                record.add(row)
                tell("\n".join([*map(str, paths), told]))
                bar.update()
    record.finish(row for _, _, rows in planned for row in rows)
    print(record.path)


def _is_done(config, out, record, draw) -> bool:
    return record.has(draw) and all(path.is_file() for path in outputs(config, out, draw))
