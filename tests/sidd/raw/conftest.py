from pathlib import Path

import pytest

from tests import dng_files

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"


@pytest.fixture(autouse=True)
def packages():
    """Those of the extra `raw`, which CI has."""
    pytest.importorskip("rawpy")
    pytest.importorskip("tifffile")


@pytest.fixture
def written(tmp_path):
    """Writes a DNG by `dng_files.write` and gives its path."""

    def write(*arguments, **options):
        path = tmp_path / options.pop("name", "x.dng")
        dng_files.write(path, *arguments, **options)
        return path

    return write


@pytest.fixture
def real():
    """The folder of real raw files, which does not come with the project."""
    if not REAL.is_dir():
        pytest.skip(f"the real raw files are not at {REAL}")
    return REAL
