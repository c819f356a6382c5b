"""SIDD, the Smartphone Image Denoising Dataset: reading, patches, rendering, and a stand-in.

Names are imported from their modules on first use, so that importing this package loads neither
HDF5 nor OpenCV, scikit-image or TensorFlow.
"""
# ruff: noqa: F401 - the imports that a type checker reads are names of this package

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidd.bayer import CFA_PATTERNS, mosaic, pack, unpack
    from sidd.blocks import Block, read_blocks
    from sidd.cameras import CAMERAS, identify
    from sidd.errors import SiddError
    from sidd.files import replacing
    from sidd.loading.corners import random_corners, uniform_corners, unmasked_corners
    from sidd.loading.patches import Patches
    from sidd.matfiles import NEAR_RANGE, Pair, read_packed, read_pair, read_raw, write_raw
    from sidd.metadata import Metadata, read_metadata, write_metadata
    from sidd.offline.synthetic import read_manifest, typical_metadata, write_synthetic
    from sidd.offline.unprocessing import unprocess_srgb
    from sidd.raw.files import RawFile
    from sidd.raw.reading import read_dng
    from sidd.raw.writing import write_dng
    from sidd.rendering import render, render_packed, upright
    from sidd.scenes import (
        ISO_LEVELS,
        RELEASE_EXCLUSIONS,
        TEST_INSTANCES,
        TRAIN_INSTANCES,
        Frame,
        SceneInstance,
        index,
    )
    from sidd.selection import describe_split, select_frames, why_none

_MODULE_OF = {
    name: f"{__name__}.{module}"
    for module, names in {
        "bayer": "CFA_PATTERNS mosaic pack unpack",
        "blocks": "Block read_blocks",
        "cameras": "CAMERAS identify",
        "errors": "SiddError",
        "files": "replacing",
        "loading.corners": "random_corners uniform_corners unmasked_corners",
        "loading.patches": "Patches",
        "matfiles": "NEAR_RANGE Pair read_packed read_pair read_raw write_raw",
        "metadata": "Metadata read_metadata write_metadata",
        "offline.synthetic": "read_manifest typical_metadata write_synthetic",
        "offline.unprocessing": "unprocess_srgb",
        "raw.files": "RawFile",
        "raw.reading": "read_dng",
        "raw.writing": "write_dng",
        "rendering": "render render_packed upright",
        "scenes": "ISO_LEVELS RELEASE_EXCLUSIONS TEST_INSTANCES TRAIN_INSTANCES Frame "
        "SceneInstance index",
        "selection": "describe_split select_frames why_none",
    }.items()
    for name in names.split()
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
