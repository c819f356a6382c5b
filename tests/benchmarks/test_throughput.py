import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from benchmarks import ceilings, operations, throughput
from benchmarks.straight_port import StraightPort, StraightTrainer
from benchmarks.turns import Operation, Timing, take_turns


@pytest.fixture
def model():
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    return model


@pytest.mark.parametrize("training", [False, True])
def test_straight_port_gives_the_models_numbers(model, training):
    batch = operations.make_batch(5)
    noise, conditions = batch["noise"], (batch["clean"], batch["iso"], batch["camera"])
    before = nf.release.variables(model)
    _, ours, averages = model(*conditions, training=training).one_pass(noise)
    for variable, value in averages:
        variable.assign(value)
    moved = nf.release.variables(model)
    nf.release.assign(model, before)
    theirs = StraightPort(model)(*conditions, training=training)
    np.testing.assert_allclose(ours / 4096, theirs.log_prob(noise) / 4096, atol=1e-5)
    for name, value in nf.release.variables(model).items():
        np.testing.assert_allclose(value, moved[name], atol=1e-5)
    if not training:
        forward = model(*conditions).bijector.forward(noise)
        np.testing.assert_allclose(forward, theirs.forward(noise), atol=1e-5)


@pytest.mark.slow
def test_straight_port_takes_the_models_steps(model):
    batch = operations.make_batch(5)
    before = nf.release.variables(model)

    def after_steps(trainer):
        nf.release.assign(model, before)
        trainer.compile(tf_keras.optimizers.SGD(1e-5))
        history = trainer.fit(tf.data.Dataset.from_tensors(batch), epochs=2, verbose=0)
        return history.history["loss"], nf.release.variables(model)

    losses, ours = after_steps(nf.Trainer(model))
    port_losses, theirs = after_steps(StraightTrainer(StraightPort(model)))
    np.testing.assert_allclose(losses, port_losses, rtol=1e-4)
    assert losses[0] != losses[1]
    for name, value in theirs.items():
        np.testing.assert_allclose(value, ours[name], atol=1e-4)


@pytest.mark.slow
def test_all_that_it_can_tell(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(throughput, "_BATCHES", (2, 4))
    picture = tmp_path / "growth.png"
    flags = ["--batch", "2", "--seconds", "0.01", "--what", "log_prob,sample,images", "--compare"]
    throughput.main([*flags, "--megapixels", "0.01,0.02", "--growth", str(picture), "--json"])
    lines = capsys.readouterr().out.splitlines()
    told = json.loads(lines[-1])
    assert told["batch"] == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert set(told["growth"]) == {"log_prob", "sample", "whole image"}
    for name in ("log_prob", "sample"):
        details = told["details"][name]
        assert details["low"] <= told[name] == details["median"] <= details["high"]
        assert details["of_straight_port"] == told[name] / told[f"straight {name}"]
        for peer, ratio in details["of_peers"].items():
            assert ratio == told[name] / told[f"{peer} {name}"]
        assert details["of_best_peer"] == min(details["of_peers"].values())
        assert details["of_peers"][details["best_peer"]] == details["of_best_peer"]
        assert all(0 < part < 1 for part in details["of_ceilings"].values())
        assert any(line.startswith(f"{name} ") for line in lines)
    small, large = (told["images"][name] for name in ("0.01 MP", "0.02 MP"))
    assert 0 < small["peak_gib"] <= large["peak_gib"] <= told["peak_gib"]


def test_turns_go_round_until_their_time_is_over():
    called = []
    operations = {name: Operation(lambda name=name: called.append(name), 7.0) for name in "ab"}
    timings = take_turns(operations, seconds=1e-9)
    assert called == [*"aabb", *"ab" * 3]
    assert all(len(timing.turns) == 3 for timing in timings.values())
    assert Timing(9.0, [2.0, 1.0, 4.0], amount=8.0).rate == 4.0


def test_the_cost_of_a_pixel():
    """4.7 MFLOP a patch forward, of eight couplings and 1x1 convolutions."""
    asked = ceilings.cost_per_pixel(nf.NoiseFlow(seed=0))
    assert asked["arithmetic"] * 1024 == pytest.approx(4.7e6, rel=0.02)
    none = ceilings.cost_per_pixel(nf.NoiseFlow("S-G", seed=0))
    assert none == {"arithmetic": 0, "memory": 4 * (4 + 4 + 4) + 4 * (4 + 4)}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--what", "log_prob,fly"], "unknown operation fly; allowed are train, log_prob"),
        (
            ["--growth", "nowhere/growth.png"],
            "--growth nowhere/growth.png: no such folder: nowhere",
        ),
        (["--growth", "g.png", "--megapixels", "1,48"], "growth needs two sizes within a factor"),
        (["--megapixels", "4,0"], "invalid list of sizes in megapixels value: '4,0'"),
    ],
)
def test_refuses_what_it_cannot_time(flags, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        throughput.main(flags)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
