"""Many files at once, in threads: h5py reads one at a time, everything around it runs beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

Item, Result = TypeVar("Item"), TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: int | Executor,
    description: str,
    unit: str,
    progress: bool = True,
) -> Iterator[Result]:
    """The function's results in the items' order, with a progress bar where it takes longer.

    ``executor`` is one to use up, or a number of threads. Where the function raises, or the caller
    stops listening, what has not begun is left out.
    """
    items = list(items)
    executor = ThreadPoolExecutor(executor) if isinstance(executor, int) else executor
    try:
        results = executor.map(function, items)
        bar = tqdm(results, description, len(items), unit=unit, disable=not progress, delay=1)
        yield from bar
    finally:
        executor.shutdown(cancel_futures=True)
