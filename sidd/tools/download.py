"""The command download: fetch a mirror's zip files, unpack them, and count scene instances."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sidd.errors import SiddError
from sidd.scenes import DATASETS, SceneInstance, index
from sidd.tools.extraction import extract
from sidd.tools.transfer import download, name_of
from sidd.wording import counted


@dataclass(frozen=True)
class DownloadConfig:
    """Settings of `download`: the URLs of a dataset's zip files, and the folder for all files.

    `sha256` are the files' hashes, or none; `dataset` is a key of `sidd.scenes.DATASETS`.
    """

    urls: Sequence[str]
    out: str | os.PathLike
    sha256: Sequence[str] = ()
    dataset: str = "medium-raw"


class NoSceneFound(SiddError):
    """The download is complete, and it is not SIDD."""

    exit_code = 1


def run(config: DownloadConfig) -> int:
    """Download and unpack, resuming where it stopped; return 0.

    Raises:
        ValueError: for wrong settings.
        SiddError: for what cannot be downloaded or unpacked; NoSceneFound if there is no scene
            instance in the end.
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
    for url, expected in zip(urls, sha256 or len(urls) * [""], strict=True):
        archive = download(url, out, expected)
        print(f"{archive}: {counted(extract(archive, out), 'file')} extracted")
    roots = (out, *filter(Path.is_dir, out.iterdir()))
    instances = {instance.path.name: instance for root in roots for instance in _index(root)}
    whole = DATASETS[config.dataset]
    print(f"{out}: {len(instances)} of {whole} scene instances of {config.dataset}")
    if not instances:
        raise NoSceneFound(f"{out}: no scene instance was found in what was downloaded")
    return 0


def _index(root: Path) -> list[SceneInstance]:
    try:
        return index(root)
    except ValueError:
        return []
