"""Add sampled noise to clean raw images, or to photographs converted back to raw."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting
from noise_flow_tf.programs import (
    dataset,
    raw_files,
    raw_images,
    sample_inputs,
    sampling_plan,
    shards,
)
from noise_flow_tf.programs.configs import SampleConfig
from noise_flow_tf.programs.sampling_plan import Draw, Item, Record
from noise_flow_tf.programs.shards import Shard
from noise_flow_tf.saving import pretrained
from noise_flow_tf.saving.files import clear_partial, replacing
from sidd.progress import progress_bar
from sidd.wording import counted

_CROP = 64


@dataclass(frozen=True)
class Source:
    """A clean image, its metadata and, if there is one, the real noisy image."""

    raw: raw_images.Raw
    metadata: sidd.Metadata
    real: np.ndarray | None
    noise_label: str = "real"
    from_srgb: bool = False


@dataclass(frozen=True)
class Job:
    """An image to sample, its conditions and its draws."""

    item: Item
    metadata: sidd.Metadata
    draws: list[Draw]


def check(config: SampleConfig, item: Item) -> None:
    """Raise ValueError for an image of a kind that these options do not go with."""
    is_raw = raw_files.is_raw_file(item.path)
    if config.from_srgb and is_raw:
        raise ValueError(f"{item.path}: {raw_images.NOT_A_PICTURE}")
    if config.metadata and is_raw:
        raise ValueError(f"{item.path}: has its own tags; leave out --metadata")
    if not config.from_srgb:
        raw_images.check_kind(item.path)


def read_conditions(config: SampleConfig, item: Item) -> sidd.Metadata:
    """Return ISO, camera and colours, from the command line, else the list, else the file."""
    iso = config.iso if config.iso is not None else item.iso
    camera = config.camera if config.camera is not None else item.camera
    if raw_files.is_raw_file(item.path):
        return raw_files.conditions(item.path, iso, camera, tqdm.write)
    path = config.metadata or raw_images.companion(item.path, "GT", "METADATA")
    if path:
        metadata = sidd.read_metadata(path, camera)
        return replace(
            metadata,
            iso=metadata.iso if iso is None else iso,
            camera=metadata.camera if camera is None else camera,
        )
    if iso is None or camera is None:
        raise ValueError(f"{item.path}: has no METADATA file; give --iso and --camera")
    colours = camera if camera in sidd.CAMERAS else sidd.CAMERAS[0]
    typical = sidd.typical_metadata(colours, iso)
    return replace(typical, iso=iso, camera=camera, nlf=(math.nan, math.nan))


def read_source(config: SampleConfig, item: Item, metadata: sidd.Metadata) -> Source:
    """Read the clean image and, if there is one, the real noisy one."""
    if config.from_srgb:
        picture = raw_images.read_photograph(item.path, tqdm.write)
        bayer, metadata = sidd.unprocess_srgb(picture, metadata)
        raw = raw_images.Raw(sidd.pack(bayer.T), upright=True, is_packed=False)
        return Source(raw, metadata, None, from_srgb=True)
    raw = raw_images.read_image(item.path, config.orientation, tqdm.write)
    real_path = config.real or raw_images.companion(item.path, "GT", "NOISY")
    if not real_path:
        return Source(raw, metadata, None)
    real = raw_images.read_image(
        Path(real_path), config.orientation, tqdm.write, measured=metadata.unclipped
    ).packed
    if real.shape != raw.packed.shape:
        raise ValueError(
            f"{real_path}: has packed shape {list(real.shape)}, but {item.path} has "
            f"{list(raw.packed.shape)}"
        )
    return Source(raw, metadata, real, dataset.noise_label_of(Path(real_path)))


def plan(
    config: SampleConfig,
    items: Sequence[Item],
    model: nf.NoiseFlow,
    parts: Sequence[range] | None = None,
) -> list[Job]:
    """Plan the draws of each image, after checking its conditions against the model.

    Args:
        config: the program's.
        items: all images.
        model: what draws.
        parts: the numbers of each image's draws that are wanted; by default all of them.
    """
    weights = sampling_plan.fingerprint(model)
    options = _options(config)
    version = sampling_plan.computed_by()
    jobs = []
    for item, part in zip(items, parts or [range(config.draws)] * len(items), strict=True):
        if not part:
            continue
        metadata = read_conditions(config, item)
        try:
            model.condition_space.check(metadata.iso, metadata.camera)
        except ValueError as error:
            advice = "; give --iso_interpolation" if "iso_interpolation" in str(error) else ""
            raise ValueError(f"{item.path}: {error}{advice}") from error
        inputs = sampling_plan.hash_of(_inputs(config, item))
        draws = []
        for number in part:
            single = len(items) == config.draws == 1
            seed = (
                config.seed if single else sampling_plan.draw_seed(config.seed, item.name, number)
            )
            output = item.name if config.draws == 1 else f"{item.name}_{number:03d}"
            conditions = (metadata.iso, metadata.camera, seed, config.temperature)
            model_of = (config.model, weights)
            made_from = (inputs, options, version)
            draws.append(
                Draw(
                    item.address or str(item.path),
                    number,
                    *conditions,
                    *model_of,
                    output,
                    *made_from,
                )
            )
        jobs.append(Job(item, metadata, draws))
    return jobs


def _inputs(config: SampleConfig, item: Item) -> list[Path]:
    """Return the files that the draws of an image are made from."""
    companions = [raw_images.companion(item.path, "GT", kind) for kind in ("METADATA", "NOISY")]
    others = zip((config.metadata, config.real), companions, strict=True)
    return [item.path, *(Path(path) for pair in others if (path := pair[0] or pair[1]))]


def _options(config: SampleConfig) -> str:
    """Return the options that change what is drawn and that no other column has."""
    flags = [name for name in ("from_srgb", "iso_interpolation") if getattr(config, name)]
    return " ".join([f"orientation={config.orientation}", f"tile={config.tile}", *flags])


def outputs(config: SampleConfig, draw: Draw) -> list[Path]:
    """Return the paths of a draw's files."""
    endings = {form: [f"_noisy.{form}"] for form in config.formats}
    endings |= {"npy": ["_noise.npy", "_noisy.npy"], "mat": ["_noisy.MAT"]}
    names = [ending for form in config.formats for ending in endings[form]]
    if config.pictures == "all" or (config.pictures == "first" and draw.draw == 0):
        names += ["_samples.png"] + ["_srgb.png"] * config.from_srgb
    return [Path(config.out) / f"{draw.output}{ending}" for ending in names]


