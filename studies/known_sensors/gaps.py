"""A model's gap to the truth and its parts, in nats per dimension."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import ndtr

from noise_flow_tf.protocol import distribution, sample
from sidd.offline.known_sensors import KnownSensor
from studies.known_sensors.noise import Condition, Part, batches_of

_EDGES = np.concatenate([[-np.inf], np.linspace(-5, 5, 41), [np.inf]])
_CLASSES = 8


def gaps(
    sensor: KnownSensor, model: Any, test: Mapping[Condition, Part], seed: int
) -> dict[str, Any]:
    """Return a model's mean gap and its parts, in nats per dimension, and by condition."""
    by_condition: list[dict[str, Any]] = []
    differences = []
    for (camera, iso), part in test.items():
        nll, synthetic = [], []
        for number, batch in enumerate(batches_of(sensor, part, (camera, iso))):
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


def _classes(clean: np.ndarray) -> np.ndarray:
    """Return to which of `_CLASSES` of intensity, with as many values, each pixel belongs."""
    return np.searchsorted(np.quantile(clean, np.arange(1, _CLASSES) / _CLASSES), clean)
