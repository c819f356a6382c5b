"""How the work on a batch is spread over the cores of a CPU."""

import contextlib
import os

import tensorflow as tf

_WORTH_IT = 32 * 32 * 32


def parts(images: tf.Tensor) -> list[int]:
    """The sizes of the parts of a batch `[B, H, W, C]` that are worked on side by side.

    Two halves in a graph on a CPU whose operations leave half of the cores free (`share_cores`);
    else, and where the batch is small or of a size that is not known yet, all together.
    """
    count, pixels = images.shape[0], images.shape[:3].num_elements()
    is_small = count is None or count < 2 or (pixels is not None and pixels < _WORTH_IT)
    if is_small or tf.executing_eagerly() or at_once() == 1:
        return [count]
    return [count - count // 2, count // 2]


def at_once() -> int:
    """How many parts a graph had best work on side by side: 2 where cores are shared, else 1."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return 2 if 0 < _threads_an_operation() <= _cores() // 2 else 1


def share_cores() -> None:
    """Lets training, `log_prob` and sampling work on two halves of a batch side by side.

    TensorFlow gives all cores to each operation. With images of four channels an operation is too
    small to gain much from that, and two halves with half of the cores each are faster. This is for
    programs that do little else: other operations, such as those of large networks, lose by it.
    Call it before TensorFlow computes anything. It does nothing later, where there is a GPU, or
    where TF_NUM_INTRAOP_THREADS is set, which is looked at in the same way.
    """
    if _threads_an_operation() or tf.config.list_physical_devices("GPU"):
        return
    with contextlib.suppress(RuntimeError):  # TensorFlow has started
        tf.config.threading.set_intra_op_parallelism_threads(max(1, _cores() // 2))


def _threads_an_operation() -> int:
    """How many threads an operation may have at most; 0 for as many as there are cores."""
    setting = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    given = tf.config.threading.get_intra_op_parallelism_threads()
    return given or (int(setting) if setting.isdecimal() else 0)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
