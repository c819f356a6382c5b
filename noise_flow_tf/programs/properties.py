"""What noise-flow evaluate measures beside likelihood and KL, and says about it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noise_flow_tf.evaluation import analysis, tables

CAPTIONS = {
    "samples": "Figures 1 and 5: noise of each model, with its marginal KL divergence to the real "
    "noise in nats, the real noise and the clean patch, rendered to sRGB.",
    "correlation": "Correlation coefficients of the noise, averaged over images, in the "
    "orientation of the file; the error is the RMS over all lags of up to two packed pixels and "
    "all pairs of channels.",
    "variance": "Variance of the noise against the clean intensity, for each camera and ISO level.",
    "latent": "The latent of the real noise: a perfect model makes white standard-normal noise "
    "of it.",
    "temperature": "Marginal KL over the sampling temperature.",
}
_MAX_LAG = 2
_RELEASE_TEMPERATURE = 0.6


class Properties:
    """Correlation, variance over intensity, calibration of the latent, KL over temperature."""

    def __init__(
        self,
        models: Mapping[str, Any],
        ours: str,
        cameras: Sequence[str],
        by_moments: Any,
        seed: int,
    ):
        """Measures a model beside the baselines.

        `models` are by name as `evaluation` takes them, `ours` is the name of the model; the
        batches' camera indices count through `cameras`; `by_moments` is the model with batch norm
        on the moments of the batch.
        """
        self._cameras, self._ours = cameras, ours
        self._sampled = ["camera_nlf", ours]
        self._correlation = {
            name: analysis.Correlation(_MAX_LAG) for name in ("real", *self._sampled)
        }
        self._variance = analysis.VarianceOverIntensity()
        self._latent = {name: analysis.Calibration() for name in ("gaussian", *self._sampled)}
        at_temperatures = {name: models[name] for name in self._sampled}
        self._temperature = analysis.KLOverTemperature(
            at_temperatures | {f"{ours} by moments": by_moments}, seed
        )
        self._nlf: dict[str, list[np.ndarray]] = {}
        self._image: list[tuple[Mapping, Mapping]] = []

    def add(self, batch: Mapping[str, np.ndarray], told: Mapping[str, Any]) -> None:
        """Adds a batch of one image, and what `evaluation.measure` tells of it."""
        if self._image and batch["frame"][0] != self._image[0][0]["frame"][0]:
            self._finish_image()
        self._image.append((batch, {name: told[name] for name in self._latent}))
        self._temperature.add(batch)

    def results(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        self._finish_image()
        rho = {name: one.mean() for name, one in self._correlation.items()}
        return {
            "correlation": {name: one.tolist() for name, one in rho.items()},
            "correlation_error": {
                name: analysis.correlation_error(rho[name], rho["real"]) for name in self._sampled
            },
            "variance": self._variance.results(),
            "nlf": {group: np.mean(nlf, axis=0).tolist() for group, nlf in self._nlf.items()},
            "latent": {name: one.results() for name, one in self._latent.items()},
            "temperatures": list(analysis.TEMPERATURES),
            "kl_over_temperature": self._temperature.results(),
            "kl_above_temperature_1": self._temperature.above_one(),
        }

    def _finish_image(self) -> None:
        if not self._image:
            return
        batches, told = zip(*self._image, strict=True)
        self._image = []
        noise, clean = (np.concatenate([b[name] for b in batches]) for name in ("noise", "clean"))
        group = f"{self._cameras[int(batches[0]['camera'][0])]}, ISO {int(batches[0]['iso'][0])}"
        noises = {"real": noise}
        for name in self._sampled:
            noises[name] = np.concatenate([one[name].sample for one in told])
        for name, values in noises.items():
            self._correlation[name].add(values)
        self._variance.add(group, clean, noises)
        self._nlf.setdefault(group, []).append(batches[0]["nlf"][0].astype(float))
        for name, calibration in self._latent.items():
            calibration.add(group, np.concatenate([one[name].latent for one in told]))


def text(
    found: Mapping, titles: Mapping[str, str], ours: str, figures: str = "figures"
) -> list[str]:
    """Markdown lines on what `Properties.results` found; the figures are in a folder `figures`."""
    errors, mine = found["correlation_error"], titles[ours]
    share = errors[ours] / errors["camera_nlf"]
    latent = [["latent of", "mean", "variance", "excess kurtosis", "whiteness error"]]
    for name, told in found["latent"].items():
        every = told["all"]
        cells = [every[k] for k in ("mean", "variance", "excess_kurtosis", "whiteness")]
        latent.append([titles[name], *(f"{value:.4f}" for value in cells)])
    return [
        "## Correlation",
        "",
        f"The RMS error of the correlation coefficients is {errors['camera_nlf']:.4f} for the "
        f"camera NLF, whose noise is white, and {errors[ours]:.4f} for {mine}: {share:.0%} of it.",
        "",
        *_picture(figures, "correlation"),
        "## Variance against intensity",
        "",
        *_picture(figures, "variance"),
        "## Calibration of the latent",
        "",
        "Perfect are mean 0, variance 1, excess kurtosis 0 and whiteness error 0 (the RMS of the "
        "latent's correlation coefficients).",
        "",
        tables.markdown(latent),
        "",
        *_picture(figures, "latent"),
        "## Sampling temperature",
        "",
        temperature_text(found, titles, ours),
        "",
        *_picture(figures, "temperature"),
        "## Patches",
        "",
        *_picture(figures, "samples"),
    ]


def temperature_text(found: Mapping, titles: Mapping[str, str], ours: str) -> str:
    """What temperature is right here, and why the release took another."""
    temperatures = found["temperatures"]
    kl = dict(zip(temperatures, found["kl_over_temperature"][ours], strict=True))
    by_moments = found["kl_over_temperature"][f"{ours} by moments"]
    best = min(kl, key=kl.get)
    best_by_moments = temperatures[int(np.argmin(by_moments))]
    difference, error = found["kl_above_temperature_1"][ours][temperatures.index(best)]
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


def _picture(folder: str, name: str) -> list[str]:
    return [f"![{CAPTIONS[name]}]({folder}/{name}.png)", "", f"*{CAPTIONS[name]}*", ""]
