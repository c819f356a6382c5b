"""The command synthesize: write the offline dataset, a stand-in for SIDD."""

import os
from dataclasses import dataclass

from sidd.offline.synthetic import write_synthetic
from sidd.scenes import index
from sidd.wording import counted


@dataclass(frozen=True)
class SynthesizeConfig:
    """Settings of `synthesize`: `out` is a new folder, or one that has this dataset already."""

    out: str | os.PathLike
    seed: int = 0


def run(config: SynthesizeConfig) -> int:
    """Write the dataset of `sidd.write_synthetic` unless it is there already; return 0."""
    root = write_synthetic(config.out, config.seed, exist_ok=True)
    instances = index(root)
    frames = sum(len(instance.frames) for instance in instances)
    found = f"{counted(len(instances), 'scene instance')}, {counted(frames, 'frame')}"
    print(f"{root}: {found}, seed {config.seed}")
    return 0
