"""Section 4 of the Noise Flow paper from one command: Tables 1 and 2, Figures 4 to 7, and beyond.

Trains Noise Flow, its ablations and the paper's own formulas, scores all of them on the same test
images beside both baselines, and writes a report with the paper's numbers beside the measured ones.
"""

import os
import subprocess
import sys
from pathlib import Path

import noise_flow_tf as nf
from noise_flow_tf.programs import evaluate, evaluation_figures, paper_report
from noise_flow_tf.programs.configs import EvaluateConfig, PaperConfig
from noise_flow_tf.saving.run_folder import RunFolder

TRAIN = (sys.executable, "-m", "noise_flow_tf", "train")
_ROOT = Path(__file__).resolve().parents[2]

OURS = "S-Ax4-G-Ax4-CAM"
VARIANTS = {
    "S-G": "S-G",
    "S-G-CAM": "S-G-CAM",
    "S-Ax1-G-Ax1-CAM": "S-Ax1-G-Ax1-CAM",
    paper_report.FORMULAS: "eq12|unc|unc|unc|unc|eq16|unc|unc|unc|unc",
    OURS: OURS,
}
_RELEASE_PATCHES = 2898
_OFFLINE = ("--epochs", "60", "--n_batch_train", "46")


def run(config: PaperConfig) -> None:
    """Does it; raises ValueError or OSError for bad input."""
    out = Path(config.out)
    runs = {name: RunFolder(out / name) for name in VARIANTS}
    shared = ["--cache", config.cache, "--seed", str(config.seed)]
    if config.full:
        shared += ["--sidd_path", config.sidd_path, "--n_patches_per_image", str(_RELEASE_PATCHES)]
    if not config.draw:
        for number, (name, arch) in enumerate(VARIANTS.items(), 1):
            print(f"\n[{number}/{len(VARIANTS)}] training {name}", flush=True)
            preset = () if config.full else _OFFLINE
            train("--logdir", str(runs[name].path), "--arch", arch, *shared, *preset,
                  *config.train_flags)  # fmt: skip
        print(f"\nscoring {len(VARIANTS)} models and two baselines", flush=True)
        scoring = EvaluateConfig(
            model=[str(run.path) for run in runs.values()],
            out=str(out / "evaluation"),
            sidd_path=config.sidd_path,
            cache=config.cache,
            n_patches_per_image=_RELEASE_PATCHES if config.full else None,
            seed=config.seed,
        )
        models = {name: (str(run.path), nf.load(run.path)) for name, run in runs.items()}
        (out / "evaluation").mkdir(exist_ok=True)
        with RunFolder(out / "evaluation").locked():
            evaluate.evaluate(scoring, models, out / "evaluation")
    evaluation_figures.draw(out / "evaluation")
    paper_report.draw(out, runs, OURS)
    paper_report.write(out, runs, OURS)


def train(*flags: str) -> None:
    """Runs `noise-flow train` in a process of its own, from where an earlier one stopped.

    Raises:
        ValueError: it failed; it has said why.
    """
    importable = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [*TRAIN, "--resume", *flags], env={**os.environ, "PYTHONPATH": importable}
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # it saves its state, which takes a while
        process.wait()
        raise
    if code:
        raise ValueError(f"noise-flow train {' '.join(flags)} ended with exit code {code}")
