"""Which pictures a SIDD folder holds: scene-instance names, both layouts, the release's split.

SIDD: Abdelhamed, Lin and Brown, "A High-Quality Denoising Dataset for Smartphone Cameras",
CVPR 2018. The split is that of Noise Flow (Abdelhamed, Brubaker and Brown, ICCV 2019).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidd.cameras import CAMERAS
from sidd.errors import SiddError

#: The ISO levels that Noise Flow models.
ISO_LEVELS = (100, 400, 800, 1600, 3200)
#: How many scene instances the public datasets have, by their short names.
DATASETS = {"medium-raw": 160, "full-raw": 160}

# fmt: off
TRAIN_INSTANCES = (
    4, 11, 13, 17, 18, 20, 22, 23, 25, 27, 28, 29, 30, 34, 35, 39, 40, 42, 43, 44, 45, 47, 81, 86,
    88, 90, 101, 102, 104, 105, 110, 111, 115, 116, 125, 126, 127, 129, 132, 135, 138, 140, 175,
    177, 178, 179, 180, 181, 185, 186, 189, 192, 193, 194, 196, 197,
)
TEST_INSTANCES = (
    54, 55, 57, 59, 60, 62, 63, 66, 150, 151, 152, 154, 155, 159, 160, 161, 163, 164, 165, 166,
    198, 199,
)
# fmt: on

#: Images of the validation blocks, counted from 1, that the release leaves out because
#: their ISO is not modelled.
RELEASE_EXCLUSIONS = (
    1, 3, 5, 7, 10, 11, 13, 14, 15, 18, 19, 20, 23, 24, 25, 28, 31, 33, 35, 38,
)  # fmt: skip

_FOLDER = re.compile(r"(\d{4})_(\d{3})_([A-Z0-9]{2})_(\d{5})_(\d{5})_(\d{4})_([LNH])")
_FILE = re.compile(r"\d{4}_(NOISY|GT|METADATA)_RAW_(\d{3})\.MAT", re.IGNORECASE)
_FILE_FOLDER = re.compile(r"\d{4}_(NOISY|GT|METADATA)_RAW", re.IGNORECASE)
_KINDS = ("NOISY", "GT", "METADATA")
_SPLITS = {"train": frozenset(TRAIN_INSTANCES), "test": frozenset(TEST_INSTANCES)}


@dataclass(frozen=True)
class SceneName:
    """What a scene-instance folder's name says: ``0001_001_S6_00100_00060_3200_L``.

    >>> SceneName.parse("0001_001_S6_00100_00060_3200_L")
    ... # doctest: +NORMALIZE_WHITESPACE
    SceneName(instance=1, scene=1, camera='S6', iso=100, shutter=60, illuminant=3200,
              brightness='L')
    >>> str(SceneName(1, 1, "S6", 100, 60, 3200, "L"))
    '0001_001_S6_00100_00060_3200_L'
    """

    instance: int
    scene: int
    camera: str
    iso: int
    shutter: int  #: 1 / exposure time, in 1/s
    illuminant: int  #: colour temperature in kelvin
    brightness: str  #: L low, N normal, H high

    @classmethod
    def parse(cls, name: str) -> SceneName:
        """Reads a folder's name; SiddError where it is not that of a scene instance."""
        match = _FOLDER.fullmatch(name)
        if match is None:
            raise SiddError(
                f"{name}: not a scene-instance folder; expected a name like "
                "0001_001_S6_00100_00060_3200_L (instance, scene, camera, ISO, shutter, "
                "illuminant temperature, brightness L, N or H)"
            )
        instance, scene, camera, iso, shutter, illuminant, brightness = match.groups()
        numbers = map(int, (iso, shutter, illuminant))
        return cls(int(instance), int(scene), camera, *numbers, brightness)

    def __str__(self) -> str:
        return (
            f"{self.instance:04d}_{self.scene:03d}_{self.camera}_{self.iso:05d}_"
            f"{self.shutter:05d}_{self.illuminant:04d}_{self.brightness}"
        )


@dataclass(frozen=True)
class Frame:
    """One shot of a scene instance: its number, the instance's conditions, its three files."""

    number: int
    instance: int
    scene: int
    camera: str
    iso: int
    brightness: str
    noisy: Path
    clean: Path
    metadata: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.noisy, self.clean, self.metadata


@dataclass(frozen=True)
class SceneInstance:
    """A scene shot with one camera and one setting, and its frames by number.

    ``frames`` have all three files; of ``incomplete`` ones some are missing, whose paths are those
    that they should have.
    """

    instance: int
    scene: int
    camera: str
    iso: int
    shutter: int
    illuminant: int
    brightness: str
    path: Path
    frames: tuple[Frame, ...]
    incomplete: tuple[Frame, ...] = ()

    @property
    def missing(self) -> list[Path]:
        """The files that the incomplete frames lack."""
        return [path for frame in self.incomplete for path in frame.files if not path.is_file()]


