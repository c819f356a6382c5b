"""SIDD, the Smartphone Image Denoising Dataset: reading, patches, rendering, and a stand-in."""

from .bayer import CFA_PATTERNS, mosaic, pack, unpack
from .blocks import RELEASE_EXCLUSIONS, Block, read_blocks
from .corners import random_corners, uniform_corners
from .errors import SiddError
from .files import replacing
from .matfiles import (
    Pair,
    read_packed,
    read_pair,
    read_raw,
    write_raw,
)
from .metadata import Metadata, read_metadata, write_metadata
from .patches import Patches
from .rendering import render, render_packed
from .scenes import (
    CAMERAS,
    ISO_LEVELS,
    TEST_INSTANCES,
    TRAIN_INSTANCES,
    Frame,
    SceneInstance,
    index,
    select_frames,
)
from .synthetic import read_manifest, typical_metadata, write_synthetic
from .unprocessing import unprocess_srgb

__all__ = [
    "CAMERAS",
    "CFA_PATTERNS",
    "ISO_LEVELS",
    "RELEASE_EXCLUSIONS",
    "TEST_INSTANCES",
    "TRAIN_INSTANCES",
    "Block",
    "Frame",
    "Metadata",
    "Pair",
    "Patches",
    "SceneInstance",
    "SiddError",
    "index",
    "mosaic",
    "pack",
    "random_corners",
    "read_blocks",
    "read_manifest",
    "read_metadata",
    "read_packed",
    "read_pair",
    "read_raw",
    "render",
    "render_packed",
    "replacing",
    "select_frames",
    "typical_metadata",
    "uniform_corners",
    "unpack",
    "unprocess_srgb",
    "write_metadata",
    "write_raw",
    "write_synthetic",
]
