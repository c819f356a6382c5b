"""Files of raw images and photographs: reading, and writing in several formats."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from skimage.io import imread

import sidd
from noise_flow_tf.programs import raw_files
from noise_flow_tf.saving.files import replacing
from sidd.errors import reading
from sidd.matfiles import raw_shape
from sidd.npy import read_npy
from sidd.raw import SUFFIXES

RAW_KINDS = (".mat", ".npy", ".png", *SUFFIXES)
PHOTOGRAPH_KINDS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")

NOT_A_PICTURE = "is a raw file, not an ordinary picture; leave out --from_srgb, or rename it"

_BAND = 256
_MARGIN = 4
_DNG_VERSION = 50706


@dataclass(frozen=True)
class Raw:
    """A raw image, packed in file orientation, and the form of its file.

    `file` is the camera's raw file that it comes from, if it does; "upright" is for such an image
    as it lies on the sensor, and pictures of it are turned by the file's orientation.
    """

    packed: np.ndarray
    upright: bool
    is_packed: bool
    file: sidd.RawFile | None = None

    def in_given_form(self, packed: np.ndarray) -> np.ndarray:
        """Convert a packed image of the same size in file orientation to the form of this one."""
        bayer = sidd.unpack(packed)
        bayer = bayer.T if self.upright else bayer
        return sidd.pack(bayer) if self.is_packed else bayer

    def render(self, packed: np.ndarray, metadata: sidd.Metadata) -> np.ndarray:
        """Render a packed image of the same size to sRGB, upright."""
        return sidd.upright(render(packed, metadata), self.file.orientation if self.file else 1)


def check_kind(path: Path) -> None:
    """Raise ValueError for a file whose name is not that of a raw image."""
    kind = path.suffix.lower()
    if kind in RAW_KINDS:
        return
    advice = "give a .MAT, .npy, .png or raw file"
    if kind in PHOTOGRAPH_KINDS:
        advice = "`noise-flow sample --from_srgb` takes ordinary pictures"
    raise ValueError(f"{path}: unknown kind of raw image; {advice}")


def read_image(
    path: Path, orientation: str, log: Callable[[str], None] = print, measured: bool = False
) -> Raw:
    """Read a Bayer or packed image in [0, 1] from a .MAT, .npy, .png or raw file.

    Raw files are clipped to [0, 1], which `log` is told. A noisy image that is wanted as `measured`
    keeps values that noise has led beyond [0, 1], and is NaN where the camera clipped a raw file.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    check_kind(path)
    if raw_files.is_raw_file(path):
        file = sidd.read_dng(path)
        if measured:
            bayer = np.where(file.clipped(), np.float32(np.nan), file.image())
        else:
            bayer = raw_files.clean_part(file, log)
        packed = sidd.pack(bayer.T)
        return Raw(packed, upright=True, is_packed=False, file=file)
    upright = kind == ".png" or (kind == ".npy" and orientation == "upright")
    if kind == ".mat":
        packed = sidd.pack(sidd.read_raw(path)) if measured else sidd.read_packed(path)
        return Raw(packed, upright=False, is_packed=False)
    image = _read_npy(path) if kind == ".npy" else _read_png(path)
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 4)) or image.size == 0:
        raise ValueError(
            f"{path}: a raw image is [H, W] Bayer or [H, W, 4] packed; got {list(image.shape)}"
        )
    low, high = sidd.NEAR_RANGE if measured else (0, 1)
    values = image[~np.isnan(image)] if measured else image
    if not values.size or not (low <= values.min() and values.max() <= high):
        raise ValueError(
            f"{path}: values must be finite and in [{low}, {high}]; got {image.min()} to "
            f"{image.max()}"
        )
    is_packed = image.ndim == 3
    try:
        bayer = sidd.unpack(image) if is_packed else image
        packed = sidd.pack(bayer.T if upright else bayer)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Raw(packed.astype(np.float32), upright, is_packed)


