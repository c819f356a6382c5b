"""The dataset that a program works on: its frames and its patches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

import sidd
from noise_flow_tf.programs.configs import OFFLINE, Patches, TestFrames

_SPLITS = {"train": "tr", "test": "ts"}


def root(config: TestFrames) -> str:
    """Return the dataset's folder; write the offline dataset if it is needed and not there yet."""
    return str(config.sidd_path or sidd.write_synthetic(OFFLINE, exist_ok=True))


def frames(config: TestFrames, split: str) -> list[sidd.Frame]:
    """Return the frames of a split that the flags choose.

    Without --cam these are SIDD's cameras or, of a dataset that has none of them, all cameras.

    Raises:
        ValueError: there is none.
    """
    if config.sidd_path is None:
        _check_offline(config)  # before it is written
    folder = root(config)
    instances = sidd.index(folder)
    own = getattr(config, "pairs", None) is not None
    cameras = {instance.camera for instance in instances}
    others = sorted(cameras - {*sidd.CAMERAS})
    if others and config.cam is None:
        if len(others) == len(cameras):
            config = replace(config, cam=others)
        else:
            tqdm.write(f"left out: {split} frames of cameras {', '.join(others)}; --cam takes them")
    chosen = (split, _range(config, split), config.cam, config.iso, own)
    found = sidd.select_frames(instances, *chosen)
    if not found:
        why = sidd.why_none(instances, *chosen)
        raise ValueError(f"{folder} has no {split} frame left: {why}")
    if split == "test" and noise_label(config) == "simulated":
        tqdm.write(f"the noise of {folder} is simulated: scores on it say nothing of real cameras")
    if split == "train":
        for line in sidd.describe_split(instances, sorted({f.camera for f in found}), own):
            tqdm.write(line)
    return found


def _check_offline(config: TestFrames) -> None:
    """Raise a ValueError for --cam or --iso that the offline dataset lacks."""
    allowed = {"cam": ("camera", sidd.CAMERAS), "iso": ("ISO level", sidd.ISO_LEVELS)}
    for option, (what, values) in allowed.items():
        unknown = [value for value in getattr(config, option) or () if value not in values]
        if unknown:
            raise ValueError(
                f"--{option} {' '.join(map(str, unknown))}: the offline dataset has no such "
                f"{what}; it has {', '.join(map(str, values))}; --sidd_path names another dataset"
            )


def _range(config: TestFrames, split: str) -> tuple[int, int] | None:
    """Return the first and the end of the frames' numbers; None for `sidd.select_frames`' own."""
    short = _SPLITS[split]
    default = getattr(config, f"sidd_{'training' if split == 'train' else 'test'}_frames")
    given = [getattr(config, f"{bound}_{short}_im_idx") for bound in ("start", "end")]
    if given == [None, None]:
        own = config.cam is not None and not {*config.cam} & {*sidd.CAMERAS}
        return None if own or default == TestFrames.sidd_test_frames else default
    first, end = (d if g is None else g for d, g in zip(default, given, strict=True))
    return first, end


def patches(
    config: Patches,
    chosen: Sequence[sidd.Frame],
    cameras: Sequence[str],
    sampling: str = "uniform",
    **other: Any,
) -> sidd.Patches:
    """Return the patches of frames, with camera indices into `cameras`.

    `other` are arguments of `sidd.Patches` without a flag, or other values than the flags'.
    """
    options: dict[str, Any] = {
        "patch_size": config.patch_height,
        "sampling": sampling,
        "patches_per_image": config.n_patches_per_image,
        "cache": config.cache,
        "strict": config.strict,
        "seed": config.seed,
        "parallel_reads": config.n_train_threads,
        "cameras": cameras,
    }
    return sidd.Patches(chosen, **(options | other))


def left_out(config: TestFrames) -> list[str]:
    """Return which of the dataset's frames are neither for training nor for testing."""
    try:
        return sidd.describe_left_out(sidd.index(root(config)))
    except sidd.SiddError:  # the dataset has been removed meanwhile
        return []


def noise_label(config: TestFrames) -> str:
    """Return what figures and reports call the dataset's own noise: "real" or "simulated"."""
    folder = Path(root(config)).absolute()
    inside = folder.iterdir() if folder.is_dir() else ()
    places = (folder, *folder.parents[:2], *inside)  # as far off as `sidd.index` allows
    is_offline = any(sidd.read_manifest(place) is not None for place in places)
    return "simulated" if is_offline else "real"


def noise_label_of(file: Path) -> str:
    """Return "real" or "simulated" for the noise of one file of a dataset."""
    roots = file.resolve().parents[2:4]  # ROOT/Data/INSTANCE/FILE, and one folder deeper
    is_offline = any(sidd.read_manifest(root) is not None for root in roots)
    return "simulated" if is_offline else "real"


def title(config: TestFrames) -> str:
    """Return what a report calls the dataset."""
    name = str(config.sidd_path or f"the offline stand-in for SIDD in {OFFLINE}")
    return f"{name} (simulated noise)" if noise_label(config) == "simulated" else name
