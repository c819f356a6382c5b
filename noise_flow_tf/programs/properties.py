"""What noise-flow evaluate measures besides the metrics, and says about it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noise_flow_tf.evaluation import (
    KL_STRIDE,
    METRICS,
    ImageScores,
    Measured,
    analysis,
    summarise,
    tables,
)
from noise_flow_tf.protocol import NoiseModel

_MAX_LAG = 2
_RELEASE_TEMPERATURE = 0.6

Models = Mapping[str, NoiseModel]
Condition = tuple[str, int]
"""A camera and an ISO level."""


class Properties:
    """Correlation, variance over intensity, calibration, KL over temperature, frames as floor."""

    def __init__(
        self,
        models: Models,
        ours: str,
        cameras: Sequence[str],
        by_moments: NoiseModel,
        seed: int,
        instances: Sequence[int],
    ) -> None:
        """Measure the model called `ours` next to the baselines.

        `cameras` are the codes by index; `by_moments` is the model with batch norm on the moments
        of the batch; `seed` is of the samples at each temperature; `instances` are the scene
        instances of the frames, by number.
        """
        self._cameras = cameras
        self._sampled = ["camera_nlf", ours]
        self._correlation = {n: analysis.Correlation(_MAX_LAG) for n in ("real", *self._sampled)}
        self._variance = analysis.VarianceOverIntensity()
        self._latent = {name: analysis.Calibration() for name in ("gaussian", *self._sampled)}
        at_temperatures = {name: models[name] for name in self._sampled}
        self._temperature = analysis.KLOverTemperature(
            at_temperatures | {f"{ours} by moments": by_moments}, seed
        )
        self._nlf: dict[Condition, list[np.ndarray]] = {}
        self._image: list[tuple[Mapping, Mapping]] = []
        self._instances = instances
        self._last: dict[str, np.ndarray] | None = None
        self._frames = ImageScores(instances)

    def add(self, batch: Mapping[str, np.ndarray], measured: Mapping[str, Measured]) -> None:
        """Add a batch of one image, and what `evaluation.measure` yields with it."""
        if self._image and batch["frame"][0] != self._image[0][0]["frame"][0]:
            self._finish_image()
        self._image.append((batch, measured))
        self._temperature.add(batch)

    def results(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; groups are records with `camera` and `iso`.

        Models without a latent are neither in `latent` nor in `kl_over_temperature`;
        `real_against_real` has the metrics, with standard errors, of two frames of each scene, and
        nothing if no scene has two.
        """
        self._finish_image()
        rho = {name: one.mean() for name, one in self._correlation.items()}
        latent = {name: one.results() for name, one in self._latent.items()}
        nlf = {group: np.mean(rows, axis=0).tolist() for group, rows in self._nlf.items()}
        return {
            "correlation": {name: one.tolist() for name, one in rho.items()},
            "correlation_error": {
                name: analysis.correlation_error(rho[name], rho["real"]) for name in self._sampled
            },
            "variance": _records(self._variance.results()),
            "nlf": _records({group: {"beta1": b1, "beta2": b2} for group, (b1, b2) in nlf.items()}),
            "latent": {
                name: {**one, "groups": _records(one["groups"])} for name, one in latent.items()
            },
            "temperatures": list(analysis.TEMPERATURES),
            "kl_over_temperature": self._temperature.results(),
            "kl_above_temperature_1": self._temperature.above_one(),
            "real_against_real": self._real_against_real(),
        }

    def _finish_image(self) -> None:
        if not self._image:
            return
        batches, measured = zip(*self._image, strict=True)
        self._image = []
        image = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        noise, clean = image["noise"], image["clean"]
        self._compare_frames(image)
        group = self._cameras[int(batches[0]["camera"][0])], int(batches[0]["iso"][0])
        noises = {"real": noise} | {
            name: np.concatenate([one[name].sample for one in measured]) for name in self._sampled
        }
        for name, values in noises.items():
            self._correlation[name].add(values)
        self._variance.add(group, clean, noises)
        self._nlf.setdefault(group, []).append(batches[0]["nlf"][0].astype(float))
        for name, calibration in list(self._latent.items()):
            latents = [one[name].latent for one in measured]
            if any(latent is None for latent in latents):
                del self._latent[name]
            else:
                calibration.add(group, np.concatenate(latents))

    def _compare_frames(self, image: dict[str, np.ndarray]) -> None:
        """Compare an image's noise with that of the frame before, if it shows the same scene."""
        last, self._last = self._last, image
        if last is None or not np.array_equal(last["clean"], image["clean"]):
            return
        before, this = (self._instances[int(one["frame"][0])] for one in (last, image))
        if before == this:
            other = Measured(None, None, last["noise"], last["noise"][::KL_STRIDE])
            self._frames.add(image, {"other frame": other})

    def _real_against_real(self) -> dict[str, float | None]:
        rows = self._frames.rows()
        if not rows:
            return {}
        scores = summarise(rows)["other frame"]
        names = [metric.name for metric in METRICS.values() if not metric.is_floor]
        known = [name for name in names if scores[name] is not None]
        return {key: scores[key] for name in known for key in (name, f"{name}_stderr")}


