"""The workers of a training over several machines: their addresses, and how they meet."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SHOWN = 300
_RETRY = 0.5
_REMIND = 60.0

Cluster = dict[str, list[str]]


class WorkerMissingError(ConnectionError):
    """A worker has gone between the moment when all were there and the start of TensorFlow.

    The exit code says that trying again may help (EX_TEMPFAIL).
    """

    exit_code = 75

    def __init__(self, known: list[str]) -> None:
        """Take the addresses of all workers."""
        super().__init__(
            f"one of the workers {', '.join(known)} was there and has gone again; start all "
            "workers again, with equal options"
        )


def addresses(cluster: Cluster) -> list[str]:
    """Return the addresses of those that train, the chief first."""
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def from_environment() -> tuple[list[str], str]:
    """Return the addresses of all workers of TF_CONFIG and of this one; none if it is not set.

    Raises:
        ValueError: a TF_CONFIG that cannot be used.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return [], ""
    try:
        config = json.loads(text)
        cluster = config.get("cluster", {})
        for kind, of_kind in cluster.items():
            if not (isinstance(of_kind, list) and all(isinstance(a, str) for a in of_kind)):
                raise ValueError(f"the addresses of {kind} must be a list of strings")
            for address in of_kind:
                _split(address)
        known = addresses(cluster)
        if twice := [address for address in known if known.count(address) > 1]:
            raise ValueError(f"{twice[0]} is there twice; each process needs an address of its own")
        own = ""
        if cluster:
            kind, index = config["task"]["type"], int(config["task"]["index"])
            if kind not in cluster or not 0 <= index < len(cluster[kind]):
                raise ValueError(f"the cluster has no task {kind} {index}")
            own = cluster[kind][index]
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise ValueError(f"TF_CONFIG cannot be used: {error!r}; it was {shown}") from error
    return known, own


def wait_for_others(known: list[str], own: str) -> None:
    """Wait until each other worker listens at its address; a signal ends it, as it does Python.

    TensorFlow's own waiting, which comes after this, leaves signals unheard. Until then this
    process listens at its own address in TensorFlow's place.

    Raises:
        ValueError: nothing can listen at this process's own address.
    """
    missing = {address: "" for address in known if address != own}
    reminder = time.monotonic() + _REMIND
    with _listening(own):
        while missing:
            missing = {a: reason for a in missing if (reason := _why_not_there(a))}
            if missing and time.monotonic() > reminder:
                reasons = ", ".join(f"{a} ({reason})" for a, reason in missing.items())
                print(f"still waiting for {reasons}", flush=True)
                reminder += _REMIND
            if missing:
                time.sleep(_RETRY)


@contextmanager
def _listening(own: str) -> Iterator[None]:
    _, port = _split(own)
    try:
        server = socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise ValueError(
            f"TF_CONFIG: this worker cannot listen at its address {own}: {error.strerror}; end the "
            "process that does, or take another port"
        ) from error
    with server:
        yield


def _why_not_there(address: str) -> str:
    """Return why nothing listens at an address; "" if something does."""
    try:
        socket.create_connection(_split(address), timeout=5).close()
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def _split(address: str) -> tuple[str, int]:
    """Return host and port of an address."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} is no HOST:PORT with a port from 1 to 65535")
    return host.strip("[]"), int(port)
