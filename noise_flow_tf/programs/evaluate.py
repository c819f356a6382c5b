"""Scores trained noise models on SIDD's test scenes: likelihood, marginal KL, and what these miss.

Writes tables next to the paper's, the scores of every image, and figures.
"""

import functools
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf import architecture, evaluation
from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.evaluation import tables
from noise_flow_tf.programs import dataset, evaluation_figures, evaluation_report, pictures
from noise_flow_tf.programs.configs import EvaluateConfig
from noise_flow_tf.programs.properties import Properties
from noise_flow_tf.protocol import NoiseModel
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.run_folder import RunFolder
from sidd.progress import progress_bar

NOISE_FLOW = "S-Ax4-G-Ax4-CAM"


def run(config: EvaluateConfig) -> None:
    """Evaluate the models, or draw the figures of an evaluation.

    Raises:
        ValueError: models, a dataset or results that do not fit.
        OSError: a file that cannot be written.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    if config.draw:
        evaluation_report.load(out)
    else:
        models = load(config.model or [])
        out.mkdir(parents=True, exist_ok=True)
    with RunFolder(out).locked():
        if not config.draw:
            results = evaluate(config, models, out)
            print(f"\n{evaluation_report.table_1(results, evaluation_report.summaries(results))}")
        evaluation_figures.draw(out)
    print(f"\nreport    {out / 'evaluation.md'}")
    if (out / "figures").is_dir():
        print(f"figures   {out / 'figures'}")


def load(paths: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Load models: by a short name, the path and the model.

    A fitted baseline is called by its kind, and Noise Flow `noise_flow` if no other flow is there.
    """
    loaded: list[tuple[str, Any]] = [(path, nf.load(path)) for path in paths]
    cameras = {model.cameras for _, model in loaded if not hasattr(model, "kind")}
    if len(cameras) > 1:
        raise ValueError(
            "the models of --model support different cameras: "
            + "; ".join(", ".join(codes) for codes in sorted(cameras))
        )
    titles = [
        model.kind if hasattr(model, "kind") else architecture.title(model.arch)
        for _, model in loaded
    ]
    if [title for title in titles if title not in BASELINES] == [NOISE_FLOW]:
        titles[titles.index(NOISE_FLOW)] = "noise_flow"
    names = titles if len({*titles}) == len(titles) else paths
    if len({*names}) < len(names):
        raise ValueError(f"--model names the same model twice: {', '.join(paths)}")
    return dict(zip(names, loaded, strict=True))


def evaluate(
    config: EvaluateConfig, models: Mapping[str, tuple[str, Any]], out: Path
) -> dict[str, Any]:
    """Measure the models next to both baselines; write the results to `out` and return them."""
    frames = dataset.frames(config, "test")
    ours, (path, best) = list(models.items())[-1]
    space = ConditionSpace.of(best)
    for _, model in models.values():
        check_known(frames, ConditionSpace.of(model))
    test = dataset.patches(config, frames, space.cameras)
    stddev = config.gaussian_stddev or gaussian_stddev(config, path, space, test)
    noise_models = {
        "gaussian": nf.GaussianNoise(stddev),
        "camera_nlf": nf.CameraNLF(),
        **{name: with_cameras(model, space.cameras) for name, (_, model) in models.items()},
    }
    known = tables.TITLES | {name: kind.title for name, kind in BASELINES.items()}
    titles = {name: known.get(name, name) for name in noise_models}
    scores = evaluation.ImageScores([frame.instance for frame in test.frames])
    properties = None
    if not config.scores_only:
        by_moments = functools.partial(best, training=True)
        instances = [frame.instance for frame in test.frames]
        properties = Properties(
            noise_models, ours, space.cameras, by_moments, config.seed, instances
        )
    images = test.batches(config.n_batch_test, mix_images=False, shuffle=False)
    for batch, measured in evaluation.measure(
        noise_models, progress_bar(images, "scoring", unit="batch"), config.seed
    ):
        scores.add(batch, measured)
        if properties is not None:
            properties.add(batch, measured)

    noise = dataset.noise_label(config)
    results = {
        "dataset": dataset.title(config),
        "offline": noise == "simulated",
        "models": {name: {"path": path, **_size(model)} for name, (path, model) in models.items()},
        "titles": titles,
        "ours": ours,
        "gaussian_stddev": stddev,
        "seed": config.seed,
        "patch_size": config.patch_height,
        "left_out": list(test.skipped.values()),
        "images": evaluation_report.images(scores.rows(), test.frames),
    }
    shutil.rmtree(out / "figures", ignore_errors=True)
    (out / "examples.npz").unlink(missing_ok=True)
    if properties is not None:
        results["properties"] = properties.results()
        examples = pictures.Examples(test.frames, noise, by_light=True)
        shown = {titles[name]: noise_models[name] for name in ("gaussian", "camera_nlf", ours)}
        pictures.save(out / "examples.npz", examples.comparison(shown, config.seed))
    evaluation_report.write(out, results)
    return results


def _size(model: Any) -> dict[str, Any]:
    """Return the architecture and the number of parameters, of any kind of model."""
    variables = getattr(model, "trainable_variables", ())
    parameters = getattr(model, "num_parameters", sum(math.prod(v.shape) for v in variables))
    return {"arch": getattr(model, "arch", type(model).__name__), "parameters": parameters}


def with_cameras(model: Any, cameras: Sequence[str]) -> NoiseModel:
    """Return a model that is called with indices into `cameras`, some of which it may not have."""
    space = ConditionSpace.of(model)
    if space.cameras == tuple(cameras):
        return model
    index = [space.cameras.index(code) if code in space.cameras else -1 for code in cameras]

    def called(clean: Any, iso: Any, camera: Any, training: bool = False) -> Any:
        camera = tf.convert_to_tensor(camera)
        if camera.dtype != tf.string:
            camera = tf.gather(index, camera)
        return model(clean, iso, camera, training=training)

    return called


def check_known(frames: Sequence[sidd.Frame], space: ConditionSpace) -> None:
    """Raise a ValueError if frames have an ISO level or a camera that a model does not have."""
    known = {frame.iso for frame in frames} if space.iso_interpolation else {*space.iso_levels}
    isos = sorted({frame.iso for frame in frames} - known)
    cameras = sorted({frame.camera for frame in frames} - {*space.cameras})
    if cameras or isos:
        raise ValueError(
            f"the test frames have {', '.join([*cameras, *(f'ISO {iso}' for iso in isos)])}; "
            f"supported cameras: {', '.join(space.cameras)}; supported ISO levels: "
            f"{', '.join(map(str, space.iso_levels))}; choose with --cam and --iso"
        )
    try:
        space.check([frame.iso for frame in frames], [frame.camera for frame in frames])
    except ValueError as error:
        raise ValueError(f"the test frames: {error}; choose with --cam and --iso") from error


def gaussian_stddev(
    config: EvaluateConfig, path: str, space: ConditionSpace, test: sidd.Patches
) -> float:
    """Return the Gaussian baseline's: that of the run if it saw the same data, else measured."""
    run = RunFolder(path)
    if run.settings.is_file():
        settings = run.read_settings()
        if settings.get("data", {}).get("test") == test.digest:
            return settings["baselines"]["gaussian_stddev"]
    try:
        frames = dataset.frames(config, "train")
    except ValueError as error:
        raise ValueError(
            f"{error}; the Gaussian baseline is fitted to the training noise: give "
            "--gaussian_stddev, or a dataset that has some"
        ) from error
    return dataset.patches(config, frames, space.cameras).noise_stddev()
