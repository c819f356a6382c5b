"""Many files at once, in threads: h5py reads one at a time, everything else runs in parallel."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from sidd.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: int | Executor,
    description: str,
    unit: str,
    progress: bool,
) -> Iterator[Result]:
    """Iterate over the function's results in the items' order; show progress if it takes longer.

    If the function raises or the caller stops iterating, items that wait are dropped.
    `executor` is a number of threads, or an executor, which is shut down in the end.
    """
    items = list(items)
    executor = ThreadPoolExecutor(executor) if isinstance(executor, int) else executor
    try:
        results = executor.map(function, items)
        bar = progress_bar(results, description, progress, total=len(items), unit=unit, delay=1)
        yield from bar
    finally:
        executor.shutdown(cancel_futures=True)
