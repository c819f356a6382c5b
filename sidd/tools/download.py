"""The command download: fetches a mirror's zip files, unpacks them, and counts what came."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sidd.errors import SiddError
from sidd.scenes import DATASETS, SceneInstance, index
from sidd.tools.extraction import extract
from sidd.tools.transfer import download, name_of


@dataclass(frozen=True)
class DownloadConfig:
    urls: Sequence[str]  #: of the dataset's zip file, or of all its parts
    out: str | os.PathLike  #: folder for the zip files and the dataset
    sha256: Sequence[str] = ()  #: of each file, in the same order; none: not checked
    dataset: str = "medium-raw"  #: what it is a mirror of, one of DATASETS


class NoSceneFound(SiddError):
    """All was downloaded, and it is not SIDD."""

    exit_code = 1


def run(config: DownloadConfig) -> int:
    """Downloads and unpacks, going on where it was cut off; gives 0.

    Raises ValueError for wrong settings, SiddError for what cannot be had or unpacked, and
    NoSceneFound where no scene instance is there in the end.
    """
    if config.dataset not in DATASETS:
        raise ValueError(f"unknown dataset {config.dataset}; allowed: {', '.join(DATASETS)}")
    urls, sha256 = config.urls, config.sha256
    if sha256 and len(sha256) != len(urls):
        raise ValueError(f"{len(sha256)} hashes for {len(urls)} URLs; give one for each")
    names = [name_of(url) for url in urls]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)}: two URLs end with this name; give each file once")
    out = Path(config.out)
    for url, expected in zip(urls, sha256 or [None] * len(urls), strict=True):
        archive = download(url, out, expected)
        print(f"{archive}: {extract(archive, out)} files extracted")
    instances = [i for root in (out, *filter(Path.is_dir, out.iterdir())) for i in _found(root)]
    whole = DATASETS[config.dataset]
    print(f"{out}: {len(instances)} of {whole} scene instances of {config.dataset}")
    if not instances:
        raise NoSceneFound(f"{out}: no scene instance was found in what was downloaded")
    return 0


def _found(root: Path) -> list[SceneInstance]:
    try:
        return index(root)
    except ValueError:
        return []