def _records(groups: Mapping[Any, Mapping]) -> list[dict[str, Any]]:
    return [{"camera": camera, "iso": iso, **group} for (camera, iso), group in groups.items()]


def captions(noise: str) -> dict[str, str]:
    """Return by name of the figure what it shows; `noise` is the dataset's, real or simulated."""
    return {
        "samples": "Figures 1 and 5: noise of each model, with its marginal KL divergence to the "
        f"{noise} noise in nats, the {noise} noise and the clean patch, rendered to sRGB.",
        "correlation": f"Correlation coefficients of the {noise} noise and of the models', "
        "averaged over images, in the orientation of the file; the error is the RMS over all lags "
        "of up to two packed pixels and all pairs of channels.",
        "variance": f"Variance of the {noise} noise and of the model's against the clean "
        "intensity, for each camera and ISO level.",
        "latent": f"The latent of the {noise} noise: a perfect model makes white standard-normal "
        "noise of it.",
        "temperature": f"Marginal KL to the {noise} noise over the sampling temperature.",
    }


def captioned(folder: str, captions: Mapping[str, str]) -> dict[str, str]:
    """Return Markdown, by name, that shows each figure of a folder above its caption."""
    return {
        name: f"![{caption}]({folder}/{name}.png)\n\n*{caption}*"
        for name, caption in captions.items()
    }


def text(
    measured: Mapping, titles: Mapping[str, str], ours: str, noise: str, figures: str = "figures"
) -> list[str]:
    """Return paragraphs of Markdown on `Properties.results`.

    `noise` is the dataset's, real or simulated; `figures` is their folder, from the report's.
    """
    errors, mine = measured["correlation_error"], titles[ours]
    latent = [["latent of", "mean", "variance", "excess kurtosis", "whiteness error"]]
    for name, of_model in measured["latent"].items():
        cells = [of_model["all"][k] for k in ("mean", "variance", "excess_kurtosis", "whiteness")]
        latent.append([titles[name], *(f"{value:.4f}" for value in cells)])
    without = "" if ours in measured["latent"] else f" {mine} has no latent, and is left out."
    pictures = captioned(figures, captions(noise))
    return [
        "## Samples",
        pictures["samples"],
        *_floor_text(measured.get("real_against_real", {}), noise),
        "## Correlation",
        f"The RMS error of the correlation coefficients is {errors['camera_nlf']:.4f} for the "
        f"camera NLF, whose noise is white, and {errors[ours]:.4f} for {mine}: "
        f"{errors[ours] / errors['camera_nlf']:.0%} of it.",
        pictures["correlation"],
        "## Variance against intensity",
        pictures["variance"],
        "## Calibration of the latent",
        "Perfect are mean 0, variance 1, excess kurtosis 0 and whiteness error 0 (the RMS of the "
        f"latent's correlation coefficients).{without}",
        tables.markdown(latent),
        pictures["latent"],
        "## Sampling temperature",
        temperature_text(measured, titles, ours),
        pictures["temperature"],
    ]


def _floor_text(scores: Mapping[str, float | None], noise: str) -> list[str]:
    """Return what two frames of one scene say of the metrics."""
    if not scores:
        return []
    metrics = [metric for metric in METRICS.values() if scores.get(metric.name) is not None]
    rows = [["", "another frame"], *([m.title, tables.number(m, scores)] for m in metrics)]
    return [
        "## Two frames of one scene",
        f"The metrics with the {noise} noise of another frame in place of samples: what a perfect "
        "model has on these images.",
        tables.markdown(rows),
    ]


def temperature_text(measured: Mapping, titles: Mapping[str, str], ours: str) -> str:
    """Return which temperature is right here, and why the release took another."""
    if ours not in measured["kl_over_temperature"]:
        return f"{titles[ours]} has no latent, and so no temperature."
    temperatures = measured["temperatures"]
    kl = dict(zip(temperatures, measured["kl_over_temperature"][ours], strict=True))
    by_moments = measured["kl_over_temperature"][f"{ours} by moments"]
    best = min(kl, key=kl.__getitem__)
    best_by_moments = temperatures[int(np.argmin(by_moments))]
    difference, error = measured["kl_above_temperature_1"][ours][temperatures.index(best)]
    if best == 1:
        verdict = "the model's own distribution, which is what maximum likelihood fits"
    elif -difference > 2 * error:
        verdict = "so that the model's own distribution, at 1, has another spread than these images"
    else:
        verdict = "within two standard errors of the model's own distribution, at 1"
    return (
        f"The release's sampling script went to a temperature of {_RELEASE_TEMPERATURE}, because "
        "users found the noise of the released weights too strong at 1; a lower temperature "
        "weakens all noise alike, and so hides a misfit instead of mending it. Here the KL of "
        f"{titles[ours]} is lowest at {best:g}, {verdict}: {kl[best]:.4f} nats, against "
        f"{kl[1.0]:.4f} at 1 and {kl[_RELEASE_TEMPERATURE]:.4f} at {_RELEASE_TEMPERATURE}. Batch "
        "norm on the moments of the batch, another trait of that script, puts the lowest at "
        f"{best_by_moments:g}."
    )
