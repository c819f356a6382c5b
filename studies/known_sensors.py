"""How far models are from sensors of known likelihood: python -m studies.known_sensors.

Models are trained on noise of sensors whose exact likelihood is known, on the clean patches of the
offline dataset, and scored on held-out draws. No model has a lower expected NLL than the sensor
itself; what a model is above, in nats per dimension, is its gap to the truth. It is decomposed into

- marginal: the divergence between the distributions of single values. Without levels, of noise
  divided by the sensor's standard deviation, in histograms by condition and eighth of intensity,
  less what counting alone gives; with levels, whose pixels are independent here, the truth's log
  mass less that of a Gaussian of the model's own variance in the same steps;
- dequantisation, for sensors with levels: what that Gaussian's density loses on noise that has
  uniform noise of a step added, above its mass in the steps;
- correlation: the rest, which for models far from the truth has what histograms do not resolve,
  and for marginals of a model that are not Gaussian, with levels, their gain or loss.

A study, not an option of the evaluation: it trains models, and needs sensors that no dataset has.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studies import common  # isort: skip
import numpy as np
import tensorflow as tf
import tf_keras
from scipy.special import ndtr

import noise_flow_tf as nf
import sidd
from noise_flow_tf import plotting
from noise_flow_tf.evaluation.tables import markdown
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.programs.options import positive_int
from noise_flow_tf.protocol import Batch, distribution, sample
from noise_flow_tf.training import schedules
from noise_flow_tf.training.names import BETA_2, RATES
from sidd.offline.known_sensors import (
    GaussianSensor,
    KnownSensor,
    PoissonGaussianSensor,
    dequantise,
)
from sidd.offline.synthetic import camera_iso_pairs
from studies.known_floor import clean_patches

_BATCH = 16
_TEST_BATCH = 70
_AVERAGE_BATCHES = 100
_EDGES = np.concatenate([[-np.inf], np.linspace(-5, 5, 41), [np.inf]])
_CLASSES = 8

Condition = tuple[str, int]
"""A camera and an ISO level."""


class ModelSensor(KnownSensor):
    """A noise model as a sensor: it draws its samples, and its likelihood is the truth.

    Its conditions are those that the model was made for; its `variance` is that of a large sample's
    mean scale, `nf.predicted_scale` squared.
    """

    def __init__(self, model: nf.NoiseFlow) -> None:
        self._model = model

        @tf.function(reduce_retracing=True, autograph=False)
        @own_graph()
        def drawn(batch: Batch, seed: tf.Tensor) -> tf.Tensor:
            return sample(distribution(model, batch), seed)

        @tf.function(reduce_retracing=True, autograph=False)
        @own_graph()
        def scored(batch: Batch) -> tf.Tensor:
            return distribution(model, batch).log_prob(batch["noise"])

        self._drawn, self._scored = drawn, scored

    def variance(self, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        return np.square(nf.predicted_scale(self._model, clean, iso, camera).numpy())

    def draw(
        self, clean: np.ndarray, camera: str, iso: int, random: np.random.Generator
    ) -> np.ndarray:
        seed = tf.constant(random.integers(2**31 - 1, size=2), tf.int32)
        return self._drawn(_batch(clean, (camera, iso)), seed).numpy()

    def log_prob(self, noise: np.ndarray, clean: np.ndarray, camera: str, iso: int) -> np.ndarray:
        batch = _batch(clean, (camera, iso)) | {"noise": tf.constant(noise)}
        return self._scored(batch).numpy().astype(np.float64)


class Part(NamedTuple):
    """Draws of one condition: patches and noise `[N, h, w, 4]`, as models see it, and the truth.

    `truth` has the exact NLL of each patch, `[N]`, in nats per dimension of a density.
    """

    clean: np.ndarray
    noise: np.ndarray
    truth: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    parser = common.parsing.Parser(
        prog="studies.known_sensors", description=(__doc__ or "").partition("\n")[0]
    )
    parser.option("out", metavar="FOLDER", default="runs/known_sensors", help="output folder")
    parser.option("dataset", metavar="ROOT", default=common.DATASET, help="the offline dataset")
    parser.option("model", metavar="PATH", help="a model that is a sensor, too; by default none")
    parser.option("sensors", nargs="+", metavar="NAME", help="only these of the sensors")
    parser.option("steps", type=positive_int, default=4500, help="of each training")
    parser.option("copies", type=positive_int, default=4, help="draws per training patch")
    parser.option("seed", type=int, default=0, help="of draws and initial values")
    args = parser.parse_args(arguments)
    sensors = all_sensors(nf.load(args.model) if args.model else None)
    if unknown := sorted({*(args.sensors or ())} - {*sensors}):
        raise ValueError(f"unknown sensor {', '.join(unknown)}; choose from {', '.join(sensors)}")
    root = sidd.write_synthetic(args.dataset, exist_ok=True)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    clean = {split: clean_patches(root, split) for split in ("train", "test")}
    for name in args.sensors or sensors:
        results = study(sensors[name], clean, args.steps, args.copies, args.seed)
        with sidd.replacing(out / f"{name}.json") as path:
            path.write_text(json.dumps(results, indent=2) + "\n")
        print(f"\n{name}\n\n{table(results)}\n\n{conditions_table(results)}", flush=True)
        with sidd.replacing(out / f"{name}.png") as path:
            plotting.charts(chart(name, results)).savefig(path, format="png")


def all_sensors(model: nf.NoiseFlow | None) -> dict[str, KnownSensor]:
    """Return the sensors by name."""
    sensors: dict[str, KnownSensor] = {
        "white": GaussianSensor(),
        "correlated": GaussianSensor(correlated=True),
        "poisson_gaussian": PoissonGaussianSensor(),
    }
    return sensors if model is None else sensors | {"model": ModelSensor(model)}


def study(
    sensor: KnownSensor, clean: Mapping[str, np.ndarray], steps: int, copies: int, seed: int
) -> dict[str, Any]:
    """Train Noise Flow on a sensor's noise; return the gaps of all models, and by condition."""
    random = np.random.default_rng(seed)
    train = draws(sensor, np.tile(clean["train"], [copies, 1, 1, 1]), random, with_truth=False)
    test = draws(sensor, clean["test"][::2], random)
    stddev = float(
        np.sqrt(np.mean([np.square(p.noise, dtype=float).mean() for p in train.values()]))
    )
    models = {"gaussian": nf.GaussianNoise(stddev), "noise_flow": trained(train, steps, seed)}
    if not isinstance(sensor, ModelSensor):
        models["nlf"] = nf.CameraNLF()
    return {
        "steps": steps,
        "patches": {"train": _count(train), "test": _count(test)},
        "bits": sensor.bits,
        "truth": float(np.concatenate([part.truth for part in test.values()]).mean()),
        "models": {name: gaps(sensor, model, test, seed) for name, model in sorted(models.items())},
    }


