"""The checkpoint of the original TensorFlow 1 release, to and from `NoiseFlow`."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from noise_flow_tf import layers
from noise_flow_tf.model import NoiseFlow

_UNREAD_RESCALING = 1e-4
_OPTIMIZER_ENDINGS = ("/Adam", "/Adam_1", "/Momentum")
_STEP = "real_nvp_conv_template"


class _Place(NamedTuple):
    variable: tf.Variable
    shape: tuple[int, ...]


def load_release(prefix: str, arch: str | None = None) -> NoiseFlow:
    """The model of a released checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`, such as `folder/model.ckpt.best`.
        arch: the architecture, where it is another than what the variables' names say with the
            signal layer before the gain layer.

    Raises:
        ValueError: no such checkpoint, or one that is not of a Noise Flow.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        mapping = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{prefix} is not a readable TensorFlow checkpoint; give the path of its .index file "
            "without the ending"
        ) from error
    kernels = [a for name, a in mapping.items() if name.endswith("/l_1/W")]
    width = kernels[0].shape[-1] if kernels else 4
    try:
        model = NoiseFlow(arch or _architecture(mapping), width=width)
        assign(model, mapping)
    except ValueError as error:
        raise ValueError(f"{prefix} does not fit a Noise Flow: {error}") from error
    return model


def assign(model: NoiseFlow, mapping: Mapping[str, np.ndarray]) -> None:
    """Sets every variable of a model from arrays by their names in the release.

    Args:
        model: a model of the release's layers.
        mapping: `{TF1 name: array}`; an optimiser's slots and the scalars that nothing reads may
            stand beside the variables.

    Raises:
        ValueError: a name that is missing or left over, or a shape that does not fit. The model is
            then as it was.
    """
    places = _places(model)
    unread = _unread(model)
    given = {name for name in mapping if not _is_optimizer_state(name)}
    missing = sorted(places.keys() - given)
    left_over = sorted(given - places.keys() - unread)
    if missing or left_over:
        raise ValueError(
            f"the variables do not fit architecture {model.arch!r}: "
            f"missing {', '.join(missing) or 'none'}; left over {', '.join(left_over) or 'none'}"
        )
    for name, place in places.items():
        if np.shape(mapping[name]) != place.shape:
            raise ValueError(
                f"{name} must have shape {place.shape} in architecture {model.arch!r} at width "
                f"{model.width}; got {np.shape(mapping[name])}"
            )
    for name, place in places.items():
        place.variable.assign(np.reshape(mapping[name], place.variable.shape))


def variables(model: NoiseFlow) -> dict[str, np.ndarray]:
    """The variables of a model by their names, and in their shapes, in the release.

    The scalars that the release has but never reads are among them, with their initial value.

    Raises:
        ValueError: a model with the paper's layers, which the release does not have.
    """
    values = {
        name: place.variable.numpy().reshape(place.shape) for name, place in _places(model).items()
    }
    return values | {name: np.float32(_UNREAD_RESCALING) for name in _unread(model)}


def _places(model: NoiseFlow) -> dict[str, _Place]:
    """The place of each of the release's variables in the model."""
    places = {}
    steps = 0
    for i, layer in enumerate(model.layers):
        if isinstance(layer, layers.SignalLayer):
            found = _signal_places(layer)
        elif isinstance(layer, layers.GainLayer):
            found = {"model/sdn_gain/gain_val": (layer.gain_val, (1,))}
        elif isinstance(layer, layers.FlowStep):
            found = _step_places(layer, i, steps)
            steps += 1
        else:
            raise ValueError(
                f"layer {i} of architecture {model.arch!r} is of the paper's form, which the "
                "release does not have"
            )
        places |= {
            name: _Place(variable, tuple(shape)) for name, (variable, shape) in found.items()
        }
    return places


def _signal_places(layer):
    scope = "model/sdn_gain"
    places = {
        f"{scope}/beta1": (layer.beta1, (1,)),
        f"{scope}/beta2": (layer.beta2, (1,)),
        f"{scope}/gain_params": (layer.gain_params, layer.gain_params.shape),
    }
    if layer.cam_params is not None:
        places[f"{scope}/cam_params"] = (layer.cam_params, layer.cam_params.shape)
    return places


def _step_places(layer, i, step):
    mixing = f"level0/bijector{i}/Conv2d_1x1_{i}/{{}}_matpar_lu_conv2d_1x1_{i}_0"
    network = layer.network
    scope = f"model/{_STEP}" + (f"_{step}" if step else "")
    width, outputs = network.bias1.shape[0], network.bias3.shape[0]
    plain = {
        f"level0/bijector{i}/rescaling_scale0": network.rescaling,
        mixing.format("P"): layer.permutation,
        mixing.format("sign_S"): layer.signs,
        mixing.format("log_S"): layer.log_diagonal,
        mixing.format("L_vec"): layer.lower,
        mixing.format("U_vec"): layer.upper,
        f"{scope}/l_1/W": network.kernel1,
        f"{scope}/bn_nvp_conv_1/mean": network.moments1.mean,
        f"{scope}/bn_nvp_conv_1/var": network.moments1.variance,
        f"{scope}/l_2/W": network.kernel2,
        f"{scope}/bn_nvp_conv_2/mean": network.moments2.mean,
        f"{scope}/bn_nvp_conv_2/var": network.moments2.variance,
        f"{scope}/l_last/W": network.kernel3,
    }
    return {name: (variable, variable.shape) for name, variable in plain.items()} | {
        f"{scope}/l_1/b": (network.bias1, (1, 1, 1, width)),
        f"{scope}/l_2/b": (network.bias2, (1, 1, 1, width)),
        f"{scope}/l_last/b": (network.bias3, (1, 1, 1, outputs)),
        f"{scope}/l_last/logs": (network.logs, (1, outputs)),
    }


def _unread(model: NoiseFlow) -> set[str]:
    return {
        f"level0/bijector{i}/rescaling_scale0"
        for i, layer in enumerate(model.layers)
        if not isinstance(layer, layers.FlowStep)
    }


def _is_optimizer_state(name: str) -> bool:
    return name.endswith(_OPTIMIZER_ENDINGS) or "/" not in name


def _architecture(mapping: Mapping[str, np.ndarray]) -> str:
    """The architecture that the variables' names speak of."""
    indices = {
        int(name.split("/")[1].removeprefix("bijector"))
        for name in mapping
        if name.startswith("level0/bijector")
    }
    steps = {
        int(name.split("/")[1].removeprefix("bijector"))
        for name in mapping
        if "/Conv2d_1x1_" in name
    }
    if not indices:
        raise ValueError("none of its variables is a layer of Noise Flow (level0/bijector...)")
    others = []
    if "model/sdn_gain/beta1" in mapping:
        factors = np.shape(mapping.get("model/sdn_gain/cam_params", np.zeros([0, 5])))[0]
        others.append({0: "sdn4", 1: "sdn6", 3: "sdn5"}.get(factors, "sdn"))
    if "model/sdn_gain/gain_val" in mapping:
        others.append("gain4")
    if len(indices - steps) != len(others):
        raise ValueError(
            f"it has {len(indices - steps)} layers that are no flow steps, but variables for "
            f"{' and '.join(others) or 'none'}"
        )
    codes = ["unc"] * (max(indices) + 1)
    for i, code in zip(sorted(indices - steps), others, strict=True):
        codes[i] = code
    return "|".join(codes)
