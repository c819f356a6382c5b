"""Keras 3 and tf_keras, and the check that a layer is in a model of the right one."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from tensorflow.python.eager import record


def _keras_3_context() -> Any:
    state = sys.modules.get("keras.src.backend.common.global_state")
    get = getattr(state, "get_global_attribute", None)
    return get and get("current_call_ctx")


def _keras_3_is_calling() -> bool:
    return _keras_3_context() is not None


def _tf_keras_is_calling() -> bool:
    utils = sys.modules.get("tf_keras.src.engine.base_layer_utils")
    context = getattr(utils, "call_context", None)
    return context is not None and context().in_call


class Keras(NamedTuple):
    """One of the two packages that are called Keras.

    Attributes:
        title: its usual name.
        package: its name in `import`.
        layer: the name of its layer in `noise_flow_tf`.
        is_calling: whether a model or layer of it is being called, in this thread; False if that
            cannot be found out, as both packages keep it private.
    """

    title: str
    package: str
    layer: str
    is_calling: Callable[[], bool]

    @property
    def other(self) -> "Keras":
        """Return the other one."""
        return TF_KERAS if self is KERAS_3 else KERAS_3

    @property
    def description(self) -> str:
        """Describe its layer for an error, with the name of the other's."""
        return (
            f"a layer of {self.title}; in a model of {self.other.title} use "
            f"noise_flow_tf.{self.other.layer}"
        )

    def owns(self, tensor: Any) -> bool:
        """Return whether it made a symbolic tensor, such as an `Input`."""
        return any(
            kind.__name__ == "KerasTensor" and kind.__module__.split(".")[0] == self.package
            for kind in type(tensor).__mro__
        )


KERAS_3 = Keras("Keras 3", "keras", "Keras3NoiseFlowLayer", _keras_3_is_calling)
TF_KERAS = Keras("tf_keras", "tf_keras", "TFKerasNoiseFlowLayer", _tf_keras_is_calling)


def check_keras(layer: Any, inputs: Any) -> None:
    """Raise a TypeError if a layer that is about to be called is in a model of the other Keras.

    It would not receive `training` there, and its weights would be neither saved nor trained.
    """
    own = layer.keras_version
    if own.other.owns(inputs) or (own.other.is_calling() and not own.is_calling()):
        raise TypeError(f"NoiseFlowLayer {layer.name!r} is {own.description}")


def check_training_argument() -> None:
    """Raise a TypeError if Keras 3 trains a model whose layers do not receive `training`.

    `fit` passes it only to models whose `call` has that argument. In others Keras's own layers,
    such as `GaussianNoise`, do nothing; noise that is silently missing would spoil the training.
    """
    model = getattr(_keras_3_context(), "entry_layer", None)
    parameters = getattr(model, "call_signature_parameters", ["training"])
    if "training" not in parameters and record.could_possibly_record():
        raise TypeError(
            f"{type(model).__name__}.call has no argument `training`, so Keras 3 does not pass it "
            "to layers; write call(self, x, training=None)"
        )
