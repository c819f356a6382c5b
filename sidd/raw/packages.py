"""The packages of the extra `raw`, imported on first use."""

from importlib import import_module
from types import ModuleType

from sidd.errors import SiddError


def load(name: str) -> ModuleType:
    """Return the module rawpy or tifffile.

    Raises:
        SiddError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise SiddError(
            f"raw files need the package {name} ({error}); pip install 'noise-flow-tf[raw]'"
        ) from None
