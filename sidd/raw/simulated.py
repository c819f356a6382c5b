"""Bursts of a made-up sensor, whose truth is known: to test a calibration, and to try the programs.

A frame is what `sidd.offline.noise_physics` describes without crosstalk, and more of what
calibrations meet: a fixed pattern, hot and blinking pixels, light that flickers, a camera that
moves, and a black level that is in the file or was taken off in the camera.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import shift as interpolate

from sidd.bayer import CFA_PATTERNS, cfa_plane
from sidd.cameras import BY_CODE
from sidd.offline.noise_physics import tukey_lambda
from sidd.raw.files import RawFile
from sidd.raw.writing import write_dng

_BAND = 256  # rows at once, so that a large frame takes little more memory than its own
_COLOURS = (0.55, 1.0, 0.7)


@dataclass(frozen=True, kw_only=True)
class SimulatedSensor:
    """A sensor; intensities are (level - black) / (white - black).

    Attributes:
        slope: of the variance of shot noise.
        read, row, column: standard deviations of read noise, of the rows' offsets and of the
            columns' offsets, which are new in each frame.
        tail: shape of read noise's Tukey-lambda distribution; None for a Gaussian.
        dsnu, prnu: standard deviations of the fixed offset and the fixed gain of the pixels.
        hot, blinking: parts of the pixels that have a large fixed offset, and that have one in some
            frames.
        black, white: levels.
        clips_at_black: whether the camera takes black off and clips at 0; `black` is 0 then.
        cfa: name of the colour filter pattern.
        seed: of the fixed pattern and the bad pixels.
    """

    slope: float = 4e-4
    read: float = 1.5e-3
    row: float = 4e-4
    column: float = 0.0
    tail: float | None = None
    dsnu: float = 0.0
    prnu: float = 0.0
    hot: float = 0.0
    blinking: float = 0.0
    black: int = 512
    white: int = 16383
    clips_at_black: bool = False
    cfa: str = "RGGB"
    seed: int = 0

    @property
    def offset(self) -> float:
        """The variance at intensity 0: read, row and column noise, and quantisation."""
        step = 1 / (self.white - self.black)
        return self.read**2 + self.row**2 + self.column**2 + step**2 / 12


def textured_scene(shape: tuple[int, int], seed: int = 0, cfa: str = "RGGB") -> np.ndarray:
    """Return the clean Bayer image, float32 [H, W] in (0, 1], of objects with edges and texture."""
    random = np.random.default_rng(seed)
    fields = [np.zeros(shape, np.float32), np.zeros(shape, np.float32)]
    for step in (256, 64, 16, 4):
        for field in fields:
            grid = random.standard_normal([-(-size // step) + 3 for size in shape])
            large = cv2.resize(grid.astype(np.float32), None, fx=step, fy=step,
                               interpolation=cv2.INTER_CUBIC)  # fmt: skip
            field += large[: shape[0], : shape[1]] * (step / 256) ** 0.4
    objects, texture = fields
    light = np.exp(0.6 * np.clip(texture, -3, 1.5)) * np.where(objects > 0, 1, 0.2)
    light = cv2.GaussianBlur(light.astype(np.float32), (0, 0), 0.8)  # the lens
    light /= light.max()
    return light * np.asarray(_COLOURS, np.float32)[cfa_plane(CFA_PATTERNS[cfa], shape)]


def expose(
    sensor: SimulatedSensor,
    clean: np.ndarray,
    frames: int,
    seed: int = 0,
    flicker: float = 0.0,
    shift: float = 0.0,
) -> Iterator[np.ndarray]:
    """Iterate over the frames of a burst, uint16 levels [H, W].

    Args:
        sensor: the sensor.
        clean: Bayer image [H, W], which may exceed 1, where frames are clipped; zeros for darks.
        frames: how many.
        seed: of the frames' noise.
        flicker: the light of each frame is in 1 +- `flicker`.
        shift: each frame lies up to so many pixels from its place, along either axis.
    """
    random = np.random.default_rng([seed, 1])
    fixed = np.random.default_rng([sensor.seed, 2])
    pattern = fixed.standard_normal(clean.shape, np.float32) * np.float32(sensor.dsnu)
    gains = 1 + fixed.standard_normal(clean.shape, np.float32) * np.float32(sensor.prnu)
    kind = fixed.random(clean.shape, np.float32)
    pattern += (kind < sensor.hot) * fixed.uniform(0.05, 0.5, clean.shape).astype(np.float32)
    blinking = np.argwhere(kind > 1 - sensor.blinking)
    heights = fixed.uniform(0.03, 0.2, len(blinking))
    for _ in range(frames):
        moved = clean
        if shift:
            planes = random.uniform(-shift, shift, 2)
            moved = _moved(clean, planes)
        light = 1 + random.uniform(-flicker, flicker)
        extra = pattern.copy()
        extra[tuple(blinking.T)] += heights * (random.random(len(blinking)) < 0.5)
        yield _shot(sensor, moved * gains * np.float32(light), extra, random)


def _moved(clean: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return a Bayer image moved by a part of a pixel, plane by plane."""
    moved = np.empty_like(clean)
    for row in (0, 1):
        for column in (0, 1):
            plane = clean[row::2, column::2]
            moved[row::2, column::2] = interpolate(plane, by / 2, order=3, mode="reflect")
    return np.maximum(moved, 0)


def _shot(
    sensor: SimulatedSensor, clean: np.ndarray, extra: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    scale = sensor.white - sensor.black
    columns = sensor.column * random.standard_normal(clean.shape[1])
    levels = np.empty(clean.shape, np.uint16)
    for top in range(0, len(clean), _BAND):
        rows = slice(top, top + _BAND)
        x = sensor.slope * random.poisson(clean[rows] / sensor.slope)
        if sensor.tail is None:
            x += sensor.read * random.standard_normal(x.shape)
        else:
            x += sensor.read * tukey_lambda(x.shape, random, sensor.tail)
        x += extra[rows] + columns
        x += sensor.row * random.standard_normal((len(x), 1))
        lowest = sensor.black if sensor.clips_at_black else 0
        levels[rows] = np.clip(np.rint(sensor.black + x * scale), lowest, sensor.white)
    return levels


def write_burst(
    folder: str | os.PathLike,
    sensor: SimulatedSensor,
    clean: np.ndarray,
    frames: int,
    seed: int = 0,
    flicker: float = 0.0,
    shift: float = 0.0,
    **tags: Any,
) -> Path:
    """Write a burst as DNG files and return its folder; one frame is in memory at a time.

    Args:
        folder: a new one.
        sensor: as of `expose`.
        clean: as of `expose`.
        frames: as of `expose`.
        seed: as of `expose`.
        flicker: as of `expose`.
        shift: as of `expose`.
        tags: attributes of the `RawFile`, such as `iso`, `exposure` or `noise_profile`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    like = RawFile(
        path=folder,
        levels=np.empty((0, 0), np.uint16),
        black=np.full((2, 2), float(sensor.black)),
        white=float(sensor.white),
        cfa=np.array(CFA_PATTERNS[sensor.cfa]),
        color_matrix=np.array(BY_CODE["G4"].color_matrix2),
        bits=int(sensor.white).bit_length(),
        **{
            "iso": 100, "exposure": 1 / 60, "make": "Simulated", "model": "Sensor",
            "noise_profile": None, "as_shot_neutral": np.array([0.55, 1, 0.7]), **tags,
        },
    )  # fmt: skip
    for number, levels in enumerate(expose(sensor, clean, frames, seed, flicker, shift)):
        write_dng(folder / f"frame_{number:03d}.dng", levels, like)
    return folder
