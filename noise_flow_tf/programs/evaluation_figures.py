"""The figures of noise-flow evaluate, from the results that it saved."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import sidd
from noise_flow_tf import plotting
from noise_flow_tf.programs import evaluation_report, pictures
from noise_flow_tf.programs.properties import Condition
from noise_flow_tf.saving import files


def draw(folder: Path) -> None:
    """Draw all figures of the results in a folder into `figures` there; none of scores alone.

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
    files.make_folders(folder / "figures")
    examples = pictures.load(folder / "examples.npz")
    noise = evaluation_report.noise_label(results)
    figures["samples"] = pictures.comparison_figure(examples, noise)
    for name, figure in figures.items():
        files.write_figure(folder / "figures" / f"{name}.png", figure)


def from_results(results: Mapping) -> dict[str, Figure]:
    """Return by name the figures of what `evaluation.json` holds."""
    measured, ours = results["properties"], results["ours"]
    noise = evaluation_report.noise_label(results)
    titles = {"real": noise.capitalize(), **results["titles"]}
    latents = {
        titles[name]: {
            **of_model,
            "groups": {
                f"{camera}, ISO {iso}": group
                for (camera, iso), group in _in_order(of_model["groups"]).items()
            },
        }
        for name, of_model in measured["latent"].items()
    }
    by_condition = titles[ours] if ours in measured["latent"] else list(latents)[-1]
    nlf = {key: (row["beta1"], row["beta2"]) for key, row in _in_order(measured["nlf"]).items()}
    return {
        "correlation": plotting.correlation_maps(
            {titles[name]: np.array(rho) for name, rho in measured["correlation"].items()},
            {titles[name]: error for name, error in measured["correlation_error"].items()},
        ),
        "variance": plotting.variance_grid(
            _in_order(measured["variance"]),
            nlf,
            "real",
            ours,
            (f"{noise} noise", "camera NLF, beta1 y + beta2", titles[ours]),
        ),
        "latent": plotting.latent_quantiles(latents, by_condition, noise),
        "temperature": plotting.charts(_temperature_chart(measured, titles, ours, noise)),
    }


def _temperature_chart(measured: Mapping, titles: Mapping, ours: str, noise: str) -> plotting.Chart:
    temperatures, kl = measured["temperatures"], measured["kl_over_temperature"]
    titles = {
        **titles, f"{ours} by moments": f"{titles[ours]}, batch norm on the batch's moments"
    }  # fmt: skip
    marked = {}
    if ours in kl:
        best = int(np.argmin(kl[ours]))
        marked[f"lowest, at {temperatures[best]:g}"] = temperatures[best], kl[ours][best]
    return plotting.Chart(
        {titles[name]: (temperatures, values) for name, values in kl.items()},
        title=f"Marginal KL to {noise} noise over temperature",
        xlabel="sampling temperature: standard deviation of the latent",
        ylabel="KL in nats (logarithmic)",
        logarithmic=True,
        marked=marked,
    )


def _in_order(records: list[Mapping]) -> dict[Condition, Mapping]:
    """Return records by camera and ISO, in the order of SIDD's cameras and by ISO."""
    groups = {(record["camera"], record["iso"]): record for record in records}
    others = sorted({camera for camera, _ in groups} - {*sidd.CAMERAS})
    cameras = [*sidd.CAMERAS, *others]
    return {
        key: groups[key] for key in sorted(groups, key=lambda key: (cameras.index(key[0]), key[1]))
    }
