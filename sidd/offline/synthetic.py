"""The offline dataset: a stand-in for SIDD, in SIDD's own layout and file formats.

Clean scenes are those of `sidd.offline.pictures`, unprocessed to raw by
`sidd.offline.unprocessing`; noise is that of `sidd.offline.noise_physics`. Readers of the real
dataset read this one.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sidd.bayer import CFA_PATTERNS
from sidd.cameras import BY_CODE, CAMERAS
from sidd.errors import SiddError, reading
from sidd.files import clear_dead, replacing, sync, temporary_of
from sidd.matfiles import write_raw
from sidd.metadata import Metadata, write_metadata
from sidd.offline.noise_physics import expose, noise_profile, quantise
from sidd.offline.pictures import TEST_PICTURES, TRAIN_PICTURES, view
from sidd.offline.unprocessing import EXPOSURE, ILLUMINANTS, as_shot_neutral, unprocess
from sidd.parallel import in_parallel
from sidd.scenes import TEST_INSTANCES, TRAIN_INSTANCES, SceneName

MANIFEST = "synthetic.json"
"""Name of the file with the settings of a dataset."""

_VERSION = 1
_FRAMES = (10, 11)
_CLEAN_BITS = 16
_THREADS = 4  # each takes up to 1 GB at SIDD's full size


def write_synthetic(
    root: str | os.PathLike,
    seed: int = 0,
    size: tuple[int, int] = (320, 448),
    train_instances: int = 44,
    test_instances: int = 22,
    progress: bool = True,
    exist_ok: bool = False,
) -> Path:
    """Write the offline dataset to `root`, in the layout of SIDD_Medium_Raw, and return `root`.

    Each instance has frames 10 and 11: one clean scene, two draws of noise. By default, each of
    SIDD's 22 pairs of camera and ISO level appears twice in training and once in testing. Test
    scenes show other pictures than training scenes. Equal seeds give equal arrays, bit for bit,
    with equal versions of the packages. Nothing appears at `root` before the dataset is complete.

    Args:
        root: a new or empty folder.
        seed: of the scenes and the noise.
        size: (H, W) of the upright Bayer images, even and at least 8.
        train_instances: how many; their numbers are the first of the release's list.
        test_instances: likewise.
        progress: show a progress bar.
        exist_ok: keep a dataset that is at `root` already, with the same settings.

    Raises:
        SiddError: if there is anything else at `root`, or it cannot be written.
        ValueError: for a setting out of range.
    """
    root = Path(root)
    clear_dead(root.absolute())
    settings = _settings(seed, size, train_instances, test_instances)
    if exist_ok and (manifest := read_manifest(root)) is not None:
        if manifest != settings:
            raise SiddError(
                f"{root}: has an offline dataset with other settings: {manifest}, wanted "
                f"{settings}; remove it or name another folder"
            )
        return root
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise SiddError(f"{root}: exists and is not an empty folder; the dataset needs a new one")
    root.absolute().parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(root.absolute())
    try:
        for _ in in_parallel(
            lambda scene: _write_instance(temporary / "Data", scene[0], scene[1], seed, size),
            _plan(train_instances, test_instances),
            min(_THREADS, os.cpu_count() or 1),
            "offline dataset", "scene", progress,
        ):  # fmt: skip
            pass
        with replacing(temporary / MANIFEST) as manifest_file:
            manifest_file.write_text(json.dumps(settings, indent=2) + "\n")
        os.replace(temporary, root)  # which may be an empty folder
        sync(root.absolute().parent)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise SiddError(
            f"{root}: the offline dataset cannot be written: {reason}; nothing of it is kept"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def read_manifest(root: str | os.PathLike) -> dict[str, object] | None:
    """Return the settings of an offline dataset; None if `root` is not one."""
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    with reading(path, "not JSON"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise SiddError(f"{path}: not the settings of an offline dataset")
    return manifest


def _settings(
    seed: int, size: tuple[int, int], train_instances: int, test_instances: int
) -> dict[str, object]:
    height, width = size
    if height % 2 or width % 2 or min(size) < 8:
        raise ValueError(f"size is (H, W), even and at least 8; got {tuple(size)}")
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}")
    for name, number, most in (
        ("train_instances", train_instances, len(TRAIN_INSTANCES)),
        ("test_instances", test_instances, len(TEST_INSTANCES)),
    ):
        if not 0 <= number <= most:
            raise ValueError(f"{name} must be 0 to {most}; got {number}")
    if train_instances + test_instances == 0:
        raise ValueError("train_instances and test_instances are both 0: nothing to write")
    return {
        "version": _VERSION,
        "seed": seed,
        "size": [height, width],
        "train_instances": train_instances,
        "test_instances": test_instances,
    }


def typical_metadata(camera: str, iso: int, illuminant: int = 5500) -> Metadata:
    """Return the METADATA of an offline shot, for images that come without any.

    The CFA pattern is the real camera's; colours and noise level function are made up. The
    illuminant's colour temperature in kelvin is a key of `ILLUMINANTS`.

    Raises:
        SiddError: for a camera without a made-up sensor.
        ValueError: for another illuminant, or an ISO that is not positive.
    """
    nlf, row = noise_profile(camera, iso), BY_CODE[camera]
    return Metadata(
        make=row.make,
        camera=camera,
        iso=iso,
        nlf=nlf,
        cfa_pattern=np.array(CFA_PATTERNS[row.cfa]),
        as_shot_neutral=as_shot_neutral(camera, illuminant),
        color_matrix1=np.array(row.color_matrix1),
        color_matrix2=np.array(row.color_matrix2),
    )


def camera_iso_pairs() -> list[tuple[str, int]]:
    """Return SIDD's 22 pairs of camera and ISO level, cameras taking turns.

    >>> camera_iso_pairs()[:6]
    [('IP', 100), ('GP', 400), ('S6', 800), ('N6', 1600), ('G4', 400), ('IP', 400)]
    """
    levels = [BY_CODE[code].isos for code in CAMERAS]
    return [
        (code, isos[(turn + offset) % len(isos)])
        for turn in range(max(map(len, levels)))
        for offset, (code, isos) in enumerate(zip(CAMERAS, levels, strict=True))
        if turn < len(isos)
    ]


def _plan(train_instances: int, test_instances: int) -> Iterator[tuple[SceneName, str]]:
    """Iterate over the instances' names and pictures."""
    pairs = camera_iso_pairs()
    for numbers, pictures in (
        (TRAIN_INSTANCES[:train_instances], TRAIN_PICTURES),
        (TEST_INSTANCES[:test_instances], TEST_PICTURES),
    ):
        for turn, number in enumerate(numbers):
            camera, iso = pairs[turn % len(pairs)]
            scene, picture = pictures[turn % len(pictures)]
            brightness = "NHL"[(turn + turn // 3) % 3]
            illuminant = tuple(ILLUMINANTS)[turn // 2 % 3]
            shutter = round(iso * 0.6 / EXPOSURE[brightness])
            name = SceneName(number, scene, camera, iso, shutter, illuminant, brightness)
            yield name, picture


def _write_instance(
    data: Path, name: SceneName, picture: str, seed: int, size: tuple[int, int]
) -> None:
    folder = data / str(name)
    folder.mkdir(parents=True)
    linear = view(picture, size, np.random.default_rng([seed, name.instance]))
    clean = unprocess(linear, name.camera, name.illuminant, name.brightness)
    clean = quantise(clean, _CLEAN_BITS)
    del linear
    metadata = typical_metadata(name.camera, name.iso, name.illuminant)
    for frame in _FRAMES:
        random = np.random.default_rng([seed, name.instance, frame])
        noisy = expose(clean, name.camera, name.iso, random)
        prefix, suffix = f"{name.instance:04d}", f"RAW_{frame:03d}.MAT"
        write_raw(folder / f"{prefix}_NOISY_{suffix}", noisy.T)
        write_raw(folder / f"{prefix}_GT_{suffix}", clean.T)
        write_metadata(folder / f"{prefix}_METADATA_{suffix}", metadata)
