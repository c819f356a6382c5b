"""Simulated bursts as arrays, for the tests of calibrations."""

import numpy as np

from sidd.raw.bursts import Burst
from sidd.raw.calibrating import calibrate, prepare
from sidd.raw.simulated import SimulatedSensor, expose, textured_scene

BRIGHTNESSES = (0.08, 0.3, 0.95)


def simulate(sensor, clean, frames=10, seed=0, name="burst", **other):
    levels = np.stack(list(expose(sensor, clean, frames, seed, **other)))
    return Burst.of_arrays(levels, sensor.black, sensor.white, name=name, iso=100)


def scenes(sensor, shape=(400, 600), frames=10, seed=0, **other):
    return [
        simulate(
            sensor, textured_scene(shape, seed + k) * np.float32(level), frames, seed + k,
            name=f"scene {k}", **other,
        )
        for k, level in enumerate(BRIGHTNESSES)
    ]  # fmt: skip


def prepared(bursts, min_frames=3, **other):
    return [prepare(lambda burst=burst: burst, min_frames, **other) for burst in bursts]


def calibrated(bursts, **other):
    return calibrate(prepared(bursts), "A7", 100, **other)


def errors(sensor, result):
    """Relative errors: the largest of slope and of offset over the channels, and of row noise."""
    one = result.calibration
    slope = np.abs(np.array(one.slope) / sensor.slope - 1).max()
    offset = np.abs(np.array(one.offset) / sensor.offset - 1).max()
    return float(slope), float(offset), abs(one.row / sensor.row - 1)


def sensor(**other):
    return SimulatedSensor(**other)
