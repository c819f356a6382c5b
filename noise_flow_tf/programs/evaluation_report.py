"""What noise-flow evaluate writes for people and programs: Markdown, CSV and JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sidd
from noise_flow_tf import evaluation
from noise_flow_tf.evaluation import tables
from noise_flow_tf.programs import properties
from noise_flow_tf.saving import files
from noise_flow_tf.saving.kinds import BASELINES
from sidd.errors import reading
from sidd.wording import counted

_CONDITIONS = ("instance", "number", "camera", "iso", "brightness", "patches", "kl_patches")
_WAYS: dict[str, tuple[tuple[str, ...], str]] = {
    "all": ((), "all"),
    "camera": (("camera",), "{camera}"),
    "ISO": (("iso",), "{iso}"),
    "camera and ISO": (("camera", "iso"), "{camera}, ISO {iso}"),
}
"""Ways to group images: the conditions that a group shares, and its label in tables and CSV."""


def images(rows: Iterable[Mapping], frames: Sequence[sidd.Frame]) -> list[dict[str, Any]]:
    """Return the rows of `evaluation.ImageScores`, with what is known about each image's frame."""
    return [
        {name: getattr(frames[row["frame"]], name, row.get(name)) for name in _CONDITIONS}
        | {"nlf": row["nlf"], "scores": row["scores"]}
        for row in rows
    ]


def summaries(results: Mapping) -> dict[str, list[dict[str, Any]]]:
    """Return for each way to group the images one record per group.

    A record has the conditions that the group shares, the number of `images`, and the `scores` of
    each model.
    """
    by_way = {}
    for way, (columns, _) in _WAYS.items():
        members: dict[tuple, list] = {}
        for row in results["images"]:
            members.setdefault(tuple(row[name] for name in columns), []).append(row)
        by_way[way] = [
            dict(zip(columns, group, strict=True))
            | {"images": len(rows), "scores": evaluation.summarise(rows)}
            for group, rows in sorted(members.items())
        ]
    return by_way


def labelled(by_way: Mapping, way: str) -> dict[str, dict[str, Any]]:
    """Return the groups of `summaries` by their labels."""
    return {_WAYS[way][1].format(**record): record for record in by_way[way]}


def as_json(by_way: Mapping) -> dict[str, Any]:
    """Return `summaries` in the form of JSON: by the condition, if it is one, else as records."""
    in_json = dict(by_way)
    for way, (columns, _) in _WAYS.items():
        if len(columns) < 2:
            in_json[way] = {
                label: {"images": record["images"], "scores": record["scores"]}
                for label, record in labelled(by_way, way).items()
            }
    return in_json


def load(folder: Path) -> dict[str, Any]:
    """Return the results that `write` left in a folder.

    Raises:
        ValueError: there are none, or they cannot be read.
    """
    path = folder / "evaluation.json"
    with reading(path, "holds no results of noise-flow evaluate"):
        results = json.loads(path.read_text(encoding="utf-8"))
        results["images"], results["titles"], results["ours"]  # noqa: B018
    return results


def write(out: Path, results: Mapping) -> None:
    """Write `evaluation.json`, `evaluation.md`, `scores.csv` and `images.csv`."""
    by_way = summaries(results)
    files.write_json(out / "evaluation.json", {**results, "summaries": as_json(by_way)})
    files.write_csv(out / "scores.csv", _score_rows(by_way))
    files.write_csv(out / "images.csv", _image_rows(results))
    files.write_markdown(out / "evaluation.md", _markdown(results, by_way))


def noise_label(results: Mapping) -> str:
    """Return what `dataset.noise_label` said when the results were measured."""
    return "simulated" if results["offline"] else "real"


def source(results: Mapping) -> str:
    """Return one sentence on what the numbers are from."""
    where = f"{counted(len(results['images']), 'test image')} of {results['dataset']}"
    if results["offline"]:
        return (
            f"All numbers here are from {where}, whose sensors are made up: they say nothing of "
            "how well the models fit real cameras, and compare with the paper's in order only."
        )
    return f"All numbers here are from {where}."


def table_1(results: Mapping, by_way: Mapping) -> str:
    """Return Table 1: all test images, and the paper's numbers if the models are the paper's."""
    (everything,) = by_way["all"]
    scores = everything["scores"]
    is_papers = [name for name in scores if name not in BASELINES] == list(tables.TITLES)
    paper = tables.paper_table_1(list(scores)) if is_papers else None
    return tables.table(scores, results["titles"], results["ours"], paper)


def _markdown(results: Mapping, by_way: Mapping) -> list[str]:
    titles, ours = results["titles"], results["ours"]
    models = [
        f"- {titles[name]}: `{model['path']}`, `{model['arch']}`, {model['parameters']} parameters"
        for name, model in results["models"].items()
    ]
    paragraphs = [
        f"# {titles[ours]} on {results['dataset']}",
        source(results),
        "\n".join(models),
        tables.explained(titles[ours]),
        table_1(results, by_way),
    ]
    for way in ("camera", "ISO", "camera and ISO"):
        paragraphs += [f"## By {way}", tables.groups(way, labelled(by_way, way), titles)]
    paragraphs.append("\n".join(f"Left out: {reason}" for reason in results["left_out"]))
    if "properties" in results:
        paragraphs += properties.text(results["properties"], titles, ours, noise_label(results))
    return paragraphs


def _score_rows(by_way: Mapping) -> Iterable[dict[str, Any]]:
    for way in by_way:
        for label, record in labelled(by_way, way).items():
            group = {"by": way, "group": label, "images": record["images"]}
            for model, scores in record["scores"].items():
                yield {**group, "model": model, **scores}


def _image_rows(results: Mapping) -> Iterable[dict[str, Any]]:
    for row in results["images"]:
        conditions = {name: row[name] for name in _CONDITIONS}
        for model, scores in row["scores"].items():
            yield {**conditions, "model": model, **scores}
