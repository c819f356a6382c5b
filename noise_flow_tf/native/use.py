"""When the compiled core computes a flow, and when TensorFlow does.

The core runs on the host, outside of TensorFlow's graph: a graph that is saved, compiled by XLA or
placed on a GPU cannot hold it. So it is used in eager calls, and in the graphs that the project
traces for itself; in a user's `tf.function` if the user says so (`use_core`), because nothing shows
while it is traced whether it will be saved.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from noise_flow_tf.native import library

_opted_in = False
_in_own_graph = ContextVar("in_own_graph", default=False)
_switched_off = ContextVar("switched_off", default=False)


def use_core(enabled: bool = True) -> None:
    """Let each `tf.function` of this process use the compiled core, or stop doing so.

    Without it, the core is used in eager calls and in training, evaluation and sampling by this
    package, but not in functions that are traced elsewhere. Those that are traced after this call
    use it, too. Do not save such a function, for instance as a SavedModel: the saved graph would
    hold a reference to this process, and fail where it is loaded.

    Args:
        enabled: whether functions that are traced from now on may use the core.
    """
    global _opted_in
    _opted_in = bool(enabled)


@contextmanager
def own_graph() -> Iterator[None]:
    """Mark graphs that are traced inside as the project's own: never saved. Also a decorator."""
    token = _in_own_graph.set(True)
    try:
        yield
    finally:
        _in_own_graph.reset(token)


@contextmanager
def without_core() -> Iterator[None]:
    """Switch the core off inside, whatever else is said; for saving. Also a decorator."""
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)


def is_used(training: bool) -> bool:
    """Return whether the compiled core computes here and now.

    Args:
        training: whether batch norm uses the moments of the batch.

    Raises:
        ValueError: an unknown value of NOISE_FLOW_CORE, or `native` without a compiled core.
    """
    if _switched_off.get() or library.turned_off():
        return False
    if not (_graph_allows() and _devices_allow(training)):
        return False
    library.say_missing_once()
    return library.available()


def _graph_allows() -> bool:
    import tensorflow as tf
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
    from tensorflow.python.saved_model.save_context import in_save_context

    if tf.executing_eagerly():
        return True
    if in_save_context() or GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return False
    return _in_own_graph.get() or _opted_in


def _devices_allow(training: bool) -> bool:
    """Not on a GPU, nor where the moments of a batch are those of several replicas together."""
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return False
    return not (training and tf.distribute.get_strategy().num_replicas_in_sync > 1)
