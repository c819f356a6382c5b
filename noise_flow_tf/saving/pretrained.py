"""Models by name: the one that comes with the package, and those that can be fetched.

- `demo`: trained on the offline dataset, whose sensors are simulated; it comes with the package.
- `release`: the weights of the original release, from its public repository, under their own
  licence.
- `hf://USER/REPO` or `hf://USER/REPO@REVISION`: a folder that `noise-flow weights export` wrote and
  somebody uploaded to the Hugging Face Hub.

Nothing here needs TensorFlow. Of all of these, only JSON and variables are read.
"""

import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from noise_flow_tf.saving.file_system import sha256

DEMO = Path(__file__).parent / "weights" / "demo"
"""The folder of the model `demo`; its README.md is the model card, noise_flow.npz is for NumPy."""

DEMO_NOTE = (
    "demo: a model of simulated sensors that comes with the package, for a first look; its noise "
    "is that of no real camera"
)

RELEASE_URL = (
    "https://raw.githubusercontent.com/BorealisAI/noise_flow/"
    "2018a5a40d9c3959c2080d9b97c1ec58d687b372/models/NoiseFlow/ckpt/"
)
RELEASE_PREFIX = "model.ckpt.best"
RELEASE_FILES = {
    "model.ckpt.best.index": "33d7c2ee8ae60e85e49b8d0900ea34a39c00264fe22fe254a3304621b0064bfc",
    "model.ckpt.best.data-00000-of-00001": (
        "b4d17f2c55e87ef064e4da7f4721ea99f3de4dcf4c7245ad8506dc0d942a0426"
    ),
}
"""The files of the release's checkpoint and their SHA-256."""

LICENCE = """\
The weights of the original Noise Flow release are the work of its authors (A. Abdelhamed,
M. A. Brubaker and M. S. Brown) and are not part of this package. Their licence is Creative Commons
Attribution-NonCommercial-ShareAlike 4.0, https://creativecommons.org/licenses/by-nc-sa/4.0/:
name the authors, no commercial use, and what you derive from them is under the same licence.
They come from https://github.com/BorealisAI/noise_flow."""

FOLDER_VARIABLE = "NOISE_FLOW_WEIGHTS"
"""The environment variable that names the folder of fetched weights."""

NAMES = ("demo", "release")

_HUB = "hf://"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_RETRIES = 3
_TIMEOUT = 30


def find(name: str | os.PathLike) -> Path:
    """Return the path of a model that has a name; all else is a path already.

    A name wins over a folder of the same name in the working directory, and one line says so;
    `./demo`, or a `Path`, is that folder.

    Raises:
        ValueError: the release's licence is not accepted, or no such repository on the hub.
        OSError: something cannot be fetched; the message says from where, and where to put it.
    """
    if not isinstance(name, str):
        return Path(name)
    if name.startswith(_HUB):
        return _from_hub(name)
    if name not in NAMES:
        return Path(name)
    if Path(name).exists() or Path(f"{name}.index").exists():
        print(f"{name}: the model of this name; for the path write ./{name}", file=sys.stderr)
    return DEMO if name == "demo" else fetch_release()


def release_folder() -> Path:
    """Return the folder of the release's weights, which need not exist."""
    import pooch

    return Path(os.environ.get(FOLDER_VARIABLE) or pooch.os_cache("noise-flow-tf")) / "release"


def has_release() -> bool:
    """Return whether the release's weights are in their folder, whole and as published."""
    files = {release_folder() / name: digest for name, digest in RELEASE_FILES.items()}
    return all(file.is_file() and sha256(file) == digest for file, digest in files.items())


def fetch_release(accept_licence: bool = False) -> Path:
    """Return the prefix of the release's checkpoint, fetched if it is not there yet.

    Their licence, CC BY-NC-SA 4.0, allows no commercial use. It is shown and asked for on a
    terminal; elsewhere `accept_licence` accepts it. Proxies are those of the environment
    (`HTTPS_PROXY`); the folder is that of the user's caches, or `NOISE_FLOW_WEIGHTS`.

    Raises:
        ValueError: the licence is not accepted, or what was fetched is damaged or another file.
        OSError: the files cannot be fetched or written.
    """
    folder = release_folder()
    if not has_release():
        if not accept_licence:
            _ask()
        _download(folder)
    return folder / RELEASE_PREFIX


def _ask() -> None:
    """Show the licence and ask for it; raise a ValueError if it is not accepted."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise ValueError(
            "release: these weights have a licence of their own, CC BY-NC-SA 4.0 (no commercial "
            "use), and are not fetched before it is accepted: noise-flow weights --accept-licence"
        )
    print(LICENCE, file=sys.stderr)
    try:
        answer = input("Accept this licence and fetch the weights? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ValueError("release: the licence is not accepted; nothing was fetched")


def _download(folder: Path) -> None:
    import pooch
    import requests

    fetcher = pooch.create(
        path=folder,
        base_url=RELEASE_URL,
        registry={name: f"sha256:{digest}" for name, digest in RELEASE_FILES.items()},
        retry_if_failed=_RETRIES,
    )
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # it says in several lines what we say in one
    try:
        for name in RELEASE_FILES:
            fetcher.fetch(name, downloader=pooch.HTTPDownloader(timeout=_TIMEOUT))
    except ValueError:
        _fail(ValueError, name, "damaged on the way, or another file: its SHA-256 is wrong", folder)
    except requests.RequestException as error:
        reason = type(error).__name__
        if error.response is not None:
            reason = f"HTTP {error.response.status_code}"
        _fail(OSError, name, f"cannot be fetched ({reason})", folder)
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written ({error.strerror or error}); name another folder in "
            f"{FOLDER_VARIABLE}"
        ) from error
    finally:
        logger.setLevel(level)


def _fail(kind: type[Exception], name: str, reason: str, folder: Path) -> NoReturn:
    files = " and ".join(RELEASE_FILES)
    raise kind(f"{RELEASE_URL}{name}: {reason}; try again, or put {files} from there into {folder}")


def _from_hub(address: str) -> Path:
    """Return the local folder of a SavedModel's description and variables, without its graph."""
    repository, _, revision = address.removeprefix(_HUB).partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"{address}: must be hf://USER/REPO or hf://USER/REPO@REVISION")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ValueError(
            f"{address}: needs huggingface_hub: pip install huggingface_hub"
        ) from error
    try:
        folder = snapshot_download(
            repo_id=repository,
            revision=revision or None,
            allow_patterns=["noise_flow.json", "variables/*"],
        )
    except Exception as error:  # of many kinds: network, names, rights, settings
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"{address}: cannot be fetched: {reason}") from error
    if not (Path(folder) / "noise_flow.json").is_file():
        raise ValueError(
            f"{address}: has no noise_flow.json at its top; publish the folder that noise-flow "
            "weights export writes"
        )
    return Path(folder)
