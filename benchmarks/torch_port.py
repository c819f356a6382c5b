"""A straight PyTorch port of Noise Flow: the peers `torch` and `torch.compile` of `--compare`.

Plain modules in PyTorch's own order of axes, `[B, 4, H, W]`: `nn.Conv2d`, `nn.BatchNorm2d`,
channels chunked and concatenated in every coupling. The memory format is PyTorch's default, since
channels last was slower. The border channel is padded and concatenated, or has a convolution of its
own, whichever was faster: the first for `log_prob` and training, the second for sampling. The port
copies the weights of a `NoiseFlow` of the release's layers, so that both compute the same numbers,
but for the average variance of batch norm: PyTorch's is unbiased.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

import noise_flow_tf as nf
from benchmarks.turns import Operation
from noise_flow_tf import layers
from noise_flow_tf.layers import coupling_network, flow_step

# Triton, which torch.compile needs on GPUs only, crashes the process if TensorFlow is loaded.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

_LOG_2PI = float(np.log(2 * np.pi))
_FACTORS: dict[str, list[int]] = {"sdn4": [], "sdn5": [0, 1, 2], "sdn6": [2]}


class TorchPort(nn.Module):
    """Noise Flow with the weights of a `NoiseFlow`.

    `clean`, `noise` and `latent` are `[B, 4, H, W]`; `iso_index` and `camera` are int64 `[B]`.
    """

    def __init__(self, model: nf.NoiseFlow, border_apart: bool = False) -> None:
        """Copy the weights.

        Args:
            model: a model of the release's layers.
            border_apart: whether the border channel has a separate convolution.
        """
        super().__init__()
        self.layers = nn.ModuleList(
            _port(layer, model.iso_levels, border_apart) for layer in model.layers
        )

    def forward(self, noise: Tensor, clean: Tensor, iso_index: Tensor, camera: Tensor) -> Tensor:
        """Return the log-density `[B]`, nats; by the batch's moments in training mode."""
        x, log_det = noise, noise.new_zeros(noise.shape[0])
        for layer in self.layers:
            x, part = layer(x, clean, iso_index, camera)
            log_det = log_det + part
        return log_det - 0.5 * (x.square() + _LOG_2PI).sum(dim=(1, 2, 3))

    def noise_of(self, latent: Tensor, clean: Tensor, iso_index: Tensor, camera: Tensor) -> Tensor:
        x = latent
        for layer in reversed(self.layers):
            x = layer.inverse(x, clean, iso_index, camera)
        return x


class _Signal(nn.Module):
    def __init__(self, layer: Any, iso_levels: Sequence[int]) -> None:
        super().__init__()
        self.beta1, self.beta2 = _parameter(layer.beta1), _parameter(layer.beta2)
        self.gain_params = _parameter(layer.gain_params)
        self.places = _FACTORS[layer.code]
        self.cam_params = _parameter(layer.cam_params) if self.places else None
        self.register_buffer("iso_levels", torch.tensor(iso_levels, dtype=torch.float32))

    def forward(
        self, x: Tensor, clean: Tensor, iso_index: Tensor, camera: Tensor
    ) -> tuple[Tensor, Tensor]:
        variance = self._variance(clean, iso_index, camera)
        return x * variance.rsqrt(), -0.5 * variance.log().sum(dim=(1, 2, 3))

    def inverse(self, x: Tensor, clean: Tensor, iso_index: Tensor, camera: Tensor) -> Tensor:
        return x * self._variance(clean, iso_index, camera).sqrt()

    def _variance(self, clean: Tensor, iso_index: Tensor, camera: Tensor) -> Tensor:
        factors = [torch.ones_like(camera, dtype=torch.float32)] * 3
        if self.cam_params is not None:
            for place, values in zip(self.places, self.cam_params[:, camera].exp(), strict=True):
                factors[place] = values
        gain = (self.gain_params[iso_index] * factors[2]).exp() * self.iso_levels[iso_index]
        slope = (self.beta1 * factors[0]).exp() / gain
        level = (self.beta2 * factors[1]).exp()
        return clean * slope[:, None, None, None] + level[:, None, None, None]


