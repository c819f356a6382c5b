import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from benchmarks import operations, peers
from noise_flow_tf.layers.coupling_network import Moments

pytest.importorskip("torch", reason="PyTorch is missing; pip install -e .[bench] brings it")

import torch  # noqa: E402

from benchmarks import torch_port  # noqa: E402

ARCHITECTURES = ["S-Ax4-G-Ax4-CAM", "sdn4|unc", "sdn6|gain4|unc"]


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    model = nf.NoiseFlow(request.param, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    for moments in (m for m in model.submodules if isinstance(m, Moments)):
        moments.mean.assign(rng.normal(0, 0.1, moments.mean.shape))
        moments.variance.assign(rng.uniform(0.5, 1.5, moments.variance.shape))
    return model


@pytest.fixture
def batch():
    return operations.make_batch(5)


def our_distribution(model, batch, training=False):
    return model(batch["clean"], batch["iso"], batch["camera"], training=training)


def test_log_prob(model, batch):
    for training in (False, True):
        ours = our_distribution(model, batch, training).log_prob(batch["noise"])
        port = torch_port.TorchPort(model).train(training)
        theirs = port(**torch_port.make_batch(batch, model)).detach()
        np.testing.assert_allclose(ours / 4096, theirs / 4096, rtol=0, atol=1e-5)


@pytest.mark.parametrize("border_apart", [False, True])
def test_samples_from_a_latent(model, batch, border_apart):
    ours = our_distribution(model, batch).noise_of(batch["noise"])
    arguments = torch_port.make_batch(batch, model)
    with torch.no_grad():
        port = torch_port.TorchPort(model, border_apart).eval()
        theirs = port.noise_of(arguments.pop("noise"), **arguments)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


def test_gradient_of_the_loss(model, batch):
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(our_distribution(model, batch, True).log_prob(batch["noise"]))
    gradients = tape.gradient(loss, variables)
    ours = {id(v): tf.convert_to_tensor(g) for v, g in zip(variables, gradients, strict=True)}
    port = torch_port.TorchPort(model).train()
    (-port(**torch_port.make_batch(batch, model)).mean()).backward()
    compared = 0
    for layer, theirs in zip(model.layers, port.layers, strict=True):
        for owner, part in ((layer, theirs), *networks(layer, theirs)):
            for variable, parameter in pairs(owner, part):
                expected, got = ours[id(variable)], parameter.grad
                if got.ndim == 4:
                    got = got.permute(2, 3, 1, 0)
                # In nats per dimension: the gradient of a bias before batch norm is zero, rounded.
                tolerance = 1e-5 + 1e-4 * np.abs(expected).max() / 4096
                np.testing.assert_allclose(expected / 4096, got / 4096, rtol=0, atol=tolerance)
                compared += got.numel()
    assert compared == model.num_parameters


def networks(layer, port):
    return [(layer.network, port.network)] if layer.code == "unc" else []


def pairs(owner, port):
    names = {f"kernel{i}": f"conv{i}.weight" for i in (1, 2, 3)}
    names |= {f"bias{i}": f"conv{i}.bias" for i in (1, 2, 3)}
    parameters = dict(port.named_parameters())
    for name, variable in vars(owner).items():
        parameter = parameters.get(names.get(name, name))
        if parameter is not None and isinstance(variable, tf.Variable):
            yield variable, parameter


def test_torch_gets_the_threads(batch):
    before = torch.get_num_threads()
    try:
        peers.make_peers([], batch, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_says_why_torch_compile_is_left_out(batch, monkeypatch, capsys):
    monkeypatch.setattr(torch_port, "why_not_compiled", lambda: "no C++ compiler")
    assert set(peers.make_peers([], batch, threads=1)) == {"straight", "torch"}
    assert "left out: torch.compile, which fails here: no C++ compiler" in capsys.readouterr().out
