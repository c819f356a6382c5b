"""One table of cameras: SIDD's five, and those that others add.

Makes and ISO levels are SIDD's, and colour filter patterns those of the real cameras. Colours and
sensors are what the offline dataset uses in place of the unknown real ones: made up, plausible for
a phone, of no real device.
"""

from dataclasses import dataclass
from fnmatch import fnmatch

from sidd.errors import SiddError

Matrix = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Sensor:
    """A made-up sensor: the NLF that METADATA states, and how the true noise differs from it.

    `sidd.offline.noise_physics` says what the numbers do.

    Attributes:
        shot, read: beta1 and beta2 at ISO 100.
        shot_factor, read_factor: true variance / stated variance of shot and of read noise.
        row: standard deviation of the row offsets / that of the read noise.
        crosstalk: leak to each neighbour in the same row, and in the same column.
    """

    shot: float
    read: float
    shot_factor: float
    read_factor: float
    row: float
    crosstalk: tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """A camera: a row of the table.

    Attributes:
        code: two to eight capitals and digits, in the names of scene-instance folders.
        make, model: METADATA's `Make` and `Model`; upper and lower case are the same.
        cfa: colour filter pattern of the upright image, a key of `CFA_PATTERNS`.
        color_matrix1, color_matrix2: XYZ to camera RGB by bulb light and by daylight (DNG).
        isos: ISO levels of its shots in SIDD, of those that Noise Flow models.
        sensor: of the offline dataset; None for a camera that the dataset does not imitate.
        also: other names of the model, such as those of other countries, with * for any text.
    """

    code: str
    make: str
    model: str
    cfa: str
    color_matrix1: Matrix
    color_matrix2: Matrix
    isos: tuple[int, ...] = ()
    sensor: Sensor | None = None
    also: tuple[str, ...] = ()

    def is_of(self, model: str) -> bool:
        """Return whether `model` names this camera; upper and lower case are the same."""
        return any(fnmatch(model.lower(), name.lower()) for name in (self.model, *self.also))


_SIDD = (
    Camera(
        "IP", "Apple", "iPhone 7", "RGGB",
        ((1.06, -0.42, -0.09), (-0.46, 1.38, 0.10), (-0.06, 0.19, 0.58)),
        ((0.86, -0.27, -0.09), (-0.42, 1.31, 0.13), (-0.08, 0.24, 0.56)),
        (100, 400, 800, 1600),
        Sensor(3.6e-4, 2.0e-6, 0.36, 0.50, 0.25, (0.17, 0.13)),
    ),
    Camera(
        "GP", "Google", "Pixel", "BGGR",
        ((0.98, -0.36, -0.05), (-0.52, 1.42, 0.09), (-0.09, 0.25, 0.55)),
        ((0.79, -0.21, -0.08), (-0.47, 1.36, 0.12), (-0.10, 0.28, 0.54)),
        (100, 400, 800, 1600, 3200),
        Sensor(2.6e-4, 2.4e-6, 2.40, 2.00, 0.20, (0.15, 0.12)),
    ),
    Camera(
        "S6", "samsung", "SM-G925I", "GRBG",
        ((1.02, -0.31, -0.14), (-0.49, 1.44, 0.06), (-0.11, 0.30, 0.53)),
        ((0.83, -0.24, -0.11), (-0.44, 1.38, 0.08), (-0.09, 0.26, 0.60)),
        (100, 400, 800, 1600, 3200),
        Sensor(5.2e-4, 1.6e-6, 0.34, 0.45, 0.30, (0.20, 0.15)),
        also=("SM-G925*",),
    ),
    Camera(
        "N6", "motorola", "Nexus 6", "BGGR",
        ((0.91, -0.28, -0.07), (-0.58, 1.47, 0.12), (-0.13, 0.31, 0.50)),
        ((0.74, -0.17, -0.06), (-0.51, 1.40, 0.12), (-0.11, 0.30, 0.52)),
        (100, 400, 800, 1600, 3200),
        Sensor(4.4e-4, 3.0e-6, 2.60, 2.20, 0.25, (0.16, 0.16)),
    ),
    Camera(
        "G4", "LGE", "G4", "BGGR",
        ((1.09, -0.45, -0.11), (-0.43, 1.35, 0.08), (-0.05, 0.20, 0.57)),
        ((0.89, -0.30, -0.10), (-0.40, 1.29, 0.12), (-0.07, 0.23, 0.59)),
        (100, 400, 800),
        Sensor(4.8e-4, 2.2e-6, 0.42, 0.60, 0.35, (0.18, 0.12)),
        also=("LG-H81*",),
    ),
)  # fmt: skip

_OTHERS: tuple[Camera, ...] = ()
"""Cameras that SIDD does not have. Add yours here: nothing else is needed to read its files."""

CAMERAS = tuple(camera.code for camera in _SIDD)
"""The codes of SIDD's cameras, in the order of their indices: iPhone 7, Pixel, Galaxy S6 Edge,
Nexus 6, LG G4."""

BY_CODE = {camera.code: camera for camera in (*_SIDD, *_OTHERS)}
"""Every camera of the table by its code."""


def identify(make: str, model: str = "") -> Camera:
    """Return the camera that a file's make and model name.

    That is the row with both. A file that names no model is of SIDD's camera of its make, as in the
    release, which reads the make only, or else of the only row of that make. Another model of the
    same maker is another camera.

    Raises:
        SiddError: if it is no camera of the table, or may be several.

    >>> identify("Samsung").code, identify("samsung", "SM-G925F").code
    ('S6', 'S6')
    """
    rows = [row for row in BY_CODE.values() if row.make.lower() == make.lower()]
    if model:
        candidates = [row for row in rows if row.is_of(model)]
    else:
        candidates = [row for row in rows if row.code in CAMERAS] or rows
    if len(candidates) == 1:
        return candidates[0]
    known = ", ".join(f"{row.make} {row.model} ({row.code})" for row in rows or BY_CODE.values())
    raise SiddError(
        f"unknown camera, Make {make!r}, Model {model!r}; known: {known}; give the camera's code "
        "(--camera)"
    )


def named_by(make: str, model: str) -> str:
    """Return the code of the camera that make and model name, "" if they name none for certain."""
    try:
        return identify(make, model).code
    except SiddError:
        return ""
