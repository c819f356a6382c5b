"""How the work on a batch is spread over the cores of a CPU."""

import contextlib
import os

import tensorflow as tf

_WORTH_IT = 32 * 32 * 32


def parts(images: tf.Tensor) -> list[int]:
    """The sizes of the parts of a batch `[B, H, W, C]` that are worked on side by side.

    Two halves in a graph on a CPU; all together where there is a GPU, where operations run at once,
    or where the batch is small or of a size that is not known yet.
    """
    count, pixels = images.shape[0], images.shape[:3].num_elements()
    if (
        tf.executing_eagerly()
        or count is None
        or count < 2
        or (pixels is not None and pixels < _WORTH_IT)
        or _cores() < 2
        or tf.config.list_physical_devices("GPU")
    ):
        return [count]
    return [count - count // 2, count // 2]


def share_cores() -> None:
    """Leaves half of the cores to each of the halves that `NoiseFlow` splits a batch into.

    By default TensorFlow gives all cores to each operation, and the halves get into each other's
    way. For a program that does little else than Noise Flow this is faster: call it before
    TensorFlow computes anything. It does nothing later, where there is a GPU, or where
    TF_NUM_INTRAOP_THREADS is set.
    """
    if os.environ.get("TF_NUM_INTRAOP_THREADS") or tf.config.list_physical_devices("GPU"):
        return
    with contextlib.suppress(RuntimeError):  # TensorFlow has started
        tf.config.threading.set_intra_op_parallelism_threads(max(1, _cores() // 2))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
