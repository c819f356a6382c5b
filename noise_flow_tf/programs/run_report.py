"""What train.py leaves for a person to read: the pictures and the report of a run."""

import json

import noise_flow_tf as nf
from noise_flow_tf import architecture, plotting
from noise_flow_tf.evaluation import tables
from noise_flow_tf.programs import dataset, pictures
from noise_flow_tf.saving import run_folder


def draw(run, examples, gaussian, best, rows, baselines) -> None:
    """Writes the pictures of samples and of the history."""
    models = {"Gaussian": gaussian, "Camera NLF": nf.CameraNLF(), "Noise Flow": best}
    noise = examples.noise_label
    samples = pictures.comparison_figure(examples.comparison(models), noise)
    charts = pictures.history(rows, baselines, best.summaries(), noise)
    figures = {"samples": samples}
    figures |= {name: plotting.charts(chart) for name, chart in charts.items()}
    for name, figure in figures.items():
        pictures.save_figure(figure, run.pictures / f"{name}.png")


def write(run, config, scores, rows, skipped) -> None:
    """Writes `report.md` and `report.json`, and prints the scores and where things are."""
    settings = run.read_settings()
    minutes = sum(row["seconds"] for row in rows) / 60
    steps = settings["steps_per_epoch"] * len(rows)
    table = tables.table(scores)
    text = [
        f"# {architecture.title(config.arch)} on {dataset.told(config)}",
        "",
        tables.explained("Noise Flow"),
        "",
        table,
        "",
        f"{len(rows)} epochs, {steps} steps of {config.n_batch_train} patches in {minutes:.1f} "
        f"minutes; schedule {config.schedule} at {config.lr:g}, seed {config.seed}. The best "
        "weights by test NLL were kept, as in the original release.",
        "",
        *[_told(start) for start in settings["starts"]],
        "",
        *[f"Frame left out: {reason}" for _, reason in skipped],
        *([""] if skipped else []),
        *[f"![{path.stem}](pictures/{path.name})" for path in sorted(run.pictures.glob("*.png"))],
        "",
    ]
    numbers = {
        "test": scores,
        "dataset": dataset.told(config),
        "training": {"minutes": minutes, "steps": steps, "epochs": len(rows)},
        "left_out": [reason for _, reason in skipped],
        "seed": config.seed,
        "starts": settings["starts"],
    }
    run_folder.write_text(run.report, json.dumps(numbers, indent=2) + "\n")
    run_folder.write_text(run.report_text, "\n".join(text))
    print(f"\n{table}\n")
    print(f"report    {run.report_text}")
    print(f"pictures  {run.pictures}")
    print(f"model     {run.saved_model}")
    print(f"curves    tensorboard --logdir {run.tensorboard}")


def _told(start: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in start["versions"].items())
    return (
        f"Started with `{' '.join(start['command'])}` at commit {start['git_commit']}, {versions}."
    )
