"""The model card of a run: what it was trained on, how, how well, and what it is not for."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from noise_flow_tf import architecture
from noise_flow_tf.evaluation import tables
from noise_flow_tf.evaluation.metrics import METRICS
from noise_flow_tf.saving.files import reading
from noise_flow_tf.saving.run_folder import RunFolder
from sidd.wording import counted

_WHAT = """\
The noise of raw images as a density, p(noise | clean raw image, ISO, camera): a conditional
normalizing flow after [Abdelhamed, Brubaker and Brown, ICCV 2019](https://arxiv.org/abs/1908.08453),
written by the Python package `noise-flow-tf`."""

_USE = """\
## Use

```python
import noise_flow_tf as nf

model = nf.load("FOLDER")                  # this folder, or hf://USER/REPO
noise = nf.sample_image(model, clean, iso={iso}, camera="{camera}", seed=0)
```

`clean` is a packed raw image [H, W, 4], (raw - black level) / (white level - black level), with the
channels (0,0), (0,1), (1,1), (1,0) of the Bayer pattern. Supported: {supported}."""

_LIMITS = """\
## Limits

- It models the noise of raw images, before any processing, not of finished pictures.
- It knows these cameras and ISO levels only, and refuses others.
- The noise of patches of {side} x {side} is what it has seen: row and column noise, fixed patterns
  and low light beyond the training data are not in it."""

_SIMULATED = """
The noise of this dataset is simulated: no camera has it. Use the model to try the software, not to
draw conclusions about cameras, and do not compare its scores with those on SIDD.
"""
_SIDD = "SIDD's terms: https://abdokamel.github.io/sidd/."


def of_run(run: RunFolder, licence: str | None = None) -> str:
    """Return the model card of a trained run, in Markdown with the header of the Hugging Face Hub.

    Raises:
        ValueError: its settings or its report are missing or damaged.
    """
    settings = run.read_settings()
    with reading(f"{run.report} cannot be read, so nothing is known of the run's scores"):
        report = json.loads(run.report.read_text(encoding="utf-8"))
        title = architecture.title(settings["arch"])
        simulated = _is_simulated(settings, report)
        sections = [
            _header(licence, simulated),
            f"# Noise Flow ({title})",
            _WHAT,
            _data(settings, report, simulated),
            _scores(report),
            _training(settings, report),
            _use(settings),
            _LIMITS.format(side=settings.get("patch_height", 32)),
            f"## Licence\n\n{licence or 'Not stated yet: name one before you publish.'}",
        ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _is_simulated(settings: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Return whether the run's noise was simulated; reports of earlier versions do not say so."""
    if "dataset_noise" in report:
        return report["dataset_noise"] == "simulated"
    return "steps_per_epoch" in settings and not (settings["sidd_path"] or settings.get("pairs"))


def _header(licence: str | None, simulated: bool) -> str:
    tags = ["noise-model", "raw-images", "normalizing-flow", *["simulated-data"] * simulated]
    lines = [f"license: {json.dumps(licence)}"] if licence else []
    lines += ["library_name: noise-flow-tf", f"tags: [{', '.join(tags)}]"]
    return "\n".join(["---", *lines, "---"])


def _data(settings: Mapping[str, Any], report: Mapping[str, Any], simulated: bool) -> str:
    what = report.get("dataset") or (
        f"bursts of camera {report['camera']}" if "camera" in report else "not recorded"
    )
    chosen = [
        f"only {title} {', '.join(map(str, settings[name]))}"
        for name, title in (("cam", "cameras"), ("iso", "ISO levels"))
        if settings.get(name)
    ]
    digests = settings.get("data") or {}
    lines = [
        f"Trained on {what}{''.join(f', {part}' for part in chosen)}.",
        _SIMULATED if simulated else _SIDD if settings.get("sidd_path") else "",
        *(f"Hash of the {name} patches: `{digest}`." for name, digest in digests.items()),
    ]
    return "## Data\n\n" + "\n".join(filter(None, lines))


def _scores(report: Mapping[str, Any]) -> str:
    """Return a table with one row per model, of the metrics that the report has."""
    scores = report.get("test") or report.get("scores") or {}
    shown = [m for m in METRICS.values() if any(m.name in score for score in scores.values())]
    if not shown:
        return "## Scores\n\nThe run has recorded none; `noise-flow evaluate` measures them."
    rows = [["", *(f"{metric.title}" for metric in shown)]]
    cells_of = [tables.numbers(metric, scores) for metric in shown]
    for name in scores:
        rows.append([tables.TITLES.get(name, name), *(cells[name] for cells in cells_of)])
    units = "NLL in nats per dimension, KL divergences in nats; lower is better."
    return f"## Scores on held-out scenes\n\n{tables.markdown(rows)}\n\n{units}"


def _training(settings: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    starts = settings.get("starts", [])
    lines: list[str] = []
    for start in starts:
        versions = ", ".join(f"{name} {number}" for name, number in start["versions"].items())
        lines += [f"    {shlex.join(start['command'])}", f"with {versions}."]
    training = report.get("training")
    if training:
        lines.append(
            f"{counted(training['epochs'], 'epoch')}, {counted(training['steps'], 'step')} in "
            f"{training['minutes']:.1f} minutes, seed {settings['seed']}."
        )
    return "\n\n".join(["## Training", *lines])


def _use(settings: Mapping[str, Any]) -> str:
    cameras, levels = settings["cameras"], settings["iso_levels"]
    own = settings.get("camera_levels") or [levels] * len(cameras)
    supported = "; ".join(
        f"{camera} at ISO {', '.join(map(str, of_camera))}"
        for camera, of_camera in zip(cameras, own, strict=True)
    )
    return _USE.format(iso=own[-1][-1], camera=cameras[-1], supported=supported)