def draws(
    sensor: KnownSensor, clean: np.ndarray, random: np.random.Generator, with_truth: bool = True
) -> dict[Condition, Part]:
    """Draw noise for patches, each with a random one of SIDD's pairs of camera and ISO level.

    Without `with_truth`, which takes long for sensors with levels, the exact NLL is NaN.
    """
    pairs = camera_iso_pairs()
    chosen = random.integers(len(pairs), size=len(clean))
    parts = {}
    for number, (camera, iso) in enumerate(pairs):
        patches = clean[chosen == number]
        if not len(patches):
            continue
        noise = sensor.draw(patches, camera, iso, random)
        truth = np.full(len(patches), np.nan)
        if with_truth:
            truth = -sensor.log_prob(noise, patches, camera, iso) / patches[0].size
        if sensor.bits is not None:
            truth -= sensor.bits * np.log(2)  # nats of mass to those of a density
            noise = dequantise(noise, sensor.bits, random)
        parts[camera, iso] = Part(patches, noise, truth)
    return parts


def trained(train: Mapping[Condition, Part], steps: int, seed: int) -> nf.NoiseFlow:
    """Train a Noise Flow as `noise-flow train` does, with the cosine schedule."""
    tf_keras.utils.set_random_seed(seed)
    batches = [{**_batch(p.clean, c), "noise": tf.constant(p.noise)} for c, p in train.items()]
    data = {name: tf.concat([b[name] for b in batches], axis=0) for name in batches[0]}
    count = len(data["iso"])
    source = tf.data.Dataset.from_tensor_slices(data).shuffle(count, seed).repeat()
    source = source.batch(_BATCH, drop_remainder=True).prefetch(2)
    trainer = nf.Trainer(nf.NoiseFlow(seed=seed))
    trainer.compile(schedules.adam("cosine", RATES["cosine"], steps, beta_2=BETA_2["cosine"]))
    trainer.fit(source, steps_per_epoch=steps, epochs=1, verbose=0)
    trainer.reestimate_averages(source.take(_AVERAGE_BATCHES))
    return trainer.noise_model