class _Gain(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.gain_val = _parameter(layer.gain_val)

    def forward(self, x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return x / self.gain_val, -x[0].numel() * self.gain_val.log()

    def inverse(self, x: Tensor, *_: Tensor) -> Tensor:
        return x * self.gain_val


class _FlowStep(nn.Module):
    def __init__(self, layer: Any, border_apart: bool) -> None:
        super().__init__()
        self.log_diagonal = _parameter(layer.log_diagonal)
        self.lower, self.upper = _parameter(layer.lower), _parameter(layer.upper)
        self.register_buffer("permutation", _tensor(layer.permutation))
        self.register_buffer("signs", _tensor(layer.signs))
        self.register_buffer("lower_places", torch.tensor(flow_step.LOWER_PLACES.T))
        self.register_buffer("upper_places", torch.tensor(flow_step.UPPER_PLACES.T))
        self.network = _Network(layer.network, border_apart)

    def forward(self, x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.conv2d(x, self._matrix().t()[:, :, None, None])
        a, b = x.chunk(2, dim=1)
        shift, log_scale = self.network(a)
        log_det = log_scale.sum(dim=(1, 2, 3)) + x[0, 0].numel() * self.log_diagonal.sum()
        return torch.cat([a, b * log_scale.exp() + shift], dim=1), log_det

    def inverse(self, x: Tensor, *_: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        shift, log_scale = self.network(a)
        x = torch.cat([a, (b - shift) * (-log_scale).exp()], dim=1)
        return functional.conv2d(x, torch.linalg.inv(self._matrix()).t()[:, :, None, None])

    def _matrix(self) -> Tensor:
        size = layers.CHANNELS
        zeros = self.lower.new_zeros(size, size)
        lower = zeros.index_put(tuple(self.lower_places), self.lower)
        upper = zeros.index_put(tuple(self.upper_places), self.upper)
        diagonal = torch.diag(self.signs * self.log_diagonal.exp())
        return self.permutation @ (lower + torch.eye(size)) @ (upper + diagonal)


class _Network(nn.Module):
    def __init__(self, network: Any, border_apart: bool) -> None:
        super().__init__()
        self.border_apart = border_apart
        self.conv1 = _convolution(network.kernel1, network.bias1, padding=1)
        self.norm1 = _batch_norm(network.moments1)
        self.conv2 = _convolution(network.kernel2, network.bias2)
        self.norm2 = _batch_norm(network.moments2)
        self.conv3 = _convolution(network.kernel3, network.bias3)
        self.logs = _parameter(network.logs)
        self.rescaling = _parameter(network.rescaling)

    def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.relu(self.norm1(self.conv1(a)))
        hidden = functional.relu(self.norm2(self.conv2(hidden)))
        output = self._apart(hidden) if self.border_apart else self._concatenated(hidden)
        output = output * (3.0 * self.logs).exp()[:, None, None]
        shift, scale = output.chunk(2, dim=1)
        return shift, self.rescaling * scale.tanh()

    def _concatenated(self, hidden: Tensor) -> Tensor:
        border = functional.pad(torch.zeros_like(hidden[:, :1]), (1, 1, 1, 1), value=1.0)
        return self.conv3(torch.cat([functional.pad(hidden, (1, 1, 1, 1)), border], dim=1))

    def _apart(self, hidden: Tensor) -> Tensor:
        border = functional.pad(hidden.new_zeros(1, 1, *hidden.shape[2:]), (1, 1, 1, 1), value=1.0)
        kernel = self.conv3.weight
        inside = functional.conv2d(hidden, kernel[:, :-1], self.conv3.bias, padding=1)
        return inside + functional.conv2d(border, kernel[:, -1:])


def make_batch(batch: Mapping[str, Any], model: nf.NoiseFlow) -> dict[str, Tensor]:
    """Convert a batch of `operations.make_batch` to the arguments of `TorchPort`."""
    arrays = {name: np.array(values) for name, values in batch.items()}
    iso_index = np.searchsorted(model.iso_levels, arrays["iso"])
    return {
        "noise": torch.from_numpy(arrays["noise"]).permute(0, 3, 1, 2).contiguous(),
        "clean": torch.from_numpy(arrays["clean"]).permute(0, 3, 1, 2).contiguous(),
        "iso_index": torch.from_numpy(iso_index),
        "camera": torch.from_numpy(arrays["camera"]).long(),
    }


def make_operations(
    names: Collection[str],
    batch: Mapping[str, Any],
    model: nf.NoiseFlow,
    steps: int,
    compiled: bool = False,
) -> dict[str, Operation]:
    """Make operations of several steps on a batch, counted in patches, by name.

    Args:
        names: of operations; those that this does not have are left out.
        batch: from `operations.make_batch`.
        model: has the weights to copy.
        steps: the steps of one operation.
        compiled: whether to use `torch.compile`.
    """
    conditions = make_batch(batch, model)
    noise = conditions.pop("noise")
    scorer, trained = TorchPort(model).eval(), TorchPort(model).train()
    adam = torch.optim.Adam(trained.parameters(), lr=1e-4, eps=1e-8, fused=True)

    def ready(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return torch.compile(function, dynamic=False) if compiled else function

    score, score_batch = ready(scorer.forward), ready(trained.forward)
    noise_of = ready(TorchPort(model, border_apart=True).eval().noise_of)

    def log_prob() -> Tensor:
        with torch.inference_mode():
            return score(noise, **conditions)

    def sample() -> Tensor:
        with torch.inference_mode():
            return noise_of(torch.randn_like(noise), **conditions)

    def train() -> Tensor:
        adam.zero_grad()
        loss = -score_batch(noise, **conditions).mean()
        loss.backward()
        adam.step()
        return loss.detach()

    def repeat(step: Callable[[], Tensor]) -> Operation:
        return Operation(lambda: [step() for _ in range(steps)], float(steps * len(noise)))

    functions = {"train": train, "log_prob": log_prob, "sample": sample}
    return {name: repeat(functions[name]) for name in names if name in functions}


def why_not_compiled() -> str:
    """Return why `torch.compile` does not work here, in one line; "" if it does."""
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(2))
    except Exception as error:  # each of its stages has its own errors, most of them private
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return lines[0]
    return ""


def _port(layer: Any, iso_levels: Sequence[int], border_apart: bool) -> nn.Module:
    if layer.code == "unc":
        return _FlowStep(layer, border_apart)
    return _Gain(layer) if layer.code == "gain4" else _Signal(layer, iso_levels)


def _tensor(variable: Any) -> Tensor:
    return torch.tensor(variable.numpy())


def _parameter(variable: Any) -> nn.Parameter:
    return nn.Parameter(_tensor(variable))


def _convolution(kernel: Any, bias: Any, padding: int = 0) -> nn.Conv2d:
    size, _, inputs, outputs = kernel.shape
    convolution = nn.Conv2d(inputs, outputs, size, padding=padding)
    convolution.weight = nn.Parameter(_tensor(kernel).permute(3, 2, 0, 1).contiguous())
    convolution.bias = _parameter(bias)
    return convolution


def _batch_norm(moments: Any) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(
        moments.mean.shape[0],
        eps=coupling_network.BATCH_NORM_EPSILON,
        momentum=coupling_network.BATCH_NORM_UPDATE,
        affine=False,
    )
    norm.running_mean, norm.running_var = _tensor(moments.mean), _tensor(moments.variance)
    return norm
