"""Results in order; what waits is dropped when one fails."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidd.parallel import in_parallel
from sidd.progress import progress_bar


def test_results_come_in_the_items_order():
    first_may_end = threading.Event()

    def function(item):
        if item == 0:
            assert first_may_end.wait(10)
        elif item == 1:
            first_may_end.set()
        return item**2

    results = in_parallel(function, range(5), 2, "squares", "number", progress=False)
    assert list(results) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("executor", [1, ThreadPoolExecutor(1)])
def test_what_waits_is_dropped_after_a_failure(executor):
    started = []

    def function(item):
        started.append(item)
        if item == 1:
            raise RuntimeError
        threading.Event().wait(0.02)

    with pytest.raises(RuntimeError):
        list(in_parallel(function, range(50), executor, "", "", progress=False))
    assert len(started) < 10


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_if_it_is_wanted(monkeypatch, progress):
    monkeypatch.setattr("sidd.parallel.progress_bar", lambda results, what, shown, **_: [shown])
    assert list(in_parallel(abs, [1], 1, "", "", progress)) == [progress]


@pytest.mark.parametrize(("terminal", "wanted"), [(True, True), (True, False), (False, True)])
def test_bars_are_for_terminals(monkeypatch, terminal, wanted):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    assert list(progress_bar([1, 2], "counting", wanted, file=stream)) == [1, 2]
    assert ("counting" in stream.getvalue()) == (terminal and wanted)
