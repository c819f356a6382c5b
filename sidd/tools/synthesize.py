"""The command synthesize: writes the offline dataset, a stand-in for SIDD."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sidd.offline.synthetic import write_synthetic
from sidd.scenes import index


@dataclass(frozen=True)
class SynthesizeConfig:
    out: str | os.PathLike  #: a new folder, or one that holds this dataset already
    seed: int = 0


def run(config: SynthesizeConfig) -> int:
    """Writes :func:`sidd.write_synthetic`'s dataset unless it is there already; gives 0.

    Raises SiddError where the folder holds anything else.
    """
    root = write_synthetic(config.out, config.seed, exist_ok=True)
    instances = index(root)
    frames = sum(len(instance.frames) for instance in instances)
    print(f"{root}: {len(instances)} scene instances, {frames} frames, seed {config.seed}")
    return 0
