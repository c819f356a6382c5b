"""SIDD, the Smartphone Image Denoising Dataset: reading, patches, rendering, and a stand-in."""

from sidd.bayer import CFA_PATTERNS, mosaic, pack, unpack
from sidd.blocks import RELEASE_EXCLUSIONS, Block, read_blocks
from sidd.errors import SiddError
from sidd.files import replacing
from sidd.loading.corners import random_corners, uniform_corners
from sidd.loading.patches import Patches
from sidd.matfiles import (
    Pair,
    read_packed,
    read_pair,
    read_raw,
    write_raw,
)
from sidd.metadata import Metadata, read_metadata, write_metadata
from sidd.offline.synthetic import read_manifest, typical_metadata, write_synthetic
from sidd.offline.unprocessing import unprocess_srgb
from sidd.rendering import render, render_packed
from sidd.scenes import (
    CAMERAS,
    ISO_LEVELS,
    TEST_INSTANCES,
    TRAIN_INSTANCES,
    Frame,
    SceneInstance,
    index,
    select_frames,
)

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