def write(source: Source, noise: np.ndarray, paths: Sequence[Path]) -> str:
    """Write the files of a draw, and return its summary."""
    clean, metadata, real = source.raw.packed, source.metadata, source.real
    measured, kl = np.zeros(0), None
    if real is not None:
        good = np.isfinite(real)
        measured = (real - clean)[good]
        kl = nf.metrics.marginal_kl(measured, noise[good])
    noisy = np.clip(clean + noise, 0, 1)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith("_samples.png"):
            with replacing(path) as temporary:
                draw_figure(source, noisy, kl).savefig(temporary, format="png")
        elif path.name.endswith("_srgb.png"):
            raw_images.save_picture(path, source.raw.render(noisy, metadata))
        elif path.suffix == ".dng":
            write_dng(path, source, clean + noise)
        else:
            packed = noise if path.name.endswith("_noise.npy") else noisy
            as_given = source.raw.in_given_form(packed)
            raw_images.save(path, path.suffix[1:].lower(), sidd.unpack(packed), as_given)
    summary = f"{metadata.camera}, ISO {metadata.iso}: standard deviation {noise.std():.5f}"
    if real is not None:
        summary += f" ({source.noise_label} {np.std(measured):.5f}), KL {kl:.4f} nats"
    return summary


def write_dng(path: Path, source: Source, noisy: np.ndarray) -> None:
    """Write the noisy image, not yet clipped, as a DNG with the tags of its source."""
    file, metadata = source.raw.file, source.metadata
    if file is None:
        raw_files.save_dng(path, noisy, raw_files.described(metadata, source.from_srgb))
        return
    if (file.black <= file.limits[0]).any():
        tqdm.write(f"{path}: the black level is {file.black.min():g}: noise below it is cut off")
    raw_files.save_dng(path, noisy, raw_files.sampled_like(file, metadata.iso))


def draw_figure(source: Source, noisy: np.ndarray, kl: float | None) -> Figure:
    """Draw clean | sampled | real, the whole image and a crop of its middle."""
    images = {"Clean": source.raw.packed, "Sampled": noisy}
    if source.real is not None:
        images[f"{source.noise_label.capitalize()} noise"] = source.real
    rendered = {name: source.raw.render(image, source.metadata) for name, image in images.items()}
    rows = {
        "whole image": {
            name: plotting.Picture(rgb, kl if name == "Sampled" else None)
            for name, rgb in rendered.items()
        },
        "crop of the middle": {
            name: plotting.Picture(plotting.middle(rgb, 2 * _CROP))
            for name, rgb in rendered.items()
        },
    }
    title = f"{source.metadata.camera}, ISO {source.metadata.iso}"
    title += "" if kl is None else " (KL in nats)"
    return plotting.comparison(rows, title, inches=3.5)


