"""The compiled core against the TensorFlow path, on random flows, images and threads."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf.native import arrays, library, use
from tests import float64

pytestmark = pytest.mark.skipif(not library.available(), reason="no compiled core")

SIGNALS = ["", "sdn4", "sdn5", "sdn6", "eq12"]
GAINS = ["", "gain4", "eq14", "eq16"]
FAST, ALL = 40, 2000


class Computed(NamedTuple):
    latent: np.ndarray
    log_prob: np.ndarray
    moved: list[np.ndarray]
    noise: np.ndarray
    gradients: dict[str, np.ndarray]


class Flow(NamedTuple):
    """A random model and batch."""

    model: nf.NoiseFlow
    noise: tf.Tensor
    conditions: tuple
    training: bool

    def __str__(self):
        model, training = self.model, self.training
        return f"{model.arch} of width {model.width} on {self.noise.shape}, training: {training}"


def perturbed(arch, width, rng):
    model = nf.NoiseFlow(arch, width, seed=int(rng.integers(1 << 30)))
    for variable in model.variables:
        if variable.name.startswith("variance"):
            variable.assign(np.exp(rng.normal(0, 0.3, variable.shape)))
        elif not variable.name.startswith(("permutation", "signs")):
            scale = 0.3 if variable.name.startswith(("kernel:", "kernel1", "kernel2")) else 0.1
            variable.assign_add(rng.normal(0, scale, variable.shape))
    return model


def random_flow(seed):
    rng = np.random.default_rng(seed)
    codes = [rng.choice(SIGNALS), rng.choice(GAINS), *["unc"] * rng.integers(0, 5)]
    codes = [code for code in rng.permutation(codes) if code] or ["gain4"]
    model = perturbed("|".join(codes), int(rng.integers(1, 10)), rng)
    kind = rng.integers(12)
    if kind == 0:
        shape = (0, *rng.integers(1, 9, 2))
    elif kind == 1:
        shape = (rng.integers(1, 4), 1, 1)
    elif kind == 2:
        shape = (rng.integers(1, 4), 1, rng.integers(1, 50))
    elif kind == 3:
        shape = (rng.integers(1, 4), rng.integers(1, 50), 1)
    elif kind == 4 and seed % 5 == 0:
        shape = (1, *((rng.integers(1, 40), 500 + rng.integers(200)) if seed % 2 else (
            180 + rng.integers(60), rng.integers(1, 60)
        )))  # fmt: skip
    else:
        shape = (rng.integers(1, 5), *rng.integers(2, 40, 2))
    shape = (*map(int, shape), 4)
    mixed = rng.integers(2)
    size = shape[:1] if mixed else ()
    iso, camera = rng.choice(nf.ISO_LEVELS, size), rng.integers(0, 5, size)
    clean = rng.uniform(-0.05, 1, shape).astype(np.float32)
    conditions = clean, iso, camera
    latent = tf.constant(rng.normal(size=shape), tf.float32)
    with use.without_core():
        noise = model(*conditions).noise_of(latent)
    return Flow(model, noise, conditions, bool(rng.integers(2)))


def compute(flow):
    model, noise = flow.model, flow.noise
    clean = tf.constant(flow.conditions[0])
    with tf.GradientTape() as tape:
        tape.watch([noise, clean])
        p = model(clean, *flow.conditions[1:], training=flow.training)
        result = p.one_pass(noise)
        # Weights of both signs on the latent, so that it has a gradient of its own.
        weights = tf.cast(tf.range(tf.size(noise)) % 3 - 1, tf.float32)
        loss = tf.reduce_sum(tf.reshape(result.latent, [-1]) * weights)
        loss -= tf.reduce_sum(result.log_prob)
    inputs = {"noise": noise, "clean": clean}
    inputs |= {f"{i} {v.name}": v for i, v in enumerate(model.trainable_variables)}
    gradients = tape.gradient(loss, inputs, unconnected_gradients="zero")
    back = model(*flow.conditions).noise_of(result.latent)
    moved = [value.numpy() for _, value in result.moved]
    values = result.latent.numpy(), result.log_prob.numpy(), moved, back.numpy()
    return Computed(
        *values, {name: tf.convert_to_tensor(g).numpy() for name, g in gradients.items()}
    )


def float64_of(flow):
    """The same by float64; how near to 0 a hidden value is; nothing of the averages."""
    conditions = flow.model.condition_space.resolve(*flow.conditions)
    case = float64.case_of(flow.model, conditions, flow.noise.numpy())
    places = np.arange(flow.noise.shape.num_elements()) % 3 - 1.0
    weights = places.reshape(flow.noise.shape), -np.ones(flow.noise.shape[0])
    result = float64.evaluate(case, flow.training, weights)
    with tf.GradientTape() as tape:
        ops = flow.model.ops(conditions, flow.training)
        parameters = [tf.convert_to_tensor(p) for op in ops for p in op.parameters]
    variables = flow.model.trainable_variables
    by_parameters = [tf.constant(g, tf.float32) for g in result.gradients[2:]]
    by_variables = tape.gradient(parameters, variables, by_parameters, unconnected_gradients="zero")
    gradients = {"noise": result.gradients[0], "clean": result.gradients[1]}
    gradients |= {
        f"{i} {v.name}": tf.convert_to_tensor(g).numpy()
        for i, (v, g) in enumerate(zip(variables, by_variables, strict=True))
    }
    noise = float64.noise_of(case, result.latent)
    return Computed(result.latent, result.log_prob, [], noise, gradients), result.closest


def off(values, expected, tolerance):
    """Whether values differ by more than the tolerance times the largest, or in what is NaN."""
    if values.shape != expected.shape or not np.isfinite(values).all():
        return not np.array_equal(values, expected, equal_nan=True)
    largest = max(np.abs(expected).max(initial=0), 1e-12)
    return np.abs(values - expected).max(initial=0) > tolerance * largest


def differences(ours, expected, training, dimensions):
    """What differs of two results: its name, and the values of each."""
    density = np.maximum(np.abs(expected.log_prob) / dimensions, 1)
    nats = np.abs(ours.log_prob - expected.log_prob) / dimensions / density
    if not nats.max(initial=0) < 3e-6:
        yield "log_prob"
    for name, tolerance in (("latent", 2e-5), ("noise", 2e-5)):
        if off(getattr(ours, name), getattr(expected, name), tolerance):
            yield name
    if expected.moved and any(
        off(a, b, 2e-5) for a, b in zip(ours.moved, expected.moved, strict=True)
    ):
        yield "moved"
    largest = max((np.abs(g).max(initial=0) for g in expected.gradients.values()), default=0)
    for name, gradient in expected.gradients.items():
        if training and name.split()[1:] in (["bias1:0"], ["bias2:0"]):
            continue  # of rounding only
        found = ours.gradients[name]
        # A parameter's gradient is a sum over all pixels, which may nearly cancel.
        rounding = 0 if name in ("noise", "clean") else 1e-6 * dimensions * len(ours.log_prob)
        rounding = max(rounding, 1e-7 * largest)
        if off(found, gradient, 2e-4) and not np.abs(found - gradient).max(initial=0) <= rounding:
            yield f"gradient by {name}"


def check(flow):
    """Compares the cores; where they differ, float64 says whether the compiled one is right."""
    ours = compute(flow)
    with use.without_core():
        theirs = compute(flow)
    dimensions = int(np.prod(flow.noise.shape[1:]))
    found = list(differences(ours, theirs, flow.training, dimensions))
    if not found:
        return []
    judge, closest = float64_of(flow)
    wrong = set(found) & {"moved", *differences(ours, judge, flow.training, dimensions)}
    kink = closest < 1e-5
    return [
        name
        for name in wrong
        if not (kink and "gradient" in name) and not as_near(name, ours, theirs, judge)
    ]


def as_near(name, ours, theirs, judge):
    """Whether float32 cannot be nearer: TensorFlow is about as far from float64.

    As in the moments of few pixels, or where what sums to a scalar's gradient nearly cancels.
    """
    if name == "moved":  # float64 has none; they are as good as log_prob
        name = "log_prob"
    if "gradient" in name:
        key = name.removeprefix("gradient by ")
        values = [result.gradients[key] for result in (ours, theirs, judge)]
    else:
        values = [getattr(result, name) for result in (ours, theirs, judge)]
    a, b, exact = values
    if a.shape != exact.shape or not np.isfinite(a).all():
        return False
    off, theirs_off = (np.abs(value - exact).max(initial=0) for value in (a, b))
    return off <= 3 * theirs_off and off <= 0.02 * np.abs(exact).max(initial=0)


def run(seeds, monkeypatch):
    for seed in seeds:
        count = int(np.random.default_rng(seed).integers(1, 17))
        monkeypatch.setattr(library, "threads", lambda count=count: count)
        flow = random_flow(seed)
        wrong = check(flow)
        assert not wrong, f"seed {seed}, {count} threads, {flow}: {sorted(wrong)}"


def test_random_flows(monkeypatch):
    run(range(FAST), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, FAST + ALL, 100))
def test_many_random_flows(monkeypatch, first):
    run(range(first, first + 100), monkeypatch)


THREADS = [1, 2, 3, 7, 16]


def everything(case, training):
    given = case.ops, case.flat
    values = arrays.forward(*given, case.noise, case.clean, training)
    slopes = np.cos(values.latent * 7), np.linspace(-1, 1, len(case.noise), dtype=np.float32)
    gradients = arrays.gradient(*given, case.clean, training, values.saved, values.latent, *slopes)
    passed = arrays.latent_and_log_prob(*given, case.noise, case.clean)
    noise = arrays.noise_of(*given, case.noise, case.clean)
    return [*values[:3], *gradients, *passed, noise]


@pytest.mark.parametrize(
    ("codes", "shape"),
    [("SMCMCGMC", (5, 17, 30)), ("SMCGMC", (138, 4, 4)), ("MC", (1, 200, 530)), ("SG", (3, 5, 7))],
)
@pytest.mark.parametrize("training", [False, True])
def test_results_do_not_depend_on_the_number_of_threads(monkeypatch, codes, shape, training):
    case = float64.random_case(3, codes, 4, shape)
    results = []
    for count in THREADS:
        monkeypatch.setattr(library, "threads", lambda count=count: count)
        results.append(everything(case, training))
    for result in results[1:]:
        for values, same in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(values, same)


@pytest.mark.parametrize("shape", [(4, 13, 21), (3, 1, 1), (2, 20, 530)])
def test_images_alone_and_in_a_batch(shape):
    case = float64.random_case(4, "MSCGMC", 4, shape)
    latent, log_prob = arrays.latent_and_log_prob(case.ops, case.flat, case.noise, case.clean)
    noise = arrays.noise_of(case.ops, case.flat, case.noise, case.clean)
    for i in range(shape[0]):
        parameters = [
            [p[i : i + 1] for p in one] if code in (1, 2) else one
            for (code, _), one in zip(case.ops, case.parameters, strict=True)
        ]
        images = case.noise[i : i + 1], case.clean[i : i + 1]
        alone = float64.Case(case.ops, parameters, *images)
        values = arrays.latent_and_log_prob(alone.ops, alone.flat, *images)
        np.testing.assert_array_equal(values[0][0], latent[i])
        np.testing.assert_array_equal(values[1][0], log_prob[i])
        np.testing.assert_array_equal(arrays.noise_of(alone.ops, alone.flat, *images)[0], noise[i])


def test_windows_leave_no_seams():
    """The noise of a part is that of the whole image, but for the margin that the flow sees."""
    case = float64.random_case(5, "SMCMCGMC", 4, (1, 401, 1100))
    noise = arrays.noise_of(case.ops, case.flat, case.noise, case.clean)
    latent, _ = arrays.latent_and_log_prob(case.ops, case.flat, case.noise, case.clean)
    margin = 2 * 3
    for top, left in [(0, 0), (115, 340), (300, 700), (381, 1060), (180, 500), (120, 360)]:
        part = np.s_[:, max(top - margin, 0) : top + 20 + margin, max(left - margin, 0) : left + 46]
        given = [np.ascontiguousarray(image[part]) for image in (case.noise, case.clean)]
        rows = slice(min(top, margin), 20 + min(top, margin))
        columns = slice(min(left, margin), 40 + min(left, margin))
        rows = slice(rows.start, min(rows.stop, given[0].shape[1]))
        inner = np.s_[:, rows, columns]
        whole = np.s_[:, top : top + 20, left : left + 40]
        for found, all_of_it in (
            (arrays.noise_of(case.ops, case.flat, *given), noise),
            (arrays.latent_and_log_prob(case.ops, case.flat, *given)[0], latent),
        ):
            np.testing.assert_allclose(found[inner], all_of_it[whole], rtol=1e-5, atol=1e-5)
