"""Progress bars, which show on a terminal or in a notebook and nowhere else."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def progress_bar(
    items: Iterable | None = None, what: str = "", shown: bool = True, **options: Any
) -> Any:
    """Return a bar of tqdm over `items`; `shown` is False for none in any case."""
    hidden_elsewhere = False if "ipykernel" in sys.modules else None
    return tqdm(items, what, disable=hidden_elsewhere if shown else True, **options)
