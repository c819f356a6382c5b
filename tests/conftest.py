from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of numbers made by the original release's own code."""
    if not REFERENCE.is_dir():
        pytest.skip(f"the reference numbers of the original release are not at {REFERENCE}")
    return REFERENCE
