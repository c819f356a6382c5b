"""The dataset that a program works on: its frames and its patches."""

from collections.abc import Sequence

import sidd
from noise_flow_tf.programs.configs import OFFLINE, Patches, TestFrames

_SPLITS = {"train": "tr", "test": "ts"}


def root(config: TestFrames) -> str:
    """The dataset's folder; the offline dataset is written where there is none yet."""
    return str(config.sidd_path or sidd.write_synthetic(OFFLINE, exist_ok=True))


def frames(config: TestFrames, split: str) -> list[sidd.Frame]:
    """The frames of a split that the flags ask for.

    Raises:
        ValueError: there is none.
    """
    short = _SPLITS[split]
    first, end = (getattr(config, f"{bound}_{short}_im_idx") for bound in ("start", "end"))
    found = sidd.select_frames(
        sidd.index(root(config)), split, (first, end), config.cam, config.iso
    )
    if not found:
        raise ValueError(
            f"{root(config)} has no {split} frame left after choosing frames {first} to {end - 1}, "
            f"cameras {config.cam or 'all'} and ISO {config.iso or 'all'}"
        )
    return found


def patches(
    config: Patches,
    chosen: Sequence[sidd.Frame],
    cameras: Sequence[str],
    sampling: str = "uniform",
    **other,
) -> sidd.Patches:
    """The patches of frames, with cameras counted through the codes of a model.

    `other` are arguments of `sidd.Patches` that no flag says, or other values than the flags'.
    """
    asked = {
        "patch_size": config.patch_height,
        "sampling": sampling,
        "patches_per_image": config.n_patches_per_image,
        "cache": config.cache,
        "strict": config.strict,
        "seed": config.seed,
        "parallel_reads": config.n_train_threads,
        "cameras": cameras,
    }
    return sidd.Patches(chosen, **{**asked, **other})


def noise_label(config: TestFrames) -> str:
    """Return what figures and reports call the dataset's own noise: "real" or "simulated"."""
    return "real" if sidd.read_manifest(root(config)) is None else "simulated"


def told(config: TestFrames) -> str:
    """What a report calls the dataset."""
    name = str(config.sidd_path or f"the offline stand-in for SIDD in {OFFLINE}")
    return f"{name} (simulated noise)" if noise_label(config) == "simulated" else name
