"""Which frames to train and to test on.

The split of SIDD's cameras is that of Noise Flow (Abdelhamed, Brubaker and Brown, ICCV 2019). That
of other cameras needs no list: every third of their scenes is for testing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sidd.cameras import BY_CODE, CAMERAS
from sidd.scenes import ISO_LEVELS, TEST_INSTANCES, TRAIN_INSTANCES, Frame, SceneInstance
from sidd.wording import counted

FRAMES = (10, 12)
"""The release's frames of each scene instance, the end exclusive."""

_INSTANCES = {"train": frozenset(TRAIN_INSTANCES), "test": frozenset(TEST_INSTANCES)}
_FIRST, _EVERY = 1, 3
_MOST_LISTED = 12
_UNITS: tuple[tuple[str, Callable[[Frame], int]], ...] = (
    ("scene", lambda frame: frame.scene),
    ("instance", lambda frame: frame.instance),
    ("frame", lambda frame: frame.number),
)


class _Filter(NamedTuple):
    """One condition on frames: what it is called, what it asks for, and what a frame has."""

    name: str
    wanted: str
    keeps: Callable[[Frame], bool]
    value: Callable[[Frame], object]


def select_frames(
    instances: Iterable[SceneInstance],
    split: str | None = None,
    frame_range: tuple[int, int] | None = None,
    cameras: Sequence[str] | None = None,
    isos: Sequence[int] | None = None,
    own: bool = False,
) -> list[Frame]:
    """Return the frames to train or test on, in the order of the instances.

    Args:
        instances: from `index`.
        split: "train" or "test"; None for all. For SIDD's cameras these are the release's
            instances. For other cameras, at each ISO level, every third scene from the second one
            on is for testing; if there is one scene only, every third instance of it, and if there
            is one instance only, every third frame of it (`describe_split`).
        frame_range: (first, end), end exclusive; None for the release's frames 10 and 11 of SIDD's
            cameras, and for all frames of others.
        cameras: codes in the folders' names; None for SIDD's. Others may be of `sidd.cameras`, or
            of `instances`.
        isos: as in the folders' names; None for all of `ISO_LEVELS`, and for all ISO levels of
            cameras that SIDD does not have. SIDD also has shots at ISO 50 to 10000, which Noise
            Flow does not model.
        own: whether the scenes are no scenes of SIDD, also those of its cameras.

    Raises:
        ValueError: for an unknown split, camera or ISO.
    """
    instances = list(instances)
    frames = [frame for instance in instances for frame in instance.frames]
    for one in _filters(instances, split, frame_range, cameras, isos, own):
        frames = list(filter(one.keeps, frames))
    return frames


def why_none(
    instances: Iterable[SceneInstance],
    split: str | None = None,
    frame_range: tuple[int, int] | None = None,
    cameras: Sequence[str] | None = None,
    isos: Sequence[int] | None = None,
    own: bool = False,
) -> str:
    """Say which condition of `select_frames` leaves no frame and what there is; else return ""."""
    instances = list(instances)
    frames = [frame for instance in instances for frame in instance.frames]
    if not frames:
        return "no frame has all three files, NOISY, GT and METADATA"
    for one in _filters(instances, split, frame_range, cameras, isos, own):
        kept = list(filter(one.keeps, frames))
        if not kept:
            counts = Counter(map(one.value, frames))
            there = ", ".join(
                f"{v} ({counted(n, 'frame')})" for v, n in sorted(counts.items(), key=str)
            )
            return f"none is of {one.name} {one.wanted}; there are {there}"
        frames = kept
    return ""


def describe_split(
    instances: Iterable[SceneInstance], cameras: Sequence[str], own: bool = False
) -> list[str]:
    """Return a line for each camera that SIDD does not have and its ISO levels: what is tested on.

    >>> describe_split([], ["S6"])
    []
    """
    lines = []
    for (camera, iso), (unit, keys) in _units(_others(instances, own)).items():
        if camera in cameras:
            listed = ", ".join(map(str, keys[_FIRST::_EVERY])) or "none"
            only = "" if unit == "scene" else " (there is only one scene)"
            lines.append(
                f"{camera}, ISO {iso}: {counted(len(keys), unit)}{only}, for testing: {listed}"
            )
    return lines


