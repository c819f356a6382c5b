"""How far training is: one bar over all of it on a terminal, and lines that a log file can hold."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import tf_keras
from tqdm.auto import tqdm

_SHOWN = {
    "nll": ("NLL", ".3f", "nats per dimension"),
    "psnr": ("PSNR", ".2f", "dB"),
    "kl": ("KL", ".4f", "nats"),
}
"""Title, format and unit of the metrics that are shown."""

_SECONDS_BETWEEN_LINES = 60


class Progress(tf_keras.callbacks.Callback):
    """Show the progress of `fit`: its share of all steps, its scores and the time left.

    On a terminal and in a notebook there is one bar. There and elsewhere, each epoch that was
    evaluated has a line, and without a bar there is one each minute if nothing else is printed.
    Call `close` if `fit` may raise.
    """

    def __init__(self, epochs: int, steps_per_epoch: int, done: int = 0) -> None:
        """Take the length of training, and how many steps of it were done by an earlier `fit`."""
        super().__init__()
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._total, self._done = epochs * steps_per_epoch, done
        self._bar: Any = None
        self._timed_from: tuple[int, float] | None = None
        self._last_line = time.monotonic()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        in_notebook = "ipykernel" in sys.modules
        self._bar = tqdm(
            desc="training",
            total=self._total,
            initial=self._done,
            unit="step",
            leave=False,
            disable=False if in_notebook else None,
        )

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._done += 1
        if self._timed_from is None:  # the first step is compiled, and says nothing of the others
            self._timed_from = (self._done, time.monotonic())
        self._bar.set_postfix_str("; ".join([self._epoch, *_scores(logs)]), refresh=False)
        self._bar.update()
        if self._bar.disable and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._write(logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if any(name.startswith("val_") for name in logs or {}):
            self._write(logs)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()

    def _write(self, logs: Mapping[str, float] | None) -> None:
        line = f"{self._epoch}, step {self._done}/{self._total}: "
        tqdm.write(line + "; ".join([*_scores(logs), *self._time_left()]))
        sys.stdout.flush()
        self._last_line = time.monotonic()

    @property
    def _epoch(self) -> str:
        return f"epoch {(self._done - 1) // self._steps_per_epoch + 1}/{self._epochs}"

    def _time_left(self) -> list[str]:
        start, begun = self._timed_from or (self._done, 0.0)
        if self._done in (start, self._total):
            return []
        seconds = (time.monotonic() - begun) / (self._done - start) * (self._total - self._done)
        return [f"{tqdm.format_interval(seconds)} left"]


def _scores(logs: Mapping[str, float] | None) -> list[str]:
    """Return the scores of a line: of the training batches, and of the test set if it has them."""
    logs = logs or {}
    scores = []
    for name, (title, form, unit) in _SHOWN.items():
        values = [f"{logs[key]:{form}}" for key in (name, f"val_{name}") if key in logs]
        if values:
            start = title if name in logs else f"test {title}"
            scores.append(f"{start} {', test '.join(values)} {unit}")
    return scores
