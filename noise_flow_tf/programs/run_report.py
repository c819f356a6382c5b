"""The report of a training run, of a noise model or a denoiser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from noise_flow_tf.programs import dataset, pictures
from noise_flow_tf.programs.configs import Run
from noise_flow_tf.saving import files
from noise_flow_tf.saving.run_folder import RunFolder
from sidd.wording import counted


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a report says of one kind of model.

    `text` is paragraphs in Markdown, `best` a sentence on which weights were kept, `numbers` the
    kind's own part of `report.json`, `summary` what is printed.
    """

    title: str
    text: Sequence[str]
    best: str
    numbers: Mapping[str, Any]
    summary: str
    figures: Mapping[str, Figure]


def write(
    run: RunFolder,
    config: Run,
    section: Section,
    rows: Sequence[Mapping[str, float]],
    left_out: Sequence[str],
) -> None:
    """Write pictures, `report.md` and `report.json`; print the summary and where things are.

    The report shows the figures in their order in the section.
    """
    for name, figure in section.figures.items():
        files.write_figure(run.pictures / f"{name}.png", figure)
    settings = run.read_settings()
    minutes = sum(row["seconds"] for row in rows) / 60
    steps = settings["steps_per_epoch"] * len(rows)
    side, batch = config.patch_height, config.n_batch_train or 0
    training = (
        f"{counted(len(rows), 'epoch')}, {counted(steps, 'step')} of "
        f"{counted(batch, 'patch')} of {side} x {side} "
        f"in {minutes:.1f} minutes; schedule {config.schedule} at {config.lr:g}, seed "
        f"{config.seed}. {section.best}"
    )
    paragraphs = [
        f"# {section.title} on {dataset.title(config)}",
        *section.text,
        training,
        "\n".join(map(_describe_start, settings["starts"])),
        "\n".join(f"Left out: {reason}" for reason in left_out),
        "\n".join(pictures.shown(section.figures)),
    ]
    numbers = {
        **section.numbers,
        "dataset": dataset.title(config),
        "dataset_noise": dataset.noise_label(config),
        "training": {"minutes": minutes, "steps": steps, "epochs": len(rows)},
        "left_out": list(left_out),
        "seed": config.seed,
        "starts": settings["starts"],
    }
    files.write_json(run.report, numbers)
    files.write_markdown(run.report_text, paragraphs)
    print(f"\n{section.summary}\n")
    print(f"report    {run.report_text}")
    print(f"pictures  {run.pictures}")
    print(f"model     {run.saved_model}")
    if run.numpy_weights.exists():
        print(f"for NumPy {run.numpy_weights}")
    print(f"curves    tensorboard --logdir {run.tensorboard}")


def _describe_start(start: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in start["versions"].items())
    return (
        f"Started with `{' '.join(start['command'])}` at commit {start['git_commit']}, {versions}."
    )