def describe_left_out(instances: Iterable[SceneInstance]) -> list[str]:
    """Return a line for each condition of `select_frames` that frames do not meet by default.

    Such frames are neither for training nor for testing.
    """
    instances = list(instances)
    frames = [frame for instance in instances for frame in instance.frames]
    *filters, split = _filters(instances, "train", None, None, None, False)
    listed = _Filter(
        "an instance", "", lambda f: split.value(f) != "neither", lambda f: f"{f.instance:04d}"
    )
    lines = []
    for one in (*filters, listed):
        counts: Counter[Any] = Counter(one.value(f) for f in frames if not one.keeps(f))
        frames = list(filter(one.keeps, frames))
        if counts:
            values = sorted(counts)
            which = ", ".join(map(str, values))
            if len(values) > _MOST_LISTED:
                which = f"{values[0]} to {values[-1]}"
            name = "instances in neither list:" if one is listed else one.name
            lines.append(f"{counted(counts.total(), 'frame')} of {name} {which}")
    return lines


def _filters(
    instances: Sequence[SceneInstance],
    split: str | None,
    frame_range: tuple[int, int] | None,
    cameras: Sequence[str] | None,
    isos: Sequence[int] | None,
    own: bool,
) -> list[_Filter]:
    if split is not None and split not in _INSTANCES:
        raise ValueError(f"unknown split {split!r}; allowed: train, test, None for all")
    if frame_range is not None and not 0 <= frame_range[0] < frame_range[1]:
        raise ValueError(f"frame_range is (first, end), end exclusive; got {tuple(frame_range)}")
    others = _others(instances, own)
    own_cameras = {instance.camera for instance in others}
    codes = sorted(own_cameras - set(BY_CODE))
    of_camera = _allowed("camera", cameras, CAMERAS, (*BY_CODE, *codes))
    levels = tuple(sorted({instance.iso for instance in others}.union(ISO_LEVELS)))
    of_iso = _allowed("ISO", isos, ISO_LEVELS, levels)
    parts = _own_parts(others) if split else {}

    def in_range(frame: Frame) -> bool:
        first, end = frame_range or FRAMES
        return (frame_range is None and frame.camera in own_cameras) or first <= frame.number < end

    def part(frame: Frame) -> str:
        if frame.camera in own_cameras:
            return parts[_key(frame)]
        return next((p for p, n in _INSTANCES.items() if frame.instance in n), "neither")

    first, end = frame_range or FRAMES
    return [
        _Filter(
            "camera",
            ", ".join(sorted(of_camera)),
            lambda frame: frame.camera in of_camera,
            lambda frame: frame.camera,
        ),
        _Filter(
            "ISO",
            ", ".join(map(str, sorted(of_iso))),
            lambda f: f.iso in of_iso or (isos is None and f.camera in own_cameras),
            lambda frame: frame.iso,
        ),
        _Filter("frame number", f"{first} to {end - 1}", in_range, lambda frame: frame.number),
        _Filter(
            "split", str(split), lambda f: split is None or part(f) == split, lambda f: part(f)
        ),
    ]


def _others(instances: Iterable[SceneInstance], own: bool) -> list[SceneInstance]:
    """Return the instances that are not SIDD's."""
    return [instance for instance in instances if own or instance.camera not in CAMERAS]


def _own_parts(instances: Iterable[SceneInstance]) -> dict[tuple[str, int, int], str]:
    """Return the part, train or test, of each frame of cameras that SIDD does not have."""
    instances = list(instances)
    getters = dict(_UNITS)
    units = _units(instances)
    parts = {}
    for frame in (frame for instance in instances for frame in instance.frames):
        unit, keys = units[frame.camera, frame.iso]
        place = keys.index(getters[unit](frame))
        parts[_key(frame)] = "test" if place % _EVERY == _FIRST else "train"
    return parts


def _units(
    instances: Iterable[SceneInstance],
) -> dict[tuple[str, int], tuple[str, list[int]]]:
    """Return what is split at each camera and ISO, and the sorted numbers of it."""
    groups: dict[tuple[str, int], list[Frame]] = {}
    for instance in instances:
        if instance.frames:
            groups.setdefault((instance.camera, instance.iso), []).extend(instance.frames)
    units = {}
    for group, frames in sorted(groups.items()):
        by_unit = [(unit, sorted(set(map(getter, frames)))) for unit, getter in _UNITS]
        units[group] = next((one for one in by_unit if len(one[1]) > 1), by_unit[-1])
    return units


def _key(frame: Frame) -> tuple[str, int, int]:
    return str(frame.noisy.parent), frame.instance, frame.number


def _allowed(what: str, given: Sequence | None, default: tuple, allowed: tuple) -> frozenset:
    if given is None:
        return frozenset(default)
    given = [given] if isinstance(given, str | int) else list(given)
    unknown = [value for value in given if value not in allowed]
    if unknown:
        raise ValueError(
            f"unknown {what} {', '.join(map(str, unknown))}; "
            f"allowed: {', '.join(map(str, allowed))}"
        )
    return frozenset(given)