def planned(
    config: SampleConfig, items: Sequence[Item], model: nf.NoiseFlow, shard: Shard | None
) -> tuple[list[Job], Record]:
    """Return all that is to be drawn, or the part of a shard, and the record of what is done."""
    out = Path(config.out)
    if shard is None:
        return plan(config, items, model), Record(out)
    pixels = [raw_images.count_pixels(item.path) for item in items]
    jobs = plan(config, items, model, shards.draws_of(shard, pixels, config.draws))
    record = Record(out, shard.record)
    out.mkdir(parents=True, exist_ok=True)
    common = [config.seed, config.draws, config.temperature, _options(config), config.formats]
    common += [
        config.pictures,
        [(item.name, size) for item, size in zip(items, pixels, strict=True)],
    ]
    draws = [draw for job in jobs for draw in job.draws]
    shards.write_plan(out, shard, common, {draw.output: outputs(config, draw) for draw in draws})
    return jobs, record


def missing(config: SampleConfig, jobs: Sequence[Job], record: Record) -> list[Job]:
    """Return what the record does not have yet; a line says how much it has."""
    total = sum(len(job.draws) for job in jobs)
    left = [
        replace(job, draws=draws)
        for job in jobs
        if (draws := [d for d in job.draws if not record.is_done(d, outputs(config, d))])
    ]
    count = sum(len(job.draws) for job in left)
    if count < total:
        exist = "exists" if total - count == 1 else "exist"
        print(f"{total - count} of {counted(total, 'draw')} {exist} already")
    if again := sum(record.has(draw) for job in left for draw in job.draws):
        are = "is" if again == 1 else "are"
        print(
            f"{again} of {counted(total, 'draw')} {are} made again: other images, options, "
            "weights or version, or files that are gone or changed"
        )
    return left


class Sampler:
    """A model that draws noise and writes the files of `noise-flow sample`."""

    def __init__(self, config: SampleConfig) -> None:
        """Load the model of a config."""
        self._config = config
        self.model = nf.load(config.model)
        if config.iso_interpolation:
            self.model.iso_interpolation = True

    def draw(self, job: Job) -> Iterator[tuple[Draw, list[Path], str]]:
        """Read an image; yield each of its draws with its files and its summary."""
        source = read_source(self._config, job.item, job.metadata)
        for draw in job.draws:
            noise = nf.sample_image(
                self.model,
                source.raw.packed,
                draw.iso,
                draw.camera,
                seed=draw.seed,
                temperature=draw.temperature,
                tile=self._config.tile,
            )
            paths = outputs(self._config, draw)
            yield draw, paths, write(source, noise, paths)


def drawn(
    config: SampleConfig, sampler: Sampler, jobs: Sequence[Job]
) -> Iterator[tuple[Draw, list[Path], str]]:
    """Yield each draw of all jobs when its files are written, by this process or by Ray's."""
    if config.engine == "ray":
        from noise_flow_tf.programs import scale_out

        yield from scale_out.draw(config, jobs, config.address)
    else:
        for job in jobs:
            yield from sampler.draw(job)


def run(config: SampleConfig) -> None:
    """Run the program; bad input is a ValueError or OSError."""
    if config.merge is not None:
        count = shards.merge(Path(config.merge), config.allow_mixed or ())
        print(f"{counted(count, 'draw')} of all shards")
        print(Path(config.merge) / sampling_plan.RECORD)
        return
    if config.clean is None:
        raise ValueError("--clean is needed: an image, a folder, a list, a pattern or an address")
    shard = shards.parse_shard(config.shard) if config.shard else None
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    kinds = raw_images.PHOTOGRAPH_KINDS if config.from_srgb else raw_images.RAW_KINDS
    items = sample_inputs.items(config.clean, kinds, out)
    if len(items) > 1 and (config.real or config.metadata):
        raise ValueError("--real and --metadata are for one clean image")
    raw_files.check_formats(config.formats)
    for item in items:
        check(config, item)
    if config.model == "demo":
        print(pretrained.DEMO_NOTE)
    sampler = Sampler(config)
    jobs, record = planned(config, items, sampler.model, shard)
    clear_partial(*{path.parent for job in jobs for path in outputs(config, job.draws[0])})
    left = missing(config, jobs, record)
    total, count = (sum(len(job.draws) for job in some) for some in (jobs, left))
    with progress_bar(shown=total > 1, total=count, unit="draw") as bar:
        for draw, paths, summary in drawn(config, sampler, left):
            record.add(draw, paths)
            if total == 1:
                print(*paths, summary, sep="\n")
            bar.update()
    record.finish(draw for job in jobs for draw in job.draws)
    print(record.path)
