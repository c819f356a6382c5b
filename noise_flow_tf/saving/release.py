"""The checkpoints of the original TensorFlow 1 release, to and from `NoiseFlow`."""

import operator
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.saving.files import readable, reading

_UNREAD_RESCALING = 1e-4
_OPTIMIZER_ENDINGS = ("/Adam", "/Adam_1", "/Momentum")
_RESCALING = "level0/bijector{number}/rescaling_scale0"
_CONV1X1 = "level0/bijector{number}/Conv2d_1x1_{number}/%s_matpar_lu_conv2d_1x1_{number}_0"
_NETWORK = "model/real_nvp_conv_template{suffix}/%s"

# By layer code: the name in the release, with the layer's number in the flow and the suffix of its
# network; our attribute; and the release's additional leading dimensions, if any.
_BETAS = (
    ("model/sdn_gain/beta1", "beta1", (1,)),
    ("model/sdn_gain/beta2", "beta2", (1,)),
    ("model/sdn_gain/gain_params", "gain_params", None),
)
_CAMERAS = (("model/sdn_gain/cam_params", "cam_params", None),)
_TABLE: dict[str, tuple[tuple[str, str, tuple[int, ...] | None], ...]] = {
    "sdn4": _BETAS,
    "sdn5": _BETAS + _CAMERAS,
    "sdn6": _BETAS + _CAMERAS,
    "gain4": (("model/sdn_gain/gain_val", "gain_val", (1,)),),
    "unc": (
        (_RESCALING, "network.rescaling", None),
        (_CONV1X1 % "P", "permutation", None),
        (_CONV1X1 % "sign_S", "signs", None),
        (_CONV1X1 % "log_S", "log_diagonal", None),
        (_CONV1X1 % "L_vec", "lower", None),
        (_CONV1X1 % "U_vec", "upper", None),
        (_NETWORK % "l_1/W", "network.kernel1", None),
        (_NETWORK % "l_1/b", "network.bias1", (1, 1, 1)),
        (_NETWORK % "bn_nvp_conv_1/mean", "network.moments1.mean", None),
        (_NETWORK % "bn_nvp_conv_1/var", "network.moments1.variance", None),
        (_NETWORK % "l_2/W", "network.kernel2", None),
        (_NETWORK % "l_2/b", "network.bias2", (1, 1, 1)),
        (_NETWORK % "bn_nvp_conv_2/mean", "network.moments2.mean", None),
        (_NETWORK % "bn_nvp_conv_2/var", "network.moments2.variance", None),
        (_NETWORK % "l_last/W", "network.kernel3", None),
        (_NETWORK % "l_last/b", "network.bias3", (1, 1, 1)),
        (_NETWORK % "l_last/logs", "network.logs", (1,)),
    ),
}
_STEPS = ("unc",)


class _Place(NamedTuple):
    variable: tf.Variable
    shape: tuple[int, ...]


def load_release(prefix: str, arch: str | None = None) -> NoiseFlow:
    """Load the model of a released checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`, such as `folder/model.ckpt.best`.
        arch: the architecture; by default it follows from the variables' names, with the signal
            layer before the gain layer.

    Raises:
        ValueError: no such checkpoint, or one that is not of a Noise Flow.
    """
    try:
        with readable(prefix) as path:
            reader = tf.train.load_checkpoint(path)
            mapping = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow raises many kinds, IndexError among them
        raise ValueError(
            f"{prefix} is not a readable TensorFlow checkpoint; use the path of its .index file "
            "without the ending"
        ) from error
    with reading(f"{prefix} does not fit a Noise Flow"):
        kernels = [a for name, a in mapping.items() if name.endswith("/l_1/W")]
        width = kernels[0].shape[-1] if kernels else 4
        model = NoiseFlow(arch or _architecture(mapping), width=width)
        assign(model, mapping)
    return model


def assign(model: NoiseFlow, mapping: Mapping[str, np.ndarray]) -> None:
    """Set every variable of a model from arrays by their names in the release.

    Args:
        model: a model of the release's layers.
        mapping: `{TF1 name: array}`, which may include an optimiser's slots and the scalars that
            the release never reads.

    Raises:
        ValueError: a name that is missing or left over, or a shape that does not fit. The model is
            then unchanged.
    """
    places = _places(model)
    names = {name for name in mapping if not _is_optimizer_state(name)}
    missing = sorted(places.keys() - names)
    left_over = sorted(names - places.keys() - _unread(model))
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
    """Return the variables of a model by their names, and in their shapes, in the release.

    They include the scalars that the release has but never reads, with their initial value.

    Raises:
        ValueError: a model with the paper's layers, which the release does not have.
    """
    values = {
        name: place.variable.numpy().reshape(place.shape) for name, place in _places(model).items()
    }
    return values | {name: np.float32(_UNREAD_RESCALING) for name in _unread(model)}


def _places(model: NoiseFlow) -> dict[str, _Place]:
    """Return the place of each of the release's variables in the model."""
    places = {}
    steps = 0
    for number, layer in enumerate(model.layers):
        if layer.code not in _TABLE:
            raise ValueError(
                f"layer {layer.code} of architecture {model.arch!r} is not in the release, which "
                f"has {', '.join(_TABLE)}"
            )
        is_step = layer.code in _STEPS
        suffix = f"_{steps}" if is_step and steps else ""
        for name, attribute, shape in _TABLE[layer.code]:
            variable = operator.attrgetter(attribute)(layer)
            size = variable.shape[-1:] if shape else variable.shape
            full = name.format(number=number, suffix=suffix)
            places[full] = _Place(variable, (*(shape or ()), *size))
        steps += is_step
    return places


def _unread(model: NoiseFlow) -> set[str]:
    return {
        _RESCALING.format(number=number)
        for number, layer in enumerate(model.layers)
        if layer.code not in _STEPS
    }


def _is_optimizer_state(name: str) -> bool:
    return name.endswith(_OPTIMIZER_ENDINGS) or "/" not in name


def _architecture(mapping: Mapping[str, np.ndarray]) -> str:
    """Infer the architecture from the variables' names."""

    def numbers(names: Iterable[str]) -> set[int]:
        return {int(name.split("/")[1].removeprefix("bijector")) for name in names}

    indices = numbers(name for name in mapping if name.startswith("level0/bijector"))
    steps = numbers(name for name in mapping if "/Conv2d_1x1_" in name)
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
            f"it has {len(indices - steps)} layers that are not flow steps, but variables for "
            f"{' and '.join(others) or 'none'}"
        )
    codes = ["unc"] * (max(indices) + 1)
    for i, code in zip(sorted(indices - steps), others, strict=True):
        codes[i] = code
    return "|".join(codes)
