import json

import numpy as np
import pytest

import noise_flow_tf as nf
from benchmarks import throughput
from benchmarks.straight_port import StraightPort


@pytest.fixture(scope="module")
def model():
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


@pytest.mark.parametrize("training", [False, True])
def test_straight_port_gives_the_models_numbers(model, training):
    batch = throughput.make_batch(5)
    noise, conditions = batch["noise"], (batch["clean"], batch["iso"], batch["camera"])
    before = nf.release.variables(model)
    ours = model(*conditions, training=training).log_prob(noise)
    moved = nf.release.variables(model)
    nf.release.assign(model, before)
    theirs = StraightPort(model)(*conditions, training=training)
    np.testing.assert_allclose(ours / 4096, theirs.log_prob(noise) / 4096, atol=1e-5)
    for name, value in nf.release.variables(model).items():
        np.testing.assert_allclose(value, moved[name], atol=1e-5)
    if not training:
        forward = model(*conditions).bijector.forward(noise)
        np.testing.assert_allclose(forward, theirs.forward(noise), atol=1e-5)


def test_tells_rates_as_json(capsys):
    throughput.main(["--json", "--batch", "2", "--seconds", "0.01", "--what", "log_prob,sample"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["batch"] == 2
    assert all(told[name] > 0 for name in ("log_prob", "sample", "peak_gib"))


def test_refuses_an_unknown_operation(capsys):
    with pytest.raises(SystemExit) as stopped:
        throughput.main(["--what", "log_prob,fly"])
    assert stopped.value.code == 2
    assert "unknown operation fly; allowed are train, log_prob" in capsys.readouterr().err
