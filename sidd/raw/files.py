"""A raw file: its levels, and what its tags say of them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidd.bayer import cfa_plane
from sidd.errors import SiddError
from sidd.metadata import Metadata
from sidd.rendering import SRGB_TO_XYZ


@dataclass(frozen=True, eq=False)
class RawFile:
    """A Bayer image as the sensor gave it, and its tags.

    All arrays lie on the sensor image, to which `orientation` is not applied.

    Attributes:
        path: the file; in messages only.
        levels: uint16 [H, W], the visible area, linear; an odd last row or column is cropped.
        black: [2, 2], black level of each place of the 2x2 cell.
        white: saturation level, black included.
        cfa: [2, 2] with 0 R, 1 G, 2 B.
        iso: None if unknown.
        exposure: seconds; None if unknown.
        make, model: "" if unknown.
        noise_profile: [2, 2, 2], (S, O) of each place of the cell; variance = S x + O of an
            intensity x in [0, 1]; None if the file has none.
        as_shot_neutral: [3], the camera RGB of a white object; ones if unknown.
        color_matrix: [3, 3], XYZ to camera RGB by the illuminant nearest to D65, with DNG's
            AnalogBalance and CameraCalibration; None if unknown.
        orientation: EXIF's, 1 to 8: how to turn the image for viewing.
        bits: bits of a stored sample.
        warnings: what makes the file less than ideal, one sentence each.
        limits: the levels of the smallest and of the largest sample that the file can store.
        noise_reduction: how much of it was applied, 0 to 1; None if unknown.
    """

    path: Path
    levels: np.ndarray
    black: np.ndarray
    white: float
    cfa: np.ndarray
    iso: int | None
    exposure: float | None
    make: str
    model: str
    noise_profile: np.ndarray | None
    as_shot_neutral: np.ndarray
    color_matrix: np.ndarray | None
    orientation: int = 1
    bits: int = 16
    warnings: tuple[str, ...] = ()
    limits: tuple[int, int] = (0, 65535)
    noise_reduction: float | None = None

    def image(self) -> np.ndarray:
        """Return (levels - black) / (white - black), float32 [H, W], not clipped."""
        black = self.black.astype(np.float32)
        scale = (1 / (self.white - self.black)).astype(np.float32)
        image = self.levels.astype(np.float32)
        for row, column in np.ndindex(2, 2):
            place = image[row::2, column::2]
            place -= black[row, column]
            place *= scale[row, column]
        return image

    def clipped(self) -> np.ndarray:
        """Return which pixels the camera clipped, bool [H, W]: at 0 or at white."""
        low, high = self.limits
        return (self.levels <= low) | (self.levels >= min(self.white, high))

    def metadata(
        self, camera: str, iso: int | None = None, nlf: tuple[float, float] | None = None
    ) -> Metadata:
        """Return what rendering and METADATA files need.

        Args:
            camera: its code.
            iso: by default the file's.
            nlf: (beta1, beta2); by default the mean of `noise_profile`, NaN if there is none.

        Returns:
            Metadata whose neutral is scaled to 1 if it exceeds 1, and whose color matrices are
            `color_matrix` scaled so that D65 is (1, 1, 1), as rendering divides by the neutral
            first. Without a color matrix, camera RGB is sRGB.

        Raises:
            SiddError: if neither the file nor `iso` states the ISO.
        """
        iso = self.iso if iso is None else iso
        if iso is None:
            raise SiddError(f"{self.path}: has no ISO in its tags; give it")
        if nlf is None and self.noise_profile is not None:
            nlf = (
                float(self.noise_profile[..., 0].mean()),
                float(self.noise_profile[..., 1].mean()),
            )
        matrix = np.linalg.inv(SRGB_TO_XYZ) if self.color_matrix is None else self.color_matrix
        matrix = matrix / (matrix @ SRGB_TO_XYZ.sum(axis=1))[:, None]
        return Metadata(
            make=self.make,
            camera=camera,
            iso=iso,
            nlf=nlf or (math.nan, math.nan),
            cfa_pattern=self.cfa,
            as_shot_neutral=self.as_shot_neutral / max(1.0, self.as_shot_neutral.max()),
            color_matrix1=matrix,
            color_matrix2=matrix,
            model=self.model,
        )


def profile_of_colours(profile: np.ndarray, cfa: np.ndarray) -> np.ndarray:
    """Return a noise profile [2, 2, 2] of places as [3, 2] of colours R, G, B."""
    plane = cfa_plane(cfa, (2, 2))
    return np.stack([profile[plane == colour].mean(axis=0) for colour in range(3)])
