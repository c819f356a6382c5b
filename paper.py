"""Section 4 of the Noise Flow paper from one command: Tables 1 and 2, Figures 4 to 7, and beyond.

Trains Noise Flow, its ablations and the paper's own formulas, scores all of them on the same test
images beside both baselines, and writes a report with the paper's numbers beside the measured ones.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import evaluate
import evaluation_figures
import noise_flow_tf as nf
import paper_report
from noise_flow_tf.training import RunFolder

OURS = "S-Ax4-G-Ax4-CAM"
VARIANTS = {
    "S-G": "S-G",
    "S-G-CAM": "S-G-CAM",
    "S-Ax1-G-Ax1-CAM": "S-Ax1-G-Ax1-CAM",
    paper_report.FORMULAS: "eq12|unc|unc|unc|unc|eq16|unc|unc|unc|unc",
    OURS: OURS,
}
_FIXED = {
    "logdir", "arch", "seed", "sidd_path", "cache", "patch_height", "n_patches_per_image", "cam",
    "iso", "start_ts_im_idx", "end_ts_im_idx", "overwrite", "new_camera",
}  # fmt: skip
_OFFLINE = ("--epochs", "60", "--n_batch_train", "46")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__,
        epilog="""writes to the folder --out
  report.md        the tables and figures, with the paper's numbers beside
  report.json      the same numbers, for programs
  NAME/            the run of each variant, as train.py writes it
  evaluation/      the scores of all variants side by side, as evaluate.py writes them
  figures/         drawn from the files above; --draw makes them anew
The same command goes on where it was stopped. Arguments behind -- go to each train.py.

By default all is done on the offline dataset, in 15 to 40 minutes on 2 cores. --full with
--sidd_path ROOT does it on the real SIDD: 10,000 steps for each variant, 2898 patches of an image
as in the release; add -- --schedule release for its 2000 epochs.""",
    )
    add = parser.option
    add("out", metavar="FOLDER", default="runs/paper", help="where runs and results go")
    add("full", action="store_true", help="on the real SIDD, which --sidd_path names")
    add("sidd_path", metavar="ROOT", help="SIDD_Medium_Raw or SIDD_Full")
    add("cache", metavar="FOLDER", default="data/patch_cache", help="where patches are kept")
    add("seed", type=int, default=0, help="of initial values, shuffling and samples")
    add("draw", action="store_true", help="only draw the figures and write the report anew")
    parser.add_argument("train_flags", nargs="*", metavar="-- FLAG", help="for each train.py")
    args = parser.parse_args(arguments)
    if args.full != bool(args.sidd_path):
        parser.error("--full and --sidd_path ROOT go together")
    named = {flag.split("=")[0].lstrip("-").replace("-", "_") for flag in args.train_flags}
    for name in sorted(named & _FIXED):
        parser.error(f"--{name} behind -- would not reach the scoring; leave it out")
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    out = Path(args.out)
    runs = {name: RunFolder(out / name) for name in VARIANTS}
    shared = ["--cache", args.cache, "--seed", str(args.seed)]
    if args.full:
        shared += ["--sidd_path", args.sidd_path, "--n_patches_per_image", "2898"]
    if not args.draw:
        for number, (name, arch) in enumerate(VARIANTS.items(), 1):
            print(f"\n[{number}/{len(VARIANTS)}] training {name}", flush=True)
            preset = () if args.full else _OFFLINE
            train("--logdir", str(runs[name].path), "--arch", arch, *shared, *preset,
                  *args.train_flags)  # fmt: skip
        print(f"\nscoring {len(VARIANTS)} models and two baselines", flush=True)
        flags = evaluate.parse([
            *shared, "--out", str(out / "evaluation"),
            "--model", *(str(run.path) for run in runs.values()),
        ])  # fmt: skip
        models = {name: (str(run.path), nf.load(run.path)) for name, run in runs.items()}
        (out / "evaluation").mkdir(exist_ok=True)
        with RunFolder(out / "evaluation").locked():
            evaluate.evaluate(flags, models, out / "evaluation")
    evaluation_figures.draw(out / "evaluation")
    paper_report.draw(out, runs, OURS)
    paper_report.write(out, runs, OURS)


def train(*flags: str) -> None:
    """Runs train.py in a process of its own, from where an earlier one stopped.

    Raises:
        ValueError: it failed; it has said why.
    """
    script = Path(__file__).with_name("train.py")
    process = subprocess.Popen([sys.executable, str(script), "--resume", *flags])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # it saves its state, which takes a while
        process.wait()
        raise
    if code:
        raise ValueError(f"train.py {' '.join(flags)} ended with exit code {code}")


if __name__ == "__main__":
    cli.run(main)