def gaps(
    sensor: KnownSensor, model: Any, test: Mapping[Condition, Part], seed: int
) -> dict[str, Any]:
    """Return a model's mean gap and its parts, in nats per dimension, and by condition."""
    by_condition: list[dict[str, Any]] = []
    differences = []
    for (camera, iso), part in test.items():
        nll, synthetic = [], []
        for number, batch in enumerate(_batches(sensor, part, (camera, iso))):
            p = distribution(model, batch)
            nll.append(-p.log_prob(batch["noise"]).numpy() / part.clean[0].size)
            synthetic.append(sample(p, tf.constant([seed + 77, number])).numpy())
        difference = np.concatenate(nll) - part.truth
        differences.append(difference)
        samples = np.concatenate(synthetic)
        scale = np.sqrt(sensor.variance(part.clean, camera, iso))
        of_values, of_steps = (
            (marginal(part, samples, scale), 0.0)
            if sensor.bits is None
            else of_levels(sensor.bits, part, samples)
        )
        parts = {
            "gap": float(difference.mean()),
            "marginal": of_values,
            "dequantisation": of_steps,
        }
        rest = parts["gap"] - parts["marginal"] - parts["dequantisation"]
        about = {"camera": camera, "iso": iso, "patches": len(difference)}
        by_condition.append({**about, **parts, "correlation": rest})
    weights = np.array([row["patches"] for row in by_condition], float)
    every = np.concatenate(differences)
    return {
        **{
            name: float(np.average([row[name] for row in by_condition], weights=weights))
            for name in ("gap", "marginal", "correlation", "dequantisation")
        },
        "stderr": float(every.std(ddof=1) / np.sqrt(len(every))),
        "by_condition": by_condition,
    }


def marginal(part: Part, samples: np.ndarray, scale: np.ndarray) -> float:
    """Return the divergence of single values, noise from samples, free of that of counting."""
    classes = _classes(part.clean)
    found = []
    for number in range(_CLASSES):
        here = classes == number
        p, q = (np.histogram((n / scale)[here], _EDGES)[0] for n in (part.noise, samples))
        both = (p > 0) & (q > 0)
        a, b = p[both] / p.sum(), q[both] / q.sum()
        counting = (both.sum() - 1) / 2 * (1 / p.sum() + 1 / q.sum())
        found.append(float(np.sum(a * np.log(a / b)) - counting))
    return float(np.mean(found))


def of_levels(bits: int, part: Part, samples: np.ndarray) -> tuple[float, float]:
    """Return the marginal part and that of dequantisation, for Gaussians of the samples' variance.

    The pixels of the truth are independent, and the noise of `part` is dequantised.
    """
    step, classes = 2.0**-bits, _classes(part.clean)
    noisy = part.clean + part.noise
    level = np.clip(np.rint(noisy / step), 0, 2**bits) * step - part.clean
    found = []
    for number in range(_CLASSES):
        here = classes == number
        # within a class the variance is a straight line over the clean intensity
        slope, offset = np.polyfit(part.clean[here], np.square(samples[here], dtype=float), 1)
        fitted = slope * part.clean[here] + offset
        stddev = np.sqrt(np.maximum(fitted, np.square(samples[here]).mean() / 10))
        density = np.mean(
            -0.5 * np.square(part.noise[here] / stddev) - np.log(stddev * np.sqrt(2 * np.pi))
        )
        upper, lower = ((level[here] + side * step / 2) / stddev for side in (1, -1))
        flip = lower > 0
        mass = ndtr(np.where(flip, -lower, upper)) - ndtr(np.where(flip, -upper, lower))
        log_mass = np.mean(np.log(np.maximum(mass, 1e-300)))
        found.append((log_mass, log_mass - np.log(step) - density))
    log_mass, lost = np.mean(found, axis=0)
    truth = -part.truth.mean() - bits * np.log(2)  # nats of mass
    return float(truth - log_mass), float(lost)


