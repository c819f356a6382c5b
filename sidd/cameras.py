"""SIDD's cameras: one table, a row each.

Codes, makers, models and ISO levels are those of SIDD, and the colour filter patterns are the real
cameras'. Colours and sensors are what the offline dataset uses in place of the unknown real ones:
made up, plausible for a phone, of no real device.
"""

from __future__ import annotations

from dataclasses import dataclass

Matrix = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Sensor:
    """A camera's NLF, which METADATA states, and how its true noise differs.

    What the numbers do is told in :mod:`sidd.offline.noise_physics`.
    """

    shot: float  #: beta1 at ISO 100
    read: float  #: beta2 at ISO 100
    shot_factor: float  #: true shot noise variance / stated
    read_factor: float  #: true read noise variance / stated
    row: float  #: standard deviation of the row offsets / that of the read noise
    crosstalk: tuple[float, float]  #: leak to each neighbour in the same row, in the same column


@dataclass(frozen=True)
class Camera:
    code: str  #: in the names of SIDD's folders
    make: str  #: as METADATA names it
    model: str
    isos: tuple[int, ...]  #: ISO levels that it was used at, of those that Noise Flow models
    cfa: str  #: colour filter pattern of the upright image, a key of CFA_PATTERNS
    color_matrix1: Matrix  #: XYZ to camera RGB for the light of a bulb (DNG specification)
    color_matrix2: Matrix  #: and for daylight
    sensor: Sensor


#: Every camera by its code, in the order of their indices.
BY_CODE = {
    camera.code: camera
    for camera in (
        Camera(
            "IP", "Apple", "iPhone 7", (100, 400, 800, 1600), "RGGB",
            ((1.06, -0.42, -0.09), (-0.46, 1.38, 0.10), (-0.06, 0.19, 0.58)),
            ((0.86, -0.27, -0.09), (-0.42, 1.31, 0.13), (-0.08, 0.24, 0.56)),
            Sensor(3.6e-4, 2.0e-6, 0.36, 0.50, 0.25, (0.17, 0.13)),
        ),
        Camera(
            "GP", "Google", "Pixel", (100, 400, 800, 1600, 3200), "BGGR",
            ((0.98, -0.36, -0.05), (-0.52, 1.42, 0.09), (-0.09, 0.25, 0.55)),
            ((0.79, -0.21, -0.08), (-0.47, 1.36, 0.12), (-0.10, 0.28, 0.54)),
            Sensor(2.6e-4, 2.4e-6, 2.40, 2.00, 0.20, (0.15, 0.12)),
        ),
        Camera(
            "S6", "samsung", "Galaxy S6 Edge", (100, 400, 800, 1600, 3200), "GRBG",
            ((1.02, -0.31, -0.14), (-0.49, 1.44, 0.06), (-0.11, 0.30, 0.53)),
            ((0.83, -0.24, -0.11), (-0.44, 1.38, 0.08), (-0.09, 0.26, 0.60)),
            Sensor(5.2e-4, 1.6e-6, 0.34, 0.45, 0.30, (0.20, 0.15)),
        ),
        Camera(
            "N6", "motorola", "Nexus 6", (100, 400, 800, 1600, 3200), "BGGR",
            ((0.91, -0.28, -0.07), (-0.58, 1.47, 0.12), (-0.13, 0.31, 0.50)),
            ((0.74, -0.17, -0.06), (-0.51, 1.40, 0.12), (-0.11, 0.30, 0.52)),
            Sensor(4.4e-4, 3.0e-6, 2.60, 2.20, 0.25, (0.16, 0.16)),
        ),
        Camera(
            "G4", "LGE", "G4", (100, 400, 800), "BGGR",
            ((1.09, -0.45, -0.11), (-0.43, 1.35, 0.08), (-0.05, 0.20, 0.57)),
            ((0.89, -0.30, -0.10), (-0.40, 1.29, 0.12), (-0.07, 0.23, 0.59)),
            Sensor(4.8e-4, 2.2e-6, 0.42, 0.60, 0.35, (0.18, 0.12)),
        ),
    )
}  # fmt: skip

#: The cameras' codes, in the order of their indices.
CAMERAS = tuple(BY_CODE)
