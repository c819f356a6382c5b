"""What noise-flow evaluate leaves for a person and for programs to read: Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sidd
from noise_flow_tf import evaluation
from noise_flow_tf.evaluation import tables
from noise_flow_tf.programs import properties
from noise_flow_tf.saving import run_folder

_CONDITIONS = ("instance", "number", "camera", "iso", "brightness", "patches", "kl_patches")


def images(rows: Iterable[Mapping], frames: Sequence[sidd.Frame]) -> list[dict[str, Any]]:
    """The rows of `evaluation.ImageScores`, with what is known of each image's frame."""
    named = []
    for row in rows:
        frame = frames[row["frame"]]
        conditions = {name: getattr(frame, name, row.get(name)) for name in _CONDITIONS}
        named.append({**conditions, "nlf": row["nlf"], "scores": row["scores"]})
    return named


def summaries(results: Mapping) -> dict[str, dict[str, dict]]:
    """For each way to group the images, by group, their number and the scores of each model."""
    rows = results["images"]
    ways = {
        "all": lambda row: "all",
        "camera": lambda row: row["camera"],
        "ISO": lambda row: row["iso"],
        "camera and ISO": lambda row: (row["camera"], row["iso"]),
    }
    found = {}
    for way, key in ways.items():
        members: dict[Any, list] = {}
        for row in rows:
            members.setdefault(key(row), []).append(row)
        found[way] = {
            ", ISO ".join(map(str, group)) if isinstance(group, tuple) else str(group): {
                "images": len(its),
                "scores": evaluation.summarise(its),
            }
            for group, its in sorted(members.items())
        }
    return found


def load(folder: Path) -> dict[str, Any]:
    """The results that `write` left in a folder.

    Raises:
        ValueError: there are none, or they cannot be read.
    """
    path = folder / "evaluation.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        results["images"], results["titles"], results["ours"]  # noqa: B018
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no results of noise-flow evaluate: {error}") from error
    return results


def write(out: Path, results: Mapping) -> None:
    """Writes `evaluation.json`, `evaluation.md`, `scores.csv` and `images.csv`."""
    found = summaries(results)
    text = json.dumps({**results, "summaries": found}, indent=2)
    run_folder.write_text(out / "evaluation.json", text + "\n")
    run_folder.write_text(out / "scores.csv", _csv(_score_lines(found)))
    run_folder.write_text(out / "images.csv", _csv(_image_lines(results)))
    run_folder.write_text(out / "evaluation.md", "\n".join(_markdown(results, found)))


def source(results: Mapping) -> str:
    """One sentence on what the numbers are from."""
    rows = results["images"]
    where = f"{len(rows)} test images of {results['dataset']}"
    if results["offline"]:
        return (
            f"All numbers here are from {where}, whose sensors are made up: they say nothing of "
            "how well the models fit real cameras, and compare with the paper's in order only."
        )
    return f"All numbers here are from {where}."


def explained(ours: str) -> str:
    """What the numbers of the tables mean."""
    return (
        "NLL in nats per dimension and marginal KL divergence in nats, with standard errors over "
        "images. (The frames of one scene are not independent; with two of each, errors over "
        "scenes are up to sqrt(2) times as large.) In parentheses is the relative improvement of "
        f"{ours}, as the paper computes it: that of the likelihood, exp(difference of NLL) - 1, "
        "and the part of the divergence that is gone. The KL floor is the divergence between two "
        "samples of the same model, which is what patches of this size give where the model is "
        "perfect."
    )


def table_1(results: Mapping, found: Mapping) -> str:
    """Table 1: all test images, beside the paper's numbers where the models are the paper's."""
    scores = found["all"]["all"]["scores"]
    beside = tables.PAPER_TABLE_1 if list(scores) == list(tables.TITLES) else None
    return tables.table(scores, results["titles"], results["ours"], beside)


def _markdown(results: Mapping, found: Mapping) -> list[str]:
    models = [
        f"- {results['titles'][name]}: `{model['path']}`, `{model['arch']}`, "
        f"{model['parameters']} parameters"
        for name, model in results["models"].items()
    ]
    lines = [
        f"# {results['titles'][results['ours']]} on {results['dataset']}",
        "",
        source(results),
        "",
        *models,
        "",
        explained(results["titles"][results["ours"]]),
        "",
        table_1(results, found),
        "",
    ]
    for way in ("camera", "ISO", "camera and ISO"):
        lines += [f"## By {way}", "", tables.groups(way, found[way], results["titles"]), ""]
    lines += [f"Frame left out: {reason}" for reason in results["left_out"]]
    if "properties" in results:
        lines += properties.text(results["properties"], results["titles"], results["ours"])
    return lines


def _score_lines(found: Mapping) -> Iterable[dict[str, Any]]:
    for way, groups in found.items():
        for group, summary in groups.items():
            for model, scores in summary["scores"].items():
                yield {
                    "by": way, "group": group, "images": summary["images"], "model": model,
                    **scores,
                }  # fmt: skip


def _image_lines(results: Mapping) -> Iterable[dict[str, Any]]:
    for row in results["images"]:
        for model, scores in row["scores"].items():
            conditions = {name: row[name] for name in _CONDITIONS}
            yield {**conditions, "model": model, **scores}


def _csv(lines: Iterable[dict[str, Any]]) -> str:
    lines = list(lines)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