def count_pixels(path: Path) -> int:
    """Return the number of pixels of an image, from the header of its file.

    That of a raw file is an estimate, two bytes per pixel: it is for dividing work alone.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if raw_files.is_raw_file(path):
        return max(1, path.stat().st_size // 2)
    if path.suffix.lower() == ".mat":
        return math.prod(raw_shape(path))
    with reading(path, "not a readable image"):
        if path.suffix.lower() == ".npy":
            return max(1, np.load(path, mmap_mode="r").size)
        with Image.open(path) as image:
            return image.width * image.height


def companion(path: Path, own: str, kind: str) -> Path | None:
    """Return the file of another kind next to a SIDD frame of its `own` kind, None if missing.

    Kinds are NOISY, GT and METADATA.
    """
    other = Path(str(path).replace(f"_{own}_RAW", f"_{kind}_RAW"))
    return other if f"_{own}_RAW" in path.name and other.is_file() else None


def read_photograph(path: Path, log: Callable[[str], None]) -> np.ndarray:
    """Read an ordinary picture as viewers show it: upright RGB `[H, W, 3]`, uint8 or uint16.

    Transparency becomes white and grey RGB; an odd last row or column is cropped, with a message to
    `log`, so that H and W are even.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    refusal = f"{path}: {NOT_A_PICTURE}"
    if raw_files.is_raw_file(path):
        raise ValueError(refusal)
    with reading(path, "not a readable picture"), Image.open(path) as image:
        is_raw = _DNG_VERSION in getattr(image, "tag_v2", ())
        if not is_raw:
            image.load()
            rgb = _as_rgb(ImageOps.exif_transpose(image))
    if is_raw:
        raise ValueError(refusal)
    height, width = (length - length % 2 for length in rgb.shape[:2])
    if not height or not width:
        raise ValueError(f"{path}: a picture needs 2 x 2 pixels; got {list(rgb.shape[:2])}")
    if (height, width) != rgb.shape[:2]:
        log(f"{path}: cropped from {rgb.shape[1]} x {rgb.shape[0]} to {width} x {height} pixels")
    return rgb[:height, :width]


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        return np.stack([np.clip(values, 0, 65535).astype(np.uint16)] * 3, axis=-1)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def save(path: Path, form: str, bayer: np.ndarray, as_given: np.ndarray) -> None:
    """Write a raw image atomically.

    Args:
        path: the file.
        form: "npy" for `as_given`; "mat" for SIDD's MATLAB v7.3 file; "png" for 16 bit grey and
            upright, 1 as 65535.
        bayer: `[H, W]` in file orientation.
        as_given: the same in the form and orientation of the clean image.
    """
    if form == "mat":
        sidd.write_raw(path, bayer)
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        if form == "npy":
            content = io.BytesIO()  # NumPy's own writing to a file does not say that a disk is full
            np.save(content, as_given)
            file.write(content.getbuffer())
        else:
            values = np.rint(np.clip(bayer.T, 0, 1) * 65535).astype(np.uint16)
            Image.fromarray(values).save(file, format="png")


def render(packed: np.ndarray, metadata: sidd.Metadata) -> np.ndarray:
    """Apply `sidd.render_packed` in bands, so that large images need little additional memory."""
    bands = []
    for start in range(0, packed.shape[1], _BAND):
        before = min(start, _MARGIN)
        part = sidd.render_packed(packed[:, start - before : start + _BAND + _MARGIN], metadata)
        bands.append(part[2 * before :][: 2 * _BAND])
    return np.concatenate(bands)


def save_picture(path: Path, rgb: np.ndarray) -> None:
    """Write a uint8 RGB picture as PNG, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        Image.fromarray(rgb).save(file, format="png")


def _read_npy(path: Path) -> np.ndarray:
    image = read_npy(path)
    if image.dtype.kind != "f":
        raise ValueError(f"{path}: values must be floats in [0, 1]")
    return image


def _read_png(path: Path) -> np.ndarray:
    with reading(path, "not a readable PNG"):
        with Image.open(path) as png:
            png.verify()
        image = imread(path)
    if image.ndim != 2 or image.dtype.kind != "u":
        raise ValueError(
            f"{path}: a raw PNG has one channel of 8 or 16 bits, a grey Bayer image; "
            f"got {list(image.shape)} of {image.dtype}; `noise-flow sample --from_srgb` takes "
            "ordinary pictures"
        )
    return (image / np.iinfo(image.dtype).max).astype(np.float32)
