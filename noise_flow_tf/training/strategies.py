"""One device, several, or several machines: where training runs."""

import json
import os
import signal
import threading
from collections.abc import Callable

import tensorflow as tf
import tf_keras

NAMES = ("auto", "none", "mirrored", "multiworker")


def choose(name: str) -> tf.distribute.Strategy:
    """The strategy of a name.

    Args:
        name: `"none"`, TensorFlow's default device; `"mirrored"`, a MirroredStrategy over all GPUs;
            `"auto"`, mirrored where there is a GPU; `"multiworker"`, a MultiWorkerMirroredStrategy
            over the workers of the environment variable TF_CONFIG. That one waits for all workers,
            and has to come before anything else that TensorFlow computes.

    Raises:
        ValueError: another name, or a TF_CONFIG that does not go with it.
    """
    if name not in NAMES:
        raise ValueError(f"unknown strategy {name!r}; allowed are {', '.join(NAMES)}")
    workers = _workers()
    if name == "multiworker":
        if not workers:
            raise ValueError(
                "multiworker needs the workers' addresses in TF_CONFIG, such as "
                '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
                '"task": {"type": "worker", "index": 0}}'
            )
        print(
            f"waiting for the {len(workers)} workers of TF_CONFIG: {', '.join(workers)}", flush=True
        )
        handler = signal.getsignal(signal.SIGTERM)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # TensorFlow has put in its own
        return strategy
    if name == "auto" and len(workers) > 1:
        raise ValueError(
            f"TF_CONFIG names {len(workers)} workers; say which strategy is meant: multiworker for "
            "one training over all, mirrored or none for one of this machine's own"
        )
    if name == "mirrored" or (name == "auto" and tf.config.list_physical_devices("GPU")):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """How many processes train together."""
    resolver = strategy.cluster_resolver
    return len(_addresses(resolver.cluster_spec().as_dict())) if resolver else 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is the process that keeps what is trained: the chief, or else worker 0."""
    if num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def in_shares(
    share: Callable[[tuple[int, int]], tf.data.Dataset],
) -> tf_keras.utils.experimental.DatasetCreator:
    """An endless dataset for `fit` of which each replica reads its own share alone.

    Args:
        share: gives for (index, count) the endless dataset of one replica: its part of each global
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


def _workers() -> list[str]:
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return []
    try:
        config = json.loads(text)
        cluster = config.get("cluster", {})
        for kind, addresses in cluster.items():
            if not (isinstance(addresses, list) and all(isinstance(a, str) for a in addresses)):
                raise ValueError(f"the addresses of {kind} must be a list of strings")
        if cluster:
            kind, index = config["task"]["type"], int(config["task"]["index"])
            if kind not in cluster or not 0 <= index < len(cluster[kind]):
                raise ValueError(f"the cluster has no task {kind} {index}")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"TF_CONFIG cannot be used: {error!r}; it was {text}") from error
    return _addresses(cluster)


def _addresses(cluster: dict) -> list[str]:
    return [*cluster.get("chief", []), *cluster.get("worker", [])]
