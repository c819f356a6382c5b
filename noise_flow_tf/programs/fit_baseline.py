"""Fit baselines to the training frames of a dataset, and write them."""

from pathlib import Path
from typing import Any

import noise_flow_tf as nf
from noise_flow_tf.baselines.poisson_gaussian import NotQuantisedError
from noise_flow_tf.programs import dataset
from noise_flow_tf.programs.configs import FitBaselineConfig
from noise_flow_tf.saving.baselines import check_folder
from noise_flow_tf.saving.kinds import BASELINES
from sidd.progress import progress_bar
from sidd.wording import counted

_BATCH = 138


def run(config: FitBaselineConfig) -> dict[str, Any]:
    """Fit the baselines, write each to its folder in `config.out`, and return them by name.

    Raises:
        ValueError: a dataset or a folder that do not fit. Without `config.baseline`, one that needs
            levels is left out if the noise has none, with a message.
        OSError: a file that cannot be written.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    names = [name for name in BASELINES if name in (config.baseline or BASELINES)]
    for name in names:
        check_folder(out / name)
    frames = dataset.frames(config, "train")
    cameras = sorted({frame.camera for frame in frames}, key=_order)
    patches = dataset.patches(config, frames, cameras)
    batches = patches.batches(_BATCH, shuffle=False)
    print(
        f"{counted(patches.num_patches, 'training patch')} of {dataset.title(config)}; "
        f"{'camera' if len(cameras) == 1 else 'cameras'} {', '.join(cameras)}"
    )
    fitted = {}
    for name in names:
        bar = _Shown(batches, f"fitting {name}")
        try:
            model = BASELINES[name].model_class.fit(bar, cameras)
        except NotQuantisedError as error:
            if config.baseline:
                raise
            print(f"{BASELINES[name].title}: left out, as {error}")
            continue
        nf.save_baseline(model, out / name)
        size = counted(model.num_parameters, "parameter")
        print(f"{BASELINES[name].title}: {size}   {out / name}")
        fitted[name] = model
    return fitted


class _Shown:
    """Batches that show a progress bar each time they are read."""

    def __init__(self, batches: Any, text: str) -> None:
        self._batches, self._text = batches, text

    def __iter__(self) -> Any:
        return iter(progress_bar(self._batches, self._text, unit="batch", leave=False))


def _order(camera: str) -> tuple[int, str]:
    """Sort SIDD's cameras first, in their order."""
    return (nf.CAMERAS.index(camera) if camera in nf.CAMERAS else len(nf.CAMERAS)), camera
