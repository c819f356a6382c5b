"""Section 4 of the Noise Flow paper from one command: Tables 1 and 2, Figures 4 to 7, and beyond.

Trains Noise Flow, its ablations and the paper's own formulas, scores all of them on the same test
images as the baselines, which are fitted to the same noise, and writes a report with the paper's
numbers next to the measured ones.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import tf_keras

import noise_flow_tf as nf
from noise_flow_tf.programs import (
    dataset,
    evaluate,
    evaluation_figures,
    fit_baseline,
    paper_report,
    train,
)
from noise_flow_tf.programs.configs import (
    OFFLINE_PAPER,
    EvaluateConfig,
    FitBaselineConfig,
    PaperConfig,
    Patches,
    TrainConfig,
)
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.saving.run_folder import RunFolder

OURS = "S-Ax4-G-Ax4-CAM"
VARIANTS = {
    "S-G": "S-G",
    "S-G-CAM": "S-G-CAM",
    "S-Ax1-G-Ax1-CAM": "S-Ax1-G-Ax1-CAM",
    paper_report.FORMULAS: "eq12|unc|unc|unc|unc|eq16|unc|unc|unc|unc",
    OURS: OURS,
}
_RELEASE_PATCHES = 2898


def run(config: PaperConfig) -> bool:
    """Train, score and report all variants.

    Returns:
        False if the scores were to be checked and do not agree with the paper's.

    Raises:
        ValueError: settings, a dataset or a folder that do not fit; training that diverged.
        OSError: a file that cannot be written.
    """
    if config.check:  # before hours of training
        paper_report.refuse_simulated(dataset.noise_label(of_variant(config, "", "")))
    out = Path(config.out)
    runs = {name: RunFolder(out / name) for name in VARIANTS}
    if not config.draw:
        for number, (name, arch) in enumerate(VARIANTS.items(), 1):
            print(f"\n[{number}/{len(VARIANTS)}] training {name}", flush=True)
            train.run(of_variant(config, str(runs[name].path), arch))
            tf_keras.backend.clear_session()  # which would grow from one training to the next
        print("\nfitting the baselines", flush=True)
        fit_baseline.run(of_baselines(config, out / "baselines"))
        print(f"\nscoring {len(VARIANTS)} models and the baselines", flush=True)
        score(config, runs, out / "evaluation")
    evaluation_figures.draw(out / "evaluation")
    paper_report.draw(out, runs, OURS)
    paper_report.write(out, runs, OURS)
    return paper_report.check(out) if config.check else True


def of_variant(config: PaperConfig, logdir: str, arch: str) -> TrainConfig:
    """Return the config of one training, which resumes an earlier one."""
    base = config.train or (TrainConfig() if config.full else OFFLINE_PAPER)
    return replace(
        base,
        logdir=logdir,
        arch=arch,
        resume=True,
        seed=config.seed,
        cache=config.cache,
        sidd_path=config.sidd_path,
        n_patches_per_image=_patches(config),
    )


def of_baselines(config: PaperConfig, out: Path) -> FitBaselineConfig:
    """Return the config by which the baselines are fitted, to what the variants are trained on."""
    trained_on = of_variant(config, "", "")
    data = {one.name: getattr(trained_on, one.name) for one in fields(Patches)}
    return FitBaselineConfig(**data, out=str(out))


def score(config: PaperConfig, runs: Mapping[str, RunFolder], out: Path) -> None:
    """Evaluate all variants on the same test images."""
    scoring = EvaluateConfig(
        model=[str(run.path) for run in runs.values()],
        out=str(out),
        sidd_path=config.sidd_path,
        cache=config.cache,
        n_patches_per_image=_patches(config),
        seed=config.seed,
    )
    folders = {name: out.parent / "baselines" / name for name in BASELINES}
    folders = {name: path for name, path in folders.items() if path.is_dir()}
    folders |= {name: run.path for name, run in runs.items()}
    models = {name: (str(path), nf.load(path)) for name, path in folders.items()}
    out.mkdir(exist_ok=True)
    with RunFolder(out).locked():
        evaluate.evaluate(scoring, models, out)


def _patches(config: PaperConfig) -> int | None:
    return _RELEASE_PATCHES if config.full else None
