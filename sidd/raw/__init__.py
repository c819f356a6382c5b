"""Raw files of any camera: reading them, writing DNG, and the noise that bursts of them show.

Needs the extra `raw`: `pip install 'noise-flow-tf[raw]'`.
"""

SUFFIXES = (".dng", ".arw", ".nef", ".cr2", ".cr3", ".raf", ".rw2", ".orf", ".gpr")
"""File name suffixes of raw files, lower case."""
