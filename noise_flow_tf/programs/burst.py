"""Bursts of raw files to pairs in SIDD's layout and a calibration of the camera."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from noise_flow_tf.programs import burst_report
from noise_flow_tf.programs.configs import BurstConfig, Shots
from noise_flow_tf.saving import files
from sidd.metadata import Metadata
from sidd.progress import progress_bar
from sidd.raw import calibrating
from sidd.raw.bursts import Burst, find_bursts, read_burst
from sidd.raw.calibrating import Prepared
from sidd.raw.calibration import Calibration, write_calibrations
from sidd.raw.darks import Darks, measure_darks
from sidd.raw.pairs import BurstPairs, Shares, write_pairs
from sidd.scenes import SceneName

_CODE = re.compile(r"[A-Z0-9]{2,8}")
_KEPT_BYTES = 400_000_000
_BRIGHTNESS = ((0.08, "L"), (0.3, "N"))
_DAYLIGHT = 5500


@dataclass(frozen=True)
class Written:
    """The pairs of one burst: name, how many, and what the masks did."""

    name: SceneName
    pairs: int
    shares: Shares


@dataclass(frozen=True)
class Result:
    """What `run` wrote.

    Attributes:
        pairs: a dataset in SIDD's layout.
        calibrations: by ISO.
        written: one per burst.
    """

    pairs: Path
    calibrations: dict[int, Calibration]
    written: tuple[Written, ...]


def run(config: BurstConfig, moves_to: Path | None = None) -> Result:
    """Calibrate the camera and write pairs, report and pictures; print where things are.

    Args:
        config: the settings.
        moves_to: where messages say that things are, for a caller who moves them there.

    Raises:
        ValueError: files or settings that do not fit; the message names them.
        OSError: a file that cannot be written.
    """
    out = Path(config.out)
    _check(config, out)
    by_iso = prepare(config)
    darks = read_darks(config, sorted(by_iso))
    flats = prepare_flats(config, sorted(by_iso))
    results = {}
    for iso, prepared in progress_bar(
        sorted(by_iso.items()), "calibrating", unit="ISO", leave=False
    ):
        results[iso] = calibrating.calibrate(
            prepared, config.camera, iso, darks.get(iso), flats.get(iso, ())
        )
    files.make_folders(out)
    with files.replacing(out / "Data") as data:
        data.mkdir()
        written = _write(config, data, results)
    calibrations = {iso: result.calibration for iso, result in results.items()}
    write_calibrations(out / "calibration.json", calibrations.values())
    burst_report.write(out, config, results, written, moves_to or out)
    return Result(out, calibrations, tuple(written))


def prepare(config: Shots) -> dict[int, list[Prepared]]:
    """Read the bursts, compare their frames, and return them by ISO.

    Raises:
        ValueError: for a burst that cannot be used, or bursts of different cameras.
    """
    return _prepared(config, _loaders(config, config.bursts), "bursts")


def prepare_flats(config: Shots, isos: Sequence[int]) -> dict[int, list[Prepared]]:
    """Return the flats by ISO, none if none are given."""
    if config.flats is None:
        return {}
    flats = _prepared(config, _loaders(config, [config.flats]), "flats")
    _check_isos("flats", flats, isos)
    return flats


def read_darks(config: Shots, isos: Sequence[int]) -> dict[int, Darks]:
    """Return what the darks of each ISO show, none if none are given."""
    if config.darks is None:
        return {}
    found: dict[int, Darks] = {}
    for load in progress_bar(_loaders(config, [config.darks]), "darks", unit="burst", leave=False):
        burst = load()
        if len(burst.levels) < max(config.min_frames, 2):
            raise ValueError(
                f"{burst.name}: {len(burst.levels)} darks, and at least {config.min_frames} are "
                "needed (--min_frames)"
            )
        iso = _iso(burst)
        if iso in found:
            raise ValueError(f"{burst.name}: second darks of ISO {iso}; give one burst per ISO")
        found[iso] = measure_darks(burst)
    _check_isos("darks", found, isos)
    return found


def _check(config: BurstConfig, out: Path) -> None:
    if not _CODE.fullmatch(config.camera):
        raise ValueError(
            f"--camera {config.camera}: a code has 2 to 8 capital letters and digits, such as A7"
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    if (out / "Data").exists() and not config.overwrite:
        raise ValueError(f"--out {out} has pairs already; give --overwrite, or another folder")


def _loaders(config: Shots, folders: Sequence[str]) -> list[Callable[[], Burst]]:
    """Return a reader of each burst, which keeps what it read if all is small enough."""
    found = find_bursts(folders)
    for path, _, note in found:
        if note:
            tqdm.write(f"{path}: {note}")
    size = sum(file.stat().st_size for _, paths, _ in found for file in paths)
    return [_Loader(config, path, paths, size < _KEPT_BYTES) for path, paths, _ in found]


class _Loader:
    def __init__(self, config: Shots, path: Path, paths: Sequence[Path], keep: bool) -> None:
        self._config, self._path, self._paths, self._keep = config, path, paths, keep
        self._kept: Burst | None = None

    def __call__(self) -> Burst:
        if self._kept is not None:
            return self._kept
        burst = read_burst(self._paths, str(self._path), self._config.iso, progress=True)
        if self._keep:
            self._kept = burst
        return burst


def _prepared(
    config: Shots, loaders: Sequence[Callable[[], Burst]], what: str
) -> dict[int, list[Prepared]]:
    by_iso: dict[int, list[Prepared]] = {}
    first: Prepared | None = None
    for load in progress_bar(loaders, what, unit="burst", leave=False):
        one = calibrating.prepare(load, config.min_frames, config.max_shift)
        first = first or one
        _check_same_camera(one.burst, first.burst)
        for note in one.burst.notes:
            tqdm.write(f"{one.burst.name}: {note}")
        by_iso.setdefault(_iso(one.burst), []).append(one)
    return by_iso


def _check_same_camera(burst: Burst, first: Burst) -> None:
    if burst.raw is None or first.raw is None:
        return
    ours, theirs = ((one.raw.make, one.raw.model) for one in (burst, first) if one.raw is not None)
    if ours != theirs:
        raise ValueError(
            f"{burst.name}: is of {' '.join(ours)}, but {first.name} of {' '.join(theirs)}; "
            "calibrate one camera at a time"
        )


def _check_isos(what: str, found: Mapping[int, object], isos: Sequence[int]) -> None:
    for iso in found:
        if iso not in isos:
            raise ValueError(
                f"the {what} are of ISO {iso}, the bursts of ISO {', '.join(map(str, isos))}; "
                "leave out those of another ISO"
            )


def _iso(burst: Burst) -> int:
    if burst.iso is None:
        raise ValueError(f"{burst.name}: its files do not state the ISO; give --iso")
    return burst.iso


def _write(
    config: BurstConfig, data: Path, results: Mapping[int, calibrating.Result]
) -> list[Written]:
    """Write the pairs of all bursts but those that are masked everywhere."""
    written = []
    todo = [(result, one) for result in results.values() for one in result.bursts]
    bar = progress_bar(todo, "writing pairs", unit="burst", leave=False)
    for number, (result, one) in enumerate(bar, start=1):
        burst = one.load()
        calibration = result.calibration
        pairs = BurstPairs.of(burst, one.gain, calibration.level, one.statistics, result.bad)
        if pairs.shares.patches_lost == 1:
            tqdm.write(f"{burst.name}: no pairs, as every patch has masked pixels")
            continue
        name = _name(number, config.camera, calibration.iso, one)
        metadata = replace(_metadata(burst, config.camera, calibration), unclipped=True)
        count = len(burst.levels)
        wanted = min(config.pairs_per_burst or count, count)
        chosen = np.linspace(0, count - 1, wanted).round().astype(int).tolist()
        for _ in write_pairs(data, name, pairs, metadata, chosen, config.seed + number):
            bar.set_postfix_str(one.burst.name, refresh=True)
        written.append(Written(name, len(chosen), pairs.shares))
    return written


def _name(number: int, camera: str, iso: int, one: Prepared) -> SceneName:
    letter = next((letter for limit, letter in _BRIGHTNESS if one.brightness < limit), "H")
    exposure = one.burst.exposure
    shutter = min(99999, round(1 / exposure)) if exposure else 0
    return SceneName(number, number, camera, iso, shutter, _DAYLIGHT, letter)


def _metadata(burst: Burst, camera: str, calibration: Calibration) -> Metadata:
    if burst.raw is not None:
        return burst.raw.metadata(camera, calibration.iso, calibration.nlf)
    neutral = np.eye(3)
    return Metadata(
        make="unknown", camera=camera, iso=calibration.iso, nlf=calibration.nlf,
        cfa_pattern=burst.cfa, as_shot_neutral=np.ones(3), color_matrix1=neutral,
        color_matrix2=neutral,
    )  # fmt: skip
