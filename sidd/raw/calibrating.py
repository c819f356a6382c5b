"""From bursts, darks and flats at one ISO to a calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidd.errors import SiddError
from sidd.raw import alignment, masks, remarks
from sidd.raw.alignment import MAX_GAIN, Shifts
from sidd.raw.bursts import Burst
from sidd.raw.calibration import Calibration, NoiseLevel, in_channels
from sidd.raw.darks import Darks
from sidd.raw.fitting import Source, Transfer, fit
from sidd.raw.statistics import Statistics, line_noise, measure

MAX_SHIFT = 0.2
"""Frames that moved by more pixels are refused: 0.1 px adds about 0.3% of noise, 0.3 px 3%."""

MAP_BLOCK = 8
"""Side in pixels of the blocks of `Result.maps`."""

_LONGER = 4.0
_BANDING = 0.3


@dataclass(frozen=True, eq=False)
class Prepared:
    """A burst whose frames have been compared.

    Attributes:
        load: reads the burst, with the frames that are left.
        burst: the same without its levels.
        gain: [N, 2, 2], brightness of the frames.
        shifts: of the frames.
        statistics: of all pixels.
        shares: part of the pixels that is masked, by reason.
        brightness: mean intensity.
    """

    load: Callable[[], Burst]
    burst: Burst
    gain: np.ndarray
    shifts: Shifts
    statistics: Statistics
    brightness: float
    shares: dict[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A calibration and what it was made of, for reports and pictures.

    Attributes:
        calibration, transfer: the numbers, and the bins and lines that they are from.
        bursts, flats: with the shares of their masks.
        darks: if there are any.
        bad: bool [H, W], the darks' hot and blinking pixels, which are masked in all bursts; None
            if there are no darks that compare with the bursts.
        statistics: of the bursts and the flats, of the pixels that count.
        maps: of the same, [h, w] by block of `MAP_BLOCK` pixels: 0 if no pixel is left out, else 1
            hot or blinking, 2 clipped, 3 moving, whichever is highest.
    """

    calibration: Calibration
    transfer: Transfer
    bursts: tuple[Prepared, ...]
    flats: tuple[Prepared, ...]
    darks: Darks | None
    bad: np.ndarray | None
    statistics: tuple[Statistics, ...]
    maps: tuple[np.ndarray, ...]


def prepare(
    load: Callable[[], Burst], min_frames: int = 5, max_shift: float = MAX_SHIFT
) -> Prepared:
    """Compare the frames of a burst, and leave out those that moved.

    Raises:
        SiddError: if fewer than `min_frames` are left, or a frame is brighter or darker by more
            than a tenth.
    """
    whole = load()
    _check_count(whole, min_frames, "")
    gain = alignment.gains(whole)
    typical = np.median(gain, axis=0)
    for number, file in enumerate(whole.files):
        ratio = float((gain[number] / typical).mean())
        if abs(ratio - 1) > MAX_GAIN and alignment.is_bright(whole):
            raise SiddError(
                f"{whole.name}: {file} is {ratio:.2f} times as bright as the others; the frames of "
                "a burst have one exposure and steady light"
            )
    shifts = alignment.shifts(whole, gain)
    moved = shifts.beyond(max_shift)
    if not len(moved):
        return _prepared(load, whole, gain, shifts)
    far = ", ".join(f"{whole.files[n]} by {shifts.lengths[n]:.2f}" for n in moved)
    note = f"frames left out because they moved by more than {max_shift:g} pixels: {far}"

    def rest() -> Burst:
        return load().without(moved, note)

    burst = rest()
    _check_count(burst, min_frames, f"; {note}")
    gain = alignment.gains(burst)
    return _prepared(rest, burst, gain, alignment.shifts(burst, gain))


def _prepared(
    load: Callable[[], Burst], burst: Burst, gain: np.ndarray, shifts: Shifts
) -> Prepared:
    statistics = measure(burst, gain)
    brightness = float(statistics.mean.mean())
    return Prepared(load, burst.emptied(), gain, shifts, statistics, brightness)


def _check_count(burst: Burst, min_frames: int, note: str) -> None:
    count, needed = len(burst.levels), max(min_frames, 2)
    if count < needed:
        raise SiddError(
            f"{burst.name}: {count} frame{'s' * (count != 1)}, and at least {needed} are needed "
            f"(--min_frames){note}"
        )


