"""Which Keras a layer is for, and which one it got into."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from tensorflow.python.eager import record


def _keras_3_context() -> Any:
    state = sys.modules.get("keras.src.backend.common.global_state")
    get = getattr(state, "get_global_attribute", None)
    return get and get("current_call_ctx")


def _keras_3_calls() -> bool:
    return _keras_3_context() is not None


def _tf_keras_calls() -> bool:
    utils = sys.modules.get("tf_keras.src.engine.base_layer_utils")
    context = getattr(utils, "call_context", None)
    return context is not None and context().in_call


class Keras(NamedTuple):
    """One of the two packages that are called Keras.

    Attributes:
        title: what people call it.
        package: its name in `import`.
        layer: the name of its layer in `noise_flow_tf`.
        calls: whether a model or layer of it is being called, in this thread. Both packages keep
            that to themselves: where it cannot be had, it is False.
    """

    title: str
    package: str
    layer: str
    calls: Callable[[], bool]

    @property
    def other(self) -> "Keras":
        """The other one."""
        return TF_KERAS if self is KERAS_3 else KERAS_3

    @property
    def whose(self) -> str:
        """Says whose layer it is, and which is the other's."""
        return (
            f"a layer of {self.title}; in a model of {self.other.title} use "
            f"noise_flow_tf.{self.other.layer}"
        )

    def made(self, tensor: Any) -> bool:
        """Whether a symbolic tensor, such as its `Input`, is its own."""
        return any(
            kind.__name__ == "KerasTensor" and kind.__module__.split(".")[0] == self.package
            for kind in type(tensor).__mro__
        )


KERAS_3 = Keras("Keras 3", "keras", "Keras3NoiseFlowLayer", _keras_3_calls)
TF_KERAS = Keras("tf_keras", "tf_keras", "TFKerasNoiseFlowLayer", _tf_keras_calls)


def check(layer: Any, inputs: Any) -> None:
    """Raises TypeError if a layer that is about to be called is in a model of the other Keras.

    There it would not be told of training, and its weights would be neither saved nor trained.
    """
    own = layer.own_keras
    if own.other.made(inputs) or (own.other.calls() and not own.calls()):
        raise TypeError(f"NoiseFlowLayer {layer.name!r} is {own.whose}")


def check_told_of_training() -> None:
    """Raises TypeError if Keras 3 trains a model and does not say so to its layers.

    `fit` tells only a model whose `call` has an argument `training`. In others Keras' own layers,
    such as `GaussianNoise`, do nothing; noise that is silently missing would spoil the training.
    """
    model = getattr(_keras_3_context(), "entry_layer", None)
    parameters = getattr(model, "call_signature_parameters", ["training"])
    if "training" not in parameters and record.could_possibly_record():
        raise TypeError(
            f"{type(model).__name__}.call has no argument `training`, without which Keras 3 does "
            "not tell layers that it trains; write call(self, x, training=None)"
        )
