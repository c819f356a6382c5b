"""What the tags of a raw file say of colours, noise, exposure and orientation."""

from typing import Any

import numpy as np

from sidd.bayer import cfa_name
from sidd.errors import SiddError
from sidd.raw.tags import Directory, ratio

# By their tags: matrix, its illuminant, and the camera calibration that goes with it.
_MATRICES = ((50721, 50778, 50723), (50722, 50779, 50724), (52531, 52529, 52530))
_ANALOG_BALANCE, _NEUTRAL, _WHITE_XY, _SIGNATURES = 50727, 50728, 50729, (50931, 50932)
_CFA_REPEAT, _CFA, _PLANES, _LAYOUT, _PROFILE = 33421, 33422, 50710, 50711, 51041
_ORIENTATION, _ISO, _EXPOSURE = 274, 34855, 33434
_D65 = 6504
_KELVIN = {
    1: 5500, 2: 4150, 3: 2850, 4: 5500, 9: 5500, 10: 6500, 11: 7500, 12: 6430, 13: 5000, 14: 4150,
    15: 3450, 16: 2950, 17: 2856, 18: 4874, 19: 6774, 20: 5503, 21: _D65, 22: 7504, 23: 5003,
    24: 3200,
}  # fmt: skip
"""Colour temperatures of EXIF's light sources."""


def cfa_pattern(raw: Directory) -> np.ndarray:
    """Return the CFA [2, 2] at the origin of the active area.

    Raises:
        SiddError: for other mosaics than Bayer's.
    """
    repeat, values = raw.numbers(_CFA_REPEAT), raw.numbers(_CFA)
    if repeat is None or values is None:
        raise SiddError("has no colour filter pattern (tags 33421 and 33422)")
    size = [int(value) for value in repeat[:2]]
    if size != [2, 2] or values.size != 4:
        raise SiddError(
            f"its colour filter pattern has {' x '.join(map(str, size))} pixels; only 2 x 2 Bayer "
            "patterns are supported, not X-Trans or others"
        )
    if (layout := raw.integer(_LAYOUT, 1)) != 1:
        raise SiddError(f"CFALayout {layout} is not rectangular; only Bayer patterns are supported")
    pattern = values.astype(int).reshape(2, 2)
    try:
        cfa_name(pattern)
    except ValueError as error:
        raise SiddError(str(error)) from None
    return pattern


def noise_profile(main: Directory, raw: Directory, cfa: np.ndarray) -> tuple[Any, tuple[str, ...]]:
    """Return NoiseProfile [2, 2, 2] (or None) of the places of the cell, and warnings.

    Raises:
        SiddError: for values that no sensor has.
    """
    found = [values for part in (raw, main) if (values := part.numbers(_PROFILE)) is not None]
    if not found:
        return None, ()
    values, warnings = found[0], []
    if len(found) > 1 and not np.array_equal(found[0], found[1]):
        warnings.append("its two NoiseProfiles differ; that of the raw image is used")
    planes = raw.numbers(_PLANES)
    planes = np.arange(3.0) if planes is None else planes
    if values.size not in (2, 2 * planes.size):
        warnings.append(
            f"its NoiseProfile is ignored: it has {values.size} values, not 2 or {2 * planes.size}"
        )
        return None, tuple(warnings)
    pairs = np.resize(values, (planes.size, 2))
    if not np.isfinite(pairs).all() or (pairs < 0).any() or (pairs[:, 0] > 1).any():
        raise SiddError(f"its NoiseProfile {values.tolist()} is not that of a sensor")
    if not pairs[:, 1].all():
        warnings.append("its NoiseProfile states no read noise (offset 0)")
    places = [np.flatnonzero(planes == colour) for colour in cfa.ravel()]
    if not all(place.size for place in places):
        raise SiddError(f"CFAPlaneColor {planes.tolist()} lacks a colour of the pattern")
    return pairs[[place[0] for place in places]].reshape(2, 2, 2), tuple(warnings)


def color_matrix(main: Directory) -> np.ndarray | None:
    """Return XYZ to camera RGB [3, 3] by the illuminant nearest to D65, None if there is none.

    AnalogBalance and, if its signature fits, CameraCalibration are multiplied in, as DNG says.

    Raises:
        SiddError: for a matrix that is not finite or has no inverse.
    """
    best, distance = None, np.inf
    for code, illuminant, calibration in _MATRICES:
        values = main.numbers(code)
        if values is None or values.size != 9 or not values.any():
            continue
        kelvin = _KELVIN.get(main.integer(illuminant, 0))
        apart = 1.0 if kelvin is None else abs(1 / kelvin - 1 / _D65)
        if apart <= distance:
            best, distance = (values.reshape(3, 3), calibration), apart
    if best is None:
        return None
    matrix, calibration = best
    individual = main.numbers(calibration)
    same = main.text(_SIGNATURES[0]) == main.text(_SIGNATURES[1])
    if same and individual is not None and individual.size == 9:
        matrix = individual.reshape(3, 3) @ matrix
    balance = main.numbers(_ANALOG_BALANCE)
    if balance is not None and balance.size == 3:
        matrix = balance[:, None] * matrix
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise SiddError(f"its ColorMatrix has no inverse: {matrix.ravel().tolist()}")
    return matrix


def as_shot_neutral(main: Directory, matrix: np.ndarray | None) -> np.ndarray:
    """Return AsShotNeutral [3], or that of AsShotWhiteXY, else ones.

    Raises:
        SiddError: for values that are not positive.
    """
    neutral, white = main.numbers(_NEUTRAL), main.numbers(_WHITE_XY)
    if neutral is None and white is not None and white.size == 2 and matrix is not None:
        x, y = white
        neutral = matrix @ [x, y, 1 - x - y]
        neutral = neutral / neutral.max()
    if neutral is None:
        return np.ones(3)
    if neutral.shape != (3,) or not np.isfinite(neutral).all() or not (neutral > 0).all():
        raise SiddError(f"AsShotNeutral is three positive numbers; got {neutral.tolist()}")
    return neutral


def orientation(main: Directory) -> int:
    """Return EXIF's orientation, 1 to 8; 1 if there is none."""
    value = main.integer(_ORIENTATION, 1) or 1
    if not 1 <= value <= 8:
        raise SiddError(f"its Orientation {value} does not exist; EXIF has 1 to 8")
    return value


def iso_and_exposure(main: Directory) -> tuple[int | None, float | None]:
    """Return ISO and the exposure in seconds, from EXIF or the directory itself; None if unknown.

    An ISO of 0 or of 65535, which stands for more, is unknown.
    """
    iso = _first(main.exif.get("ISOSpeedRatings")) or _first(main.numbers(_ISO))
    if iso in (None, 65535):
        names = ("RecommendedExposureIndex", "StandardOutputSensitivity", "ISOSpeed")
        iso = next((found for name in names if (found := _first(main.exif.get(name)))), None)
    seconds = main.exif.get("ExposureTime")
    exposure = _first(ratio(seconds)) if seconds is not None else _first(main.numbers(_EXPOSURE))
    return (int(iso) if iso else None), exposure


def _first(values: Any) -> float | None:
    """Return the first of some numbers, None if it is not positive and finite."""
    try:
        value = float(np.ravel(np.asarray(values, float))[0])
    except (TypeError, ValueError, IndexError):
        return None
    return value if np.isfinite(value) and value > 0 else None
