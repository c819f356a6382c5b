"""Scores trained noise models on SIDD's test scenes: likelihood, marginal KL, and what these miss.

Writes tables beside the paper's, the scores of every image, and figures.
"""

import argparse
import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
from tqdm import tqdm

import dataset
import evaluation_figures
import evaluation_report
import noise_flow_tf as nf
import pictures
import sidd
from noise_flow_tf import architecture, evaluation, report
from noise_flow_tf.training import RunFolder
from properties import Properties

NOISE_FLOW = "S-Ax4-G-Ax4-CAM"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__,
        epilog="""writes to the folder --out
  evaluation.md    tables: all test images, each camera, each ISO level
  scores.csv       the same, a line for each group and model
  images.csv       a line for each image and model
  evaluation.json  everything, for programs
  figures/         correlation, variance against intensity, the latent, sampling temperature, and
                   patches rendered to sRGB (kept in examples.npz); --draw makes them anew from
                   the files

NLL is in nats per dimension. KL is the marginal divergence of the original release, in nats, of
every 5th patch. Standard errors are over images. The KL floor is the divergence between two samples
of the same model: what a perfect model would have with so few pixels.""",
    )
    add = parser.option
    add(
        "model",
        metavar="PATH",
        nargs="+",
        help="run folder of train.py, SavedModel, or prefix of a released checkpoint; of several, "
        "the last is compared with the others",
    )
    add("out", metavar="FOLDER", default="runs/evaluation", help="where the results go")
    add("draw", action="store_true", help="only draw the figures of the results in --out anew")
    add(
        "gaussian_stddev",
        type=cli.positive(float),
        help="of the Gaussian baseline; by default that of the training noise in --sidd_path",
    )
    add("scores_only", action="store_true", help="only NLL and KL")
    add("n_batch_test", type=cli.positive(int), default=138, help="patches in a batch")
    add("seed", type=int, default=0, help="of the samples")
    dataset.add_flags(parser)
    args = parser.parse_args(arguments)
    if not args.model and not args.draw:
        parser.error("--model PATH is needed: a run folder, a SavedModel or a released checkpoint")
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    if args.draw:
        evaluation_report.load(out)
    else:
        models = load(args.model)
        out.mkdir(parents=True, exist_ok=True)
    with RunFolder(out).locked():
        if not args.draw:
            results = evaluate(args, models, out)
            print(f"\n{evaluation_report.table_1(results, evaluation_report.summaries(results))}")
        evaluation_figures.draw(out)
    print(f"\nreport    {out / 'evaluation.md'}\nfigures   {out / 'figures'}")


def load(paths: Sequence[str]) -> dict[str, tuple[str, nf.NoiseFlow]]:
    """For each model a short name, its path and itself."""
    loaded = [(path, nf.load(path)) for path in paths]
    cameras = {model.cameras for _, model in loaded}
    if len(cameras) > 1:
        raise ValueError(
            "the models of --model know other cameras: "
            + "; ".join(", ".join(codes) for codes in sorted(cameras))
        )
    titles = [architecture.title(model.arch) for _, model in loaded]
    if titles == [NOISE_FLOW]:
        return {"noise_flow": loaded[0]}
    names = titles if len({*titles}) == len(titles) else paths
    if len({*names}) < len(names):
        raise ValueError(f"--model names the same model twice: {', '.join(paths)}")
    return dict(zip(names, loaded, strict=True))


def evaluate(
    args: argparse.Namespace, models: Mapping[str, tuple[str, nf.NoiseFlow]], out: Path
) -> dict:
    """Measures the models beside both baselines; writes the results to `out` and returns them."""
    frames = dataset.frames(args, "test")
    ours, (path, best) = list(models.items())[-1]
    check_known(frames, best)
    test = dataset.patches(args, frames, best.cameras)
    stddev = args.gaussian_stddev or gaussian_stddev(args, path, best, test)
    batch_models = {
        "gaussian": evaluation.for_batches(nf.GaussianNoise(stddev)),
        "camera_nlf": evaluation.camera_nlf,
        **{name: evaluation.for_batches(model) for name, (_, model) in models.items()},
    }
    titles = {name: report.TITLES.get(name, name) for name in batch_models}
    scores = evaluation.ImageScores()
    properties = None
    if not args.scores_only:
        by_moments = evaluation.for_batches(functools.partial(best, training=True))
        properties = Properties(batch_models, ours, best.cameras, by_moments, args.seed)
    images = test.batches(args.n_batch_test, mix_images=False, shuffle=False)
    for batch, told in evaluation.measure(
        batch_models, tqdm(images, "scoring", unit="batch"), args.seed
    ):
        scores.add(batch, told)
        if properties is not None:
            properties.add(batch, told)

    results = {
        "dataset": dataset.told(args),
        "offline": sidd.read_manifest(dataset.root(args)) is not None,
        "models": {
            name: {"path": path, "arch": model.arch, "parameters": model.num_parameters}
            for name, (path, model) in models.items()
        },
        "titles": titles,
        "ours": ours,
        "gaussian_stddev": stddev,
        "seed": args.seed,
        "patch_size": args.patch_height,
        "left_out": list(test.skipped.values()),
        "images": evaluation_report.images(scores.rows(), test.frames),
    }
    shutil.rmtree(out / "figures", ignore_errors=True)
    (out / "examples.npz").unlink(missing_ok=True)
    if properties is not None:
        results["properties"] = properties.results()
        examples = pictures.Examples(test.frames, by_light=True)
        shown = {
            "Gaussian": nf.GaussianNoise(stddev),
            "Camera NLF": examples.camera_nlf,
            titles[ours]: best,
        }
        pictures.save(out / "examples.npz", examples.comparison(shown, args.seed))
    evaluation_report.write(out, results)
    return results


def check_known(frames: Sequence[sidd.Frame], model: nf.NoiseFlow) -> None:
    """Raises a ValueError where frames have an ISO level or a camera that a model does not know."""
    isos = sorted({frame.iso for frame in frames} - {*model.iso_levels})
    cameras = sorted({frame.camera for frame in frames} - {*model.cameras})
    if cameras or (isos and not model.iso_interpolation):
        raise ValueError(
            f"the model knows the cameras {', '.join(model.cameras)} and ISO "
            f"{', '.join(map(str, model.iso_levels))}, but the test frames have "
            f"{', '.join([*cameras, *(f'ISO {iso}' for iso in isos)])} too; choose with --cam and "
            "--iso"
        )


def gaussian_stddev(args, path: str, model: nf.NoiseFlow, test: sidd.Patches) -> float:
    """The Gaussian baseline: that of the run, where it saw the same data, else measured anew."""
    run = RunFolder(path)
    if run.settings.is_file():
        settings = run.read_settings()
        if settings.get("data", {}).get("test") == test.digest:
            return settings["baselines"]["gaussian_stddev"]
    try:
        frames = dataset.frames(args, "train")
    except ValueError as error:
        raise ValueError(
            f"{error}; the Gaussian baseline is fitted to the training noise: give "
            "--gaussian_stddev, or a dataset that has some"
        ) from error
    train = dataset.patches(args, frames, model.cameras).batches(args.n_batch_test, shuffle=False)
    return evaluation.gaussian_stddev(tqdm(train, "fitting the Gaussian", unit="batch"))


if __name__ == "__main__":
    cli.run(main)
