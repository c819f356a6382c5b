"""The compiled core against float64, on each instruction set of this machine."""

import numpy as np
import pytest

from noise_flow_tf.native import arrays, library
from noise_flow_tf.native.ops import OpCode
from tests import float64

pytestmark = pytest.mark.skipif(not library.available(), reason="no compiled core")

# Codes of S, G, M and C; the width; images, rows and columns.
CASES = {
    "paper": ("SMCMCMCMCGMCMCMCMC", 4, (2, 16, 16)),
    "other order and width": ("MCSMCGMC", 5, (3, 7, 19)),
    "one pixel": ("SMCGMC", 3, (9, 1, 1)),
    "one row": ("SMCMC", 1, (3, 1, 37)),
    "one column": ("CCM", 9, (3, 33, 1)),
    "pointwise": ("SGMM", 4, (5, 7, 19)),
    "nothing": ("", 4, (2, 3, 5)),
}
FAR_FROM_KINKS = 1e-5


@pytest.fixture(params=["portable", "avx2", "avx512", "neon"])
def target(request):
    """Each instruction set in turn."""
    core = library.load()
    before = core.nf_target()
    if core.nf_choose(request.param.encode()):
        pytest.skip(f"this machine or this build has no {request.param}")
    yield request.param
    assert core.nf_choose(before) == 0


def smooth_case(codes, width, shape, training):
    """A case without a hidden value so near to 0 that rounding decides its derivative."""
    for seed in range(100):
        case = float64.random_case(seed, codes, width, shape)
        if float64.evaluate(case, training).closest > FAR_FROM_KINKS:
            return case
    raise AssertionError("no smooth case")


def weights_for(case):
    rng = np.random.default_rng(7)
    shapes = case.noise.shape, case.noise.shape[:1]
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def gradients(case, training, weights):
    """The values of the core, and the gradients in float64's order."""
    given = case.ops, case.flat
    values = arrays.forward(*given, case.noise, case.clean, training)
    *images, flat = arrays.gradient(
        *given, case.clean, training, values.saved, values.latent, *weights
    )
    parts = [p for one in case.parameters for p in one]
    ends = np.cumsum([p.size for p in parts])[:-1]
    by_parameters = [
        g.reshape(p.shape)
        for g, p in zip(np.split(flat, ends) if parts else [], parts, strict=True)
    ]
    return values, [*images, *by_parameters]


def learned(case):
    """For each input, whether a gradient by it is needed: a mix's permutation and signs stay."""
    keep = {OpCode.MIX: [False, False, True, True, True]}
    return [True, True] + [
        flag
        for (code, _), one in zip(case.ops, case.parameters, strict=True)
        for flag in keep.get(OpCode(code), [True] * len(one))
    ]


def kinds(case):
    """Which parameter each input is, whatever its layer."""
    pairs = zip(case.ops, case.parameters, strict=True)
    return ["noise", "clean", *((code, k) for (code, _), p in pairs for k in range(len(p)))]


def without_effect(case, training):
    """Where batch norm takes the batch's moments: biases before it, and its averages."""
    unused = [True, True, True] if training else [False] * 3
    coupling = [False, *unused, False, *unused, False, False, False, False]
    return [False, False] + [
        flag
        for (code, _), one in zip(case.ops, case.parameters, strict=True)
        for flag in (coupling if code == OpCode.COUPLING else [False] * len(one))
    ]


def nats_off(log_prob, expected, dimensions):
    """The largest difference, nats per dimension; relative to it where it is above 1."""
    density = np.maximum(np.abs(expected) / dimensions, 1)
    return np.max(np.abs(log_prob - expected) / dimensions / density, initial=0)


def relative(values, expected):
    return np.abs(values - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-30)