def calibrate(
    prepared: Sequence[Prepared],
    camera: str,
    iso: int,
    darks: Darks | None = None,
    flats: Sequence[Prepared] = (),
) -> Result:
    """Calibrate a camera at one ISO.

    Args:
        prepared: bursts of scenes.
        camera: its code.
        iso: of all bursts.
        darks: of the same ISO.
        flats: bursts of an evenly lit surface, which join the photon transfer and give the PRNU.

    Raises:
        SiddError: if what can be used of the bursts is too little, or darks are of another size.
    """
    sources = [*prepared, *flats]
    notes = [f"{one.burst.name}: {note}" for one in sources for note in one.burst.notes]
    in_fit = darks if darks is not None and _comparable(darks, sources, notes) else None
    bad = None if in_fit is None else in_fit.bad
    rough = _fit(prepared, flats, in_fit)
    refined, masked, prnus, maps = [], [], [], []
    for number, one in enumerate(sources):
        burst = one.load()
        if bad is not None:
            _check_size(burst, bad)
        found = masks.find(burst, one.gain, rough.level, one.statistics, bad)
        statistics = measure(burst, one.gain, rough.level, found.any)
        refined.append(replace(one, statistics=statistics))
        masked.append(replace(one, shares=found.shares()))
        maps.append(_map(found))
        if number >= len(prepared):
            prnus.append(_prnu(burst, found, rough.level, darks.dsnu if darks else 0.0))
    transfer = _fit(refined[: len(prepared)], refined[len(prepared) :], in_fit)
    lines = {}
    for kind in ("rows", "columns"):
        source = [darks.statistics] if darks else [one.statistics for one in refined]
        lines[kind] = line_noise([(one.frames, getattr(one, kind)) for one in source])
    row, row_error, correlation = lines["rows"]
    column, column_error, _ = lines["columns"]
    if correlation > _BANDING and row > 4 * row_error:
        notes.append(
            f"neighbouring rows have similar offsets (correlation {correlation:.2f}): light that "
            "flickers within a frame, or a moving camera, seems to be in the row noise"
        )
    profile = _profile(sources)
    fitted = [point for points in transfer.points for point in points.intensity]
    calibration = Calibration(
        camera=camera,
        iso=iso,
        slope=_four([line.slope for line in transfer.lines]),
        offset=_four([line.offset for line in transfer.lines]),
        slope_error=_four([line.slope_error for line in transfer.lines]),
        offset_error=_four([line.offset_error for line in transfer.lines]),
        lowest=float(min(fitted)),
        highest=float(max(fitted)),
        bursts=len(sources),
        frames=sum(len(one.gain) for one in sources),
        row=_known(row), row_error=_known(row_error),
        column=_known(column), column_error=_known(column_error),
        row_source="darks" if darks else "bursts",
        noise_profile=profile,
        black=darks.black if darks else None,
        read=darks.read if darks else None,
        kurtosis=darks.kurtosis if darks else None,
        tukey_lambda=darks.tukey_lambda(row if row == row else 0.0) if darks else None,
        dsnu=darks.dsnu if darks else None,
        prnu=float(np.sqrt(np.mean(np.square(prnus)))) if prnus else None,
    )  # fmt: skip
    notes += remarks.on(calibration, sources, transfer, darks)
    return Result(
        replace(calibration, notes=tuple(notes)),
        transfer,
        tuple(masked[: len(prepared)]),
        tuple(masked[len(prepared) :]),
        darks,
        bad,
        tuple(one.statistics for one in refined),
        tuple(maps),
    )


def _fit(bursts: Sequence[Prepared], flats: Sequence[Prepared], darks: Darks | None) -> Transfer:
    sources = [
        Source(one.burst, one.statistics, one.shifts.wobble, is_even)
        for group, is_even in ((bursts, False), (flats, True))
        for one in group
    ]
    if darks is not None:
        sources.append(Source(darks.burst, darks.statistics, 0.0, True))
    return fit(sources)


def _comparable(darks: Darks, sources: Sequence[Prepared], notes: list[str]) -> bool:
    """Return whether darks are as long as the bursts, so that the fit may use them."""
    longest = max((one.burst.exposure or 0 for one in sources), default=0)
    exposure = darks.burst.exposure
    if exposure and longest and exposure > _LONGER * longest:
        notes.append(
            f"the darks were exposed for {exposure:g} s, the bursts for at most {longest:g} s; the "
            "fit does not use them, as dark current may add noise"
        )
        return False
    return True


def _check_size(burst: Burst, bad: np.ndarray) -> None:
    if burst.shape != bad.shape:
        ours, theirs = (f"{shape[1]} x {shape[0]} pixels" for shape in (burst.shape, bad.shape))
        raise SiddError(
            f"{burst.name}: has {ours}, but the darks have {theirs}; shoot both at the same size"
        )


def _prnu(burst: Burst, found: masks.Masks, level: NoiseLevel, dsnu: float) -> float:
    """Return the relative standard deviation of the pixels' gains in a flat field."""
    squares = []
    for row, column in np.ndindex(2, 2):
        mean = found.mean[row::2, column::2].astype(float)
        good = ~found.any[row::2, column::2]
        pairs = good[:, 1:] & good[:, :-1]
        if not pairs.any():
            continue
        own = np.mean((mean[:, 1:] - mean[:, :-1])[pairs] ** 2) / 2
        x = mean[good].mean()
        noise = (level.slope[row, column] * x + level.offset[row, column]) / len(burst.levels)
        squares.append((own - noise - dsnu**2) / x**2)
    return float(np.sqrt(max(np.mean(squares), 0))) if squares else 0.0


def _profile(sources: Sequence[Prepared]) -> tuple[tuple[float, float], ...] | None:
    """Return the files' NoiseProfile per channel."""
    for one in sources:
        if one.burst.raw is not None and one.burst.raw.noise_profile is not None:
            stated = one.burst.raw.noise_profile
            return tuple(zip(in_channels(stated[..., 0]), in_channels(stated[..., 1]), strict=True))
    return None


def _map(found: masks.Masks) -> np.ndarray:
    """Return by block of the image why pixels are left out, as in `Result`."""
    side = MAP_BLOCK
    height, width = (size // side * side for size in found.mean.shape)
    kinds = np.zeros((height // side, width // side), np.uint8)
    for number, mask in ((1, found.hot | found.blinking), (2, found.clipped), (3, found.moving)):
        part = mask[:height, :width].reshape(height // side, side, width // side, side)
        kinds[part.any((1, 3))] = number
    return kinds


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    first, second, third, fourth = map(float, values)
    return first, second, third, fourth


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
