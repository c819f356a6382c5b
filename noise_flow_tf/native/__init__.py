"""The compiled core for CPUs, and noise for NumPy arrays without TensorFlow.

Nothing here imports TensorFlow but `use` and `graph`, when they are used, so that a process that
trains in PyTorch, say, can add noise to its images:

    from noise_flow_tf import native

    model = native.load("noise_flow.npz")  # of a run, or by noise_flow_tf.save_npz
    noise = model.sample(clean, iso=800, camera="S6", seed=0)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noise_flow_tf.native.model import Model as Model
    from noise_flow_tf.native.model import load as load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from noise_flow_tf.native import model  # which needs NumPy, and the rest does not

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
