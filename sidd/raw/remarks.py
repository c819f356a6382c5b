"""What looks wrong in a calibration, in sentences that say what to do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sidd.raw.calibration import Calibration, in_channels
from sidd.raw.darks import Darks
from sidd.raw.fitting import Transfer

if TYPE_CHECKING:
    from sidd.raw.calibrating import Prepared

DISAGREEMENT = 0.2
"""A NoiseProfile that differs from the fit by more is remarked on."""


def on(
    calibration: Calibration, sources: Sequence["Prepared"], transfer: Transfer, darks: Darks | None
) -> list[str]:
    """Return sentences on what looks wrong."""
    notes = []
    slope, offset = np.array(calibration.slope), np.array(calibration.offset)
    if np.any(np.array(calibration.slope_error) > 0.05 * slope):
        notes.append(
            "the slope is poorly known; shoot scenes of three brightnesses, or more or larger "
            "frames"
        )
    if np.any(np.array(calibration.offset_error) > 0.25 * offset):
        notes.append(
            "the offset is poorly known; shoot a darker scene, or darks with the lens cap on"
        )
    if calibration.noise_profile is not None:
        stated = np.array(calibration.noise_profile)
        middle = 0.5 * (calibration.lowest + calibration.highest)
        for what, ours, theirs in (
            ("slope", slope, stated[:, 0]),
            ("offset", offset, stated[:, 1]),
            (f"variance at {middle:.2f}", slope * middle + offset, stated @ [middle, 1]),
        ):
            ratio = float(np.mean(theirs) / np.mean(ours))
            if abs(ratio - 1) > DISAGREEMENT:
                notes.append(
                    f"the file's NoiseProfile disagrees: its {what} is {np.mean(theirs):.3g}, "
                    f"{ratio:.2f} times the measured {np.mean(ours):.3g}; the measured one is used"
                )
    for one, used in zip(sources, transfer.used, strict=False):
        if used < 0.5:
            notes.append(
                f"{one.burst.name}: {100 * (1 - used):.0f}% of it is left out of the fit, as it is "
                "clipped, moved, or has edges that the camera's movement blurs"
            )
    if any((one.burst.lowest > -1e-9).all() for one in sources):
        notes.append(
            "the files have no black level and clip at 0: the camera takes black off itself; "
            "intensities within 4 standard deviations of 0 are left out of the fit"
        )
    if darks is not None:
        difference = np.array(darks.black) - in_channels(darks.burst.black)
        deviation = float(np.mean(darks.read) * darks.burst.scale.mean())
        if np.abs(difference).max() > max(1.0, 0.1 * deviation):
            levels = ", ".join(f"{level:+.2f}" for level in difference)
            notes.append(
                f"the darks are {levels} levels from the files' black level, by channel; the "
                "files' is used, as it is for all images"
            )
        ratio = float(np.mean(np.square(darks.read)) / offset.mean())
        if abs(ratio - 1) > DISAGREEMENT:
            notes.append(
                f"the darks' variance is {ratio:.2f} times the offset of the fit; exposure, ISO or "
                "temperature may differ"
            )
    return notes
