"""The pictures in a SIDD folder: scene-instance names, both layouts, the release's lists.

SIDD: Abdelhamed, Lin and Brown, "A High-Quality Denoising Dataset for Smartphone Cameras",
CVPR 2018. The split is that of Noise Flow (Abdelhamed, Brubaker and Brown, ICCV 2019).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sidd.errors import SiddError

ISO_LEVELS = (100, 400, 800, 1600, 3200)
"""The ISO levels that Noise Flow models."""

DATASETS = {"medium-raw": 160, "full-raw": 160}
"""The numbers of scene instances of the public datasets, by their short names."""

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

RELEASE_EXCLUSIONS = (
    1, 3, 5, 7, 10, 11, 13, 14, 15, 18, 19, 20, 23, 24, 25, 28, 31, 33, 35, 38,
)  # fmt: skip
"""Images of the validation blocks, counted from 1, that the release leaves out: other ISOs."""

_FOLDER = re.compile(r"(\d{4})_(\d{3})_([A-Z0-9]{2,8})_(\d{5,6})_(\d{5,6})_(\d{4})_([LNH])")
_FILE = re.compile(r"\d{4}_(NOISY|GT|METADATA)_RAW_(\d{3})\.MAT", re.IGNORECASE)
_FILE_FOLDER = re.compile(r"\d{4}_(NOISY|GT|METADATA)_RAW", re.IGNORECASE)
_KINDS = ("NOISY", "GT", "METADATA")


@dataclass(frozen=True)
class SceneName:
    """The name of a scene-instance folder, such as `0001_001_S6_00100_00060_3200_L`.

    Attributes:
        shutter: 1 / exposure time, in 1/s.
        illuminant: colour temperature in kelvin.
        brightness: L low, N normal, H high.

    >>> str(SceneName.parse("0001_001_S6_00100_00060_3200_L"))
    '0001_001_S6_00100_00060_3200_L'
    """

    instance: int
    scene: int
    camera: str
    iso: int
    shutter: int
    illuminant: int
    brightness: str

    @staticmethod
    def parse(name: str) -> "SceneName":
        """Read a folder's name, or raise SiddError if it is not that of a scene instance."""
        match = _FOLDER.fullmatch(name)
        if match is None:
            raise SiddError(
                f"{name}: not a scene-instance folder; expected a name like "
                "0001_001_S6_00100_00060_3200_L (instance, scene, camera of 2 to 8 capitals and "
                "digits, ISO, shutter, illuminant temperature, brightness L, N or H)"
            )
        instance, scene, camera, iso, shutter, illuminant, brightness = match.groups()
        light = int(shutter), int(illuminant)
        return SceneName(int(instance), int(scene), camera, int(iso), *light, brightness)

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
        """NOISY, GT and METADATA."""
        return self.noisy, self.clean, self.metadata


@dataclass(frozen=True)
class SceneInstance(SceneName):
    """A scene shot with one camera and one setting.

    Attributes:
        path: its folder.
        frames: those with all three files, by number.
        incomplete: those that lack files, with the paths that the files should have.
    """

    path: Path
    frames: tuple[Frame, ...]
    incomplete: tuple[Frame, ...] = ()

    @property
    def missing(self) -> list[Path]:
        """The files that the incomplete frames lack."""
        return [path for frame in self.incomplete for path in frame.files if not path.is_file()]


def camera_of_folder(path: str | os.PathLike) -> str | None:
    """Return the camera's code of the scene-instance folder that a file lies in; None if in none.

    >>> camera_of_folder("0001_001_S6_00100_00060_3200_L/0001_GT_RAW/0001_GT_RAW_010.MAT")
    'S6'
    """
    for folder in Path(os.path.abspath(path)).parents[:2]:
        if _FOLDER.fullmatch(folder.name):
            return SceneName.parse(folder.name).camera
    return None


def index(root: str | os.PathLike) -> list[SceneInstance]:
    """Return the scene instances in a SIDD folder, sorted by number.

    Files lie in the instance's folder (SIDD_Medium_Raw) or one folder deeper, in
    `<instance>/0001_NOISY_RAW/` and so on (SIDD_Full). Parts of a dataset are fine; an instance
    without any file is left out.

    Args:
        root: the dataset's folder or its folder `Data`.

    Raises:
        SiddError: if there is no scene instance.
    """
    root = Path(root)
    if not root.is_dir():
        raise SiddError(f"{root}: no such folder; expected a SIDD dataset")
    instances = [
        _read_instance(folder)
        for parent in (root, root / "Data")
        if parent.is_dir()
        for folder in sorted(parent.iterdir())
        if _FOLDER.fullmatch(folder.name) and folder.is_dir()
    ]
    instances = [instance for instance in instances if instance.frames or instance.incomplete]
    if not instances:
        raise SiddError(
            f"{root}: no scene instance found; expected folders like "
            "Data/0001_001_S6_00100_00060_3200_L with 0001_NOISY_RAW_010.MAT, "
            "0001_GT_RAW_010.MAT and 0001_METADATA_RAW_010.MAT (SIDD_Medium_Raw), or these files "
            "one folder deeper in 0001_NOISY_RAW and so on (SIDD_Full)"
        )
    return sorted(instances, key=lambda instance: instance.instance)


def _read_instance(folder: Path) -> SceneInstance:
    name = SceneName.parse(folder.name)
    files: dict[int, dict[str, Path]] = {}
    deeper = [path for path in folder.iterdir() if _FILE_FOLDER.fullmatch(path.name)]
    for place in (folder, *filter(Path.is_dir, deeper)):
        for path in place.iterdir():
            if match := _FILE.fullmatch(path.name):
                kind, number = match.groups()
                files.setdefault(int(number), {})[kind.upper()] = path
    stems = {kind: f"{name.instance:04d}_{kind}_RAW" for kind in _KINDS}
    frames: list[Frame] = []
    incomplete: list[Frame] = []
    for number, present in sorted(files.items()):
        is_deeper = next(iter(present.values())).parent in deeper
        expected = {
            kind: (folder / stem if is_deeper else folder) / f"{stem}_{number:03d}.MAT"
            for kind, stem in stems.items()
        }
        paths = (expected | present).values()
        frame = Frame(
            number, name.instance, name.scene, name.camera, name.iso, name.brightness, *paths
        )
        (frames if len(present) == len(_KINDS) else incomplete).append(frame)
    return SceneInstance(
        **vars(name), path=folder, frames=tuple(frames), incomplete=tuple(incomplete)
    )
