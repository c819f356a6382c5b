"""One device, several, or several machines: where training runs."""

import functools
import signal
import threading
from collections.abc import Callable

import tensorflow as tf
import tf_keras
from tensorflow.python.eager import context

from noise_flow_tf.training.names import MIRRORING, STRATEGIES
from noise_flow_tf.training.workers import (
    WorkerMissingError,
    addresses,
    from_environment,
    wait_for_others,
)

_MEET_MS = 60_000
"""How long TensorFlow waits for workers that have all listened a moment ago."""


def choose(name: str, replicas: int | None = None) -> tf.distribute.Strategy:
    """Return the strategy of a name.

    Args:
        name: `"none"`, TensorFlow's default device; `"mirrored"`, a MirroredStrategy over all GPUs;
            `"auto"`, mirrored where there is a GPU; `"multiworker"`, a MultiWorkerMirroredStrategy
            over the workers of the environment variable TF_CONFIG. It waits for all workers, and
            must come before anything else that TensorFlow computes.
        replicas: mirrored, also by `"auto"`, over as many devices; see `prepare`.

    Raises:
        ValueError: another name, a TF_CONFIG that does not go with it or whose workers cannot be
            joined, or as `prepare`.
        WorkerMissingError: an OSError; another worker was there, and has gone again.
    """
    prepare(name, replicas)
    workers, own = from_environment()
    if name == "multiworker":
        if not workers:
            raise ValueError(
                "multiworker needs the workers' addresses in TF_CONFIG, such as "
                '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
                '"task": {"type": "worker", "index": 0}}'
            )
        names = ", ".join(workers)
        print(f"waiting for the {len(workers)} workers of TF_CONFIG: {names}", flush=True)
        wait_for_others(workers, own)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _limit_waiting()
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.DeadlineExceededError as error:
            raise WorkerMissingError(workers) from error
        except Exception as error:  # TensorFlow raises many kinds
            raise ValueError(
                f"the workers of TF_CONFIG, {names}, cannot be joined: {str(error).splitlines()[0]}"
            ) from error
        finally:
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # TensorFlow has put in its own
    if name == "auto" and len(workers) > 1:
        raise ValueError(
            f"TF_CONFIG names {len(workers)} workers; say which strategy is meant: multiworker for "
            "one training over all, mirrored or none for one of this machine's own"
        )
    gpus = tf.config.list_physical_devices("GPU")
    if name in MIRRORING and replicas:
        kind = "GPU" if gpus else "CPU"
        return _mirrored(tuple(f"{kind}:{number}" for number in range(replicas)))
    if name == "mirrored" or (name == "auto" and gpus):
        return _mirrored(None)
    return tf.distribute.get_strategy()


def _limit_waiting() -> None:
    """Have TensorFlow give up waiting for workers after a minute.

    It waits for an hour otherwise, in which no signal and no thread of Python is heard, even if a
    worker that was there before has been killed. The strategy has no option for it.
    """
    ours = context.context()
    ours.configure_coordination_service = functools.partial(
        ours.configure_coordination_service, cluster_register_timeout_in_ms=_MEET_MS
    )


@functools.cache
def _mirrored(devices: tuple[str, ...] | None) -> tf.distribute.MirroredStrategy:
    """Return the process's strategy over devices, None for all GPUs.

    A second one would number its collective operations from the start again, and TensorFlow ends
    with an error if one of the same number had another shape.
    """
    return tf.distribute.MirroredStrategy(None if devices is None else list(devices))


def prepare(name: str, replicas: int | None = None) -> None:
    """Make sure that there are the devices that `choose` takes.

    For replicas these are the first GPUs. On a machine without a GPU the CPU is divided into as
    many logical devices, which is to try what several do, and not any faster. That must come before
    TensorFlow computes anything; call this first if `choose` would come too late.

    Raises:
        ValueError: an unknown name, replicas that do not go with it, too few GPUs, or TensorFlow
            has started.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; allowed are {', '.join(STRATEGIES)}")
    if replicas is None:
        return
    if replicas < 1:
        raise ValueError(f"replicas must be at least 1; got {replicas}")
    if name not in MIRRORING:
        if replicas > 1:
            raise ValueError(
                f"{replicas} replicas do not go with the strategy {name}; take mirrored, or leave "
                "--replicas out"
            )
        return
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        _divide_cpu(replicas)
    elif replicas > len(gpus):
        raise ValueError(
            f"{replicas} replicas need as many GPUs, and this machine has {len(gpus)}; take fewer, "
            "or set CUDA_VISIBLE_DEVICES=-1 to try them on the CPU"
        )


def _divide_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    there = tf.config.get_logical_device_configuration(cpu) or [None]
    if len(there) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise ValueError(
            f"TensorFlow has started, so that the CPU cannot be divided into {count} devices any "
            "more; choose the strategy before anything is computed"
        ) from error


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Return how many processes train together."""
    resolver = strategy.cluster_resolver
    return len(addresses(resolver.cluster_spec().as_dict())) if resolver else 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process keeps what is trained: the chief, or else worker 0."""
    if num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Return the sum of a value over all replicas; called within one of them."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def in_shares(
    share: Callable[[tuple[int, int]], tf.data.Dataset],
) -> tf_keras.utils.experimental.DatasetCreator:
    """Make an endless dataset for `fit` of which each replica reads its own share alone.

    `share` gives for (index, count) the endless dataset of one replica: its part of each global
    batch.
    """

    def of_this_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = context.num_replicas_in_sync
        local = count // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shares = [share((first + i, count)) for i in range(local)]
        if local == 1:
            return shares[0]
        return tf.data.Dataset.choose_from_datasets(shares, tf.data.Dataset.range(local).repeat())

    return tf_keras.utils.experimental.DatasetCreator(of_this_worker)
