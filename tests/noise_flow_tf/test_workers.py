"""The addresses of workers, how they meet, and what is said if one is gone."""

import json
import socket
import subprocess
import threading
import time

import pytest
import tensorflow as tf

from noise_flow_tf.training import workers
from noise_flow_tf.training.interruption import WorkerLostError, is_of_another_worker
from tests.processes import command, free_ports, start


def config(*addresses, **task):
    return json.dumps(
        {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": 0, **task}}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (config("localhost"), "'localhost' is no HOST:PORT"),
        (config("localhost:0"), "with a port from 1 to 65535"),
        (config("localhost:99999"), "with a port from 1 to 65535"),
        (config(":2222"), "is no HOST:PORT"),
        (config("a:1", "b:1", "a:1"), "a:1 is there twice"),
        (config("a:1", index=3), "the cluster has no task worker 3"),
        ("[" * 100_000, "RecursionError"),
        ("{", "JSONDecodeError"),
        ("[]", "AttributeError"),
    ],
)
def test_addresses_that_cannot_be_used(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message) as raised:
        workers.from_environment()
    assert str(raised.value).startswith("TF_CONFIG cannot be used")
    assert len(str(raised.value)) < 600


def test_workers_wait_for_each_other():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    done = []

    def wait(own):
        workers.wait_for_others(addresses, own)
        done.append(own)
        with socket.create_server(("", int(own.rpartition(":")[2]))):  # as TensorFlow does next
            time.sleep(4)

    threads = [threading.Thread(target=wait, args=[own]) for own in addresses]
    for thread in threads[:2]:
        thread.start()
    time.sleep(1.5)
    assert not done
    threads[2].start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(addresses)


def test_an_address_that_is_taken():
    with socket.create_server(("", 0)) as server:
        own = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"cannot listen at its address {own}: Address alr"):
            workers.wait_for_others([own, "localhost:1"], own)


@pytest.mark.slow
def test_a_worker_that_waits_obeys_sigterm(tmp_path):
    ports = free_ports(2)
    addresses = config(*(f"127.0.0.1:{port}" for port in ports))
    line = command("train.py", "--logdir", tmp_path / "run", "--strategy", "multiworker")
    with start([*line, "--arch", "S-G"], TF_CONFIG=addresses) as process:
        while "waiting for the 2 workers" not in (process.stdout.readline()):
            assert process.poll() is None
        process.terminate()
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "train.py: terminated"
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_worker_that_goes_before_tensorflow_starts_is_not_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=128) as other:  # there, and no TensorFlow
        there = f"127.0.0.1:{other.getsockname()[1]}"
        own = f"127.0.0.1:{free_ports(1)[0]}"
        line = command("train.py", "--logdir", tmp_path / "run", "--strategy", "multiworker")
        with start([*line, "--arch", "S-G"], TF_CONFIG=config(there, own, index=1)) as process:
            try:
                _, errors = process.communicate(timeout=150)
            finally:
                process.kill()
    assert process.returncode == 75
    line = f"train.py: one of the workers {there}, {own} was there and has gone again; start all "
    assert f"{line}workers again, with equal options" in errors.splitlines()
    assert not (tmp_path / "run").exists()


def test_what_is_said_of_a_worker_that_is_gone():
    text = "{{node x}} Collective ops is aborted by: Error from task:1: crashed\nmore"
    lost = tf.errors.UnavailableError(None, None, text)
    assert is_of_another_worker(lost)
    assert is_of_another_worker(tf.errors.InvalidArgumentError(None, None, text))
    assert not is_of_another_worker(tf.errors.ResourceExhaustedError(None, None, "no space"))
    error = WorkerLostError(lost, "run/step-4")
    assert error.exit_code == 75
    assert str(error).splitlines() == [
        "another worker is gone, or not at the same step (Error from task:1: crashed); kept: "
        "run/step-4; start all workers again, with --resume and otherwise equal options"
    ]
