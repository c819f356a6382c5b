"""The figures of noise-flow evaluate, from the results that it saved."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import sidd
from noise_flow_tf import plotting
from noise_flow_tf.programs import evaluation_report, pictures


def draw(folder: Path) -> None:
    """Draws all figures of the results in a folder into `figures` there; none where only the
    scores were measured.

    Raises:
        ValueError: the folder holds no results.
    """
    results = evaluation_report.load(folder)
    if "properties" not in results:
        return
    try:
        figures = from_results(results)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / 'evaluation.json'} lacks what the figures show, or was written by another "
            f"version ({error}); evaluate again without --draw"
        ) from error
    (folder / "figures").mkdir(exist_ok=True)
    figures["samples"] = pictures.comparison_figure(pictures.load(folder / "examples.npz"))
    for name, figure in figures.items():
        with sidd.replacing(folder / "figures" / f"{name}.png") as path:
            figure.savefig(path, format="png")


def from_results(results: Mapping) -> dict[str, Figure]:
    """By name, the figures of what `evaluation.json` holds."""
    found, ours = results["properties"], results["ours"]
    titles = {"real": "Real", **results["titles"]}
    groups = {_condition(group): told for group, told in found["variance"].items()}
    cameras = list(sidd.CAMERAS) + sorted({camera for camera, _ in groups} - {*sidd.CAMERAS})
    in_order = sorted(groups, key=lambda key: (cameras.index(key[0]), key[1]))
    latents = {titles[name]: _sorted(told, in_order) for name, told in found["latent"].items()}
    return {
        "correlation": plotting.correlation_maps(
            {titles[name]: np.array(rho) for name, rho in found["correlation"].items()},
            {titles[name]: error for name, error in found["correlation_error"].items()},
        ),
        "variance": plotting.variance_grid(
            {key: groups[key] for key in in_order},
            {_condition(group): nlf for group, nlf in found["nlf"].items()},
            "real",
            ours,
            ("real noise", "camera NLF, beta1 y + beta2", titles[ours]),
        ),
        "latent": plotting.latent_quantiles(latents, titles[ours]),
        "temperature": plotting.charts(_temperature_chart(found, titles, ours)),
    }


def _temperature_chart(found: Mapping, titles: Mapping, ours: str) -> plotting.Chart:
    temperatures, kl = found["temperatures"], found["kl_over_temperature"]
    by_moments = {f"{ours} by moments": f"{titles[ours]}, batch norm on the batch's moments"}
    best = int(np.argmin(kl[ours]))
    return plotting.Chart(
        {(titles | by_moments)[name]: (temperatures, values) for name, values in kl.items()},
        title="Marginal KL divergence over the sampling temperature",
        xlabel="temperature: standard deviation of the latent",
        ylabel="KL in nats (logarithmic)",
        logarithmic=True,
        marked={f"lowest, at {temperatures[best]:g}": (temperatures[best], kl[ours][best])},
    )


def _condition(group: str) -> tuple[str, int]:
    camera, iso = group.split(", ISO ")
    return camera, int(iso)


def _sorted(told: Mapping, in_order: list[tuple[str, int]]) -> dict:
    names = [f"{camera}, ISO {iso}" for camera, iso in in_order]
    return {**told, "groups": {name: told["groups"][name] for name in names}}