def table(results: Mapping[str, Any]) -> str:
    """Return the gaps of all models, as Markdown."""
    rows = [["", "gap", "marginal", "correlation", "dequantisation"]]
    for name, found in results["models"].items():
        parts = [f"{found[part]:.4f}" for part in ("marginal", "correlation", "dequantisation")]
        rows.append([_TITLES[name], f"{found['gap']:.5f} ± {found['stderr']:.5f}", *parts])
    return markdown(rows)


def conditions_table(results: Mapping[str, Any]) -> str:
    """Return the gap of Noise Flow by camera and ISO, as Markdown."""
    rows = results["models"]["noise_flow"]["by_condition"]
    isos = sorted({row["iso"] for row in rows})
    gap = {(row["camera"], row["iso"]): f"{row['gap']:.5f}" for row in rows}
    lines = [["Noise Flow", *(f"ISO {iso}" for iso in isos)]]
    for camera in dict.fromkeys(row["camera"] for row in rows):
        lines.append([camera, *(gap.get((camera, iso), "-") for iso in isos)])
    return markdown(lines)


def chart(name: str, results: Mapping[str, Any]) -> plotting.Chart:
    """Chart the gap of Noise Flow by camera over ISO."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    rows: Sequence[Mapping] = results["models"]["noise_flow"]["by_condition"]
    for row in sorted(rows, key=lambda row: row["iso"]):
        isos, values = series.setdefault(row["camera"], ([], []))
        isos.append(row["iso"])
        values.append(row["gap"])
    return plotting.Chart(
        series,
        title=f"Noise Flow's gap to the truth, sensor {name}",
        xlabel="ISO level",
        ylabel="gap in nats per dimension",
    )


_TITLES = {"gaussian": "Gaussian", "nlf": "NLF of the true variance", "noise_flow": "Noise Flow"}


def _batch(clean: np.ndarray, condition: Condition) -> dict[str, tf.Tensor]:
    camera, iso = condition
    return {
        "clean": tf.constant(clean),
        "iso": tf.fill([len(clean)], iso),
        "camera": tf.fill([len(clean)], sidd.CAMERAS.index(camera)),
    }


def _batches(sensor: KnownSensor, part: Part, condition: Condition) -> Iterator[Batch]:
    """Yield batches of a condition, with the NLF of the sensor's true variance."""
    offset, one = (
        float(sensor.variance(np.full([1, 2, 2, 4], y, np.float32), *condition).mean())
        for y in (0.0, 1.0)
    )
    extra = 0.0 if sensor.bits is None else 2 * 4.0**-sensor.bits / 12  # steps, and dequantisation
    for start in range(0, len(part.clean), _TEST_BATCH):
        members = slice(start, start + _TEST_BATCH)
        batch = _batch(part.clean[members], condition)
        nlf = tf.tile([[one - offset, offset + extra]], [len(part.clean[members]), 1])
        yield batch | {"noise": tf.constant(part.noise[members]), "nlf": nlf}


def _classes(clean: np.ndarray) -> np.ndarray:
    """Return to which of `_CLASSES` of intensity, with as many values, each pixel belongs."""
    return np.searchsorted(np.quantile(clean, np.arange(1, _CLASSES) / _CLASSES), clean)


def _count(parts: Mapping[Condition, Part]) -> int:
    return sum(len(part.clean) for part in parts.values())


if __name__ == "__main__":
    common.parsing.run(main, "studies.known_sensors")
