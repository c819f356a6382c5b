from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.reference import FULL, SOURCES, load


@pytest.fixture(
    scope="session",
    params=[pytest.param(n, marks=[pytest.mark.slow] if n == "full" else []) for n in SOURCES],
)
def numbers_of(request) -> Callable[[str], dict]:
    """Reads a file of the release's numbers by its name, from each source in turn.

    The full set is a slow one: where both have a file they agree, as a test of their own says.
    """
    return partial(load, SOURCES[request.param])


@pytest.fixture(scope="session")
def reference() -> Path:
    """The full set, for what cannot be committed: the released weights, and SIDD's own data."""
    if not FULL.is_dir():
        pytest.skip(f"the full set of the original release's numbers is not at {FULL}")
    return FULL