@pytest.mark.parametrize("name", CASES)
def test_values(target, name):
    case = float64.random_case(1, *CASES[name])
    expected = float64.evaluate(case)
    latent, log_prob = arrays.latent_and_log_prob(case.ops, case.flat, case.noise, case.clean)
    assert nats_off(log_prob, expected.log_prob, latent[0].size) < 1e-6
    assert relative(latent, expected.latent) < 1e-5
    noise = arrays.noise_of(case.ops, case.flat, latent, case.clean)
    assert relative(noise, float64.noise_of(case, latent)) < 1e-5


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gradients(target, name, training):
    case = smooth_case(*CASES[name], training)
    weights = weights_for(case)
    expected = float64.evaluate(case, training, weights)
    values, found = gradients(case, training, weights)
    assert nats_off(values.log_prob, expected.log_prob, case.noise[0].size) < 1e-6
    assert relative(values.latent, expected.latent) < 1e-5
    assert relative(values.moments, expected.moments) < 1e-5
    assert len(found) == len(expected.gradients)
    # Relative to the largest of the same parameter in all couplings: a scalar's may be near 0.
    sizes = {}
    for kind, gradient in zip(kinds(case), expected.gradients, strict=True):
        sizes[kind] = max(sizes.get(kind, 0.0), np.abs(gradient).max(initial=0))
    for place, (ours, theirs) in enumerate(zip(found, expected.gradients, strict=True)):
        if without_effect(case, training)[place]:
            assert not ours.any(), place
        elif learned(case)[place]:
            size = sizes[kinds(case)[place]]
            # A single factor before batch norm has next to no effect, so next to no gradient.
            bound = 1e-3 if training and CASES[name][1] == 1 else 1e-4
            assert np.abs(ours - theirs).max(initial=0) <= bound * size, place


@pytest.mark.parametrize("training", [False, True])
def test_several_windows(target, training):
    """An image that values are computed of in 2 x 2 windows; kinks may differ at single pixels."""
    case = float64.random_case(2, "MCGMC", 4, (1, 195, 515))
    weights = weights_for(case)
    expected = float64.evaluate(case, training, weights)
    if not training:
        latent, log_prob = arrays.latent_and_log_prob(case.ops, case.flat, case.noise, case.clean)
        assert nats_off(log_prob, expected.log_prob, latent.size) < 1e-6
        assert relative(latent, expected.latent) < 1e-5
        noise = arrays.noise_of(case.ops, case.flat, latent, case.clean)
        assert relative(noise, float64.noise_of(case, latent)) < 1e-5
    values, found = gradients(case, training, weights)
    assert nats_off(values.log_prob, expected.log_prob, case.noise.size) < 1e-6
    off = np.abs(found[0] - expected.gradients[0]) > 1e-4 * np.abs(expected.gradients[0]).max()
    assert off.mean() < 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_finite_differences_agree_with_float64(training):
    """So the reference of the gradients is right."""
    case = smooth_case("SMCGMC", 3, (2, 4, 5), training)
    weights = weights_for(case)
    inputs = [case.noise, case.clean, *(p for one in case.parameters for p in one)]
    rng = np.random.default_rng(0)

    def loss(values):
        parts = iter(values[2:])
        parameters = [[next(parts) for _ in one] for one in case.parameters]
        result = float64.evaluate(float64.Case(case.ops, parameters, *values[:2]), training)
        pairs = zip((result.latent, result.log_prob), weights, strict=True)
        return sum(np.sum(value * np.float64(weight)) for value, weight in pairs)

    gradients = float64.evaluate(case, training, weights).gradients
    for number, gradient in enumerate(gradients):
        direction = rng.choice([-1.0, 1.0], gradient.shape)
        step = 1e-6 * max(np.abs(inputs[number]).max(), 1e-3)
        there, back = ([np.float64(value) for value in inputs] for _ in range(2))
        there[number] = there[number] + step * direction
        back[number] = back[number] - step * direction
        slope = (loss(there) - loss(back)) / (2 * step)
        size = np.abs(gradient).sum()
        assert abs(slope - np.sum(gradient * direction)) < 1e-5 * size + 1e-6, number