def index(root: str | os.PathLike) -> list[SceneInstance]:
    """Every scene instance under a SIDD folder of either layout, sorted by instance number.

    ``root`` is the dataset's folder or its ``Data`` folder. SIDD_Medium_Raw has the files in the
    instance's folder, SIDD_Full in ``<instance>/0001_NOISY_RAW/`` and its two sisters. Parts of a
    dataset are fine: an instance has its complete frames apart from those that lack a file, and is
    left out where it has no file at all. Raises SiddError where nothing is found.
    """
    root = Path(root)
    if not root.is_dir():
        raise SiddError(f"{root}: no such folder; expected a SIDD dataset")
    instances = [
        instance
        for parent in (root, root / "Data")
        if parent.is_dir()
        for folder in sorted(parent.iterdir())
        if _FOLDER.fullmatch(folder.name) and folder.is_dir()
        for instance in [_read_instance(folder)]
        if instance.frames or instance.incomplete
    ]
    if not instances:
        raise SiddError(
            f"{root}: no scene instance found; expected folders like "
            "Data/0001_001_S6_00100_00060_3200_L with 0001_NOISY_RAW_010.MAT, "
            "0001_GT_RAW_010.MAT and 0001_METADATA_RAW_010.MAT (SIDD_Medium_Raw), or these files "
            "one folder deeper in 0001_NOISY_RAW and so on (SIDD_Full)"
        )
    return sorted(instances, key=lambda instance: instance.instance)


def select_frames(
    instances: Iterable[SceneInstance],
    split: str | None = None,
    frame_range: tuple[int, int] = (10, 12),
    cameras: Sequence[str] | None = None,
    isos: Sequence[int] | None = None,
) -> list[Frame]:
    """The frames to train or test on, in the order of the instances.

    ``split`` is "train" or "test" for the release's instances, None for all. ``frame_range`` is
    (first, end) with the end exclusive; the release uses frames 10 and 11. Without ``cameras`` and
    ``isos``, only the modelled ones are taken: :data:`sidd.CAMERAS` and :data:`ISO_LEVELS` (SIDD
    also has shots at ISO 50 to 10000, which Noise Flow does not know). Camera and ISO are those of
    the folder's name. Cameras that SIDD does not have can be asked for where ``instances`` have
    them; of their instances that the release does not list, each with a number divisible by four
    is for testing. Raises ValueError for a split, camera or ISO that does not exist.
    """
    if split is not None and split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed: train, test, None for all")
    instances = list(instances)
    if cameras is not None:
        found = sorted({instance.camera for instance in instances} - set(CAMERAS))
        cameras = _allowed("camera", cameras, (*CAMERAS, *found))
    else:
        cameras = frozenset(CAMERAS)
    isos = _allowed("ISO", isos, ISO_LEVELS)
    first, end = frame_range
    if not 0 <= first < end:
        raise ValueError(f"frame_range is (first, end), end exclusive; got {tuple(frame_range)}")
    return [
        frame
        for instance in instances
        if split is None or _split_of(instance) == split
        for frame in instance.frames
        if first <= frame.number < end and frame.camera in cameras and frame.iso in isos
    ]


def _split_of(instance: SceneInstance) -> str | None:
    for split, numbers in _SPLITS.items():
        if instance.instance in numbers:
            return split
    if instance.camera in CAMERAS:
        return None
    return "train" if instance.instance % 4 else "test"


def _allowed(what: str, given: Sequence | None, allowed: tuple) -> frozenset:
    if given is None:
        return frozenset(allowed)
    given = [given] if isinstance(given, str | int) else list(given)
    unknown = [value for value in given if value not in allowed]
    if unknown:
        raise ValueError(
            f"unknown {what} {', '.join(map(str, unknown))}; "
            f"allowed: {', '.join(map(str, allowed))}"
        )
    return frozenset(given)


def _read_instance(folder: Path) -> SceneInstance:
    name = SceneName.parse(folder.name)
    files: dict[int, dict[str, Path]] = {}
    deeper = [path for path in folder.iterdir() if _FILE_FOLDER.fullmatch(path.name)]
    for place in (folder, *filter(Path.is_dir, deeper)):
        for path in place.iterdir():
            if match := _FILE.fullmatch(path.name):
                kind, number = match.groups()
                files.setdefault(int(number), {})[kind.upper()] = path
    frames, incomplete = [], []
    for number, found in sorted(files.items()):
        frame = Frame(
            number, name.instance, name.scene, name.camera, name.iso, name.brightness,
            *(found.get(kind) or _expected(found, kind) for kind in _KINDS),
        )  # fmt: skip
        (frames if len(found) == len(_KINDS) else incomplete).append(frame)
    return SceneInstance(
        **vars(name), path=folder, frames=tuple(frames), incomplete=tuple(incomplete)
    )


def _expected(found: dict[str, Path], kind: str) -> Path:
    """Where a missing file should be, going by one of its frame that is there."""
    there, path = next(iter(found.items()))
    name = re.sub(f"_{there}_", f"_{kind}_", path.name, flags=re.IGNORECASE)
    folder = path.parent
    if _FILE_FOLDER.fullmatch(folder.name):
        folder = folder.parent / re.sub(f"_{there}_", f"_{kind}_", folder.name, flags=re.IGNORECASE)
    return folder / name
