"""Leaving a training run in order when a signal asks for it."""

import os
import signal
import threading
from typing import Any, NoReturn

import tensorflow as tf

from noise_flow_tf.training import strategies

_EVERY = 10


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, and has saved its state."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Take the message to the user, and the exit code of a program that the signal ends."""
        super().__init__(message)
        self.exit_code = exit_code


class WorkerLostError(Interrupted):
    """Another worker of this training is gone, without which no step can be taken.

    The exit code says that trying again may help (EX_TEMPFAIL).
    """

    def __init__(self, error: Exception, kept: str) -> None:
        """Take TensorFlow's error, and the name of the last checkpoint."""
        reason = str(error).partition(_ABORTED)[2].partition("by: ")[2] or str(error)
        super().__init__(
            f"another worker is gone, or not at the same step ({reason.splitlines()[0]}); kept: "
            f"{kept}; start all workers again, with --resume and otherwise equal options",
            75,
        )


def is_of_another_worker(error: tf.errors.OpError) -> bool:
    """Return whether this is what TensorFlow raises if another worker does not answer."""
    return isinstance(error, _LOST) or _ABORTED in str(error)


_ABORTED = "Collective ops is aborted"
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class Interruption:
    """Catch SIGTERM and Ctrl-C, so that training can finish its step, save and leave.

    A second one ends the program at once. Workers of one training agree, every ten steps, to leave
    at the same one.

    >>> with Interruption() as interruption:
    ...     interruption.wanted()
    False
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        """Take over the signals when it is entered; `strategy` is that of the training."""
        together = strategy is not None and strategies.num_workers(strategy) > 1
        self._strategy = strategy if together else None
        self._received = 0

    def __enter__(self) -> "Interruption":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # None: it was not Python's
                signal.signal(number, handler)

    def wanted(self, step: int = 0) -> bool:
        """Return whether training is to leave after this step."""
        if self._strategy is None:
            return bool(self._received)
        if step % _EVERY:
            return False
        flag = self._strategy.run(lambda: tf.constant(float(bool(self._received))))
        return float(self._strategy.reduce("SUM", flag, axis=None)) > 0

    def leave(self, epoch: int, step: int) -> NoReturn:
        """Raise Interrupted."""
        number = self._received or signal.SIGTERM
        place = f"epoch {epoch + 1}, after step {step}" if step else f"epoch {epoch} is complete"
        raise Interrupted(
            f"stopped by {signal.Signals(number).name} ({place}); the state is saved, and "
            "--resume continues from it",
            128 + number,
        )

    def _take(self, number: int, _: object) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = number
        message = f"\n{signal.Signals(number).name}: saving, then leaving; once more to leave now\n"
        os.write(2, message.encode())  # a print could meet another one halfway
