"""One float image in an HDF5 file, read only if the file itself holds all of it.

HDF5 gives fill values, without an error, for a chunk that it does not find: one wrong bit in the
index of chunks makes a part of an image, or all of it, 0. It also follows links to other files. So
the stored chunks are compared with those that the image needs, and they are decoded here: what is
returned is what was checked. Decoding takes no lock of h5py, so that threads do it in parallel.
"""

import itertools
import math
import os
import zlib

import h5py
import numpy as np
from h5py._objects import phil  # h5py's lock, which two of its functions do not take themselves

MOST_PIXELS = 1 << 28
"""The largest image, 1 GB in single precision; SIDD's have 16 million pixels."""

_FLOATS = {
    name: h5py.h5t.py_create(np.dtype(name)) for name in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
}
_SHUFFLE, _DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE
_LAYOUTS = {h5py.h5d.CHUNKED, h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT}
Corner = tuple[int, ...]


def datasets(file: h5py.File, name: str) -> list[h5py.Dataset]:
    """Return the dataset `name` of a file, or all that it has if there is none of this name.

    Raises:
        ValueError: for a link, which could lead to any other file.
    """
    names = [name] if file.get(name, getlink=True) is not None else list(file)
    for one in names:
        if not isinstance(file.get(one, getlink=True), h5py.HardLink):
            raise ValueError(f"`{one}` is a link, not data of this file")
    found = [file[one] for one in names]
    return [one for one in found if isinstance(one, h5py.Dataset)]


def check(data: h5py.Dataset) -> dict[Corner, int]:
    """Return the stored chunks of an image, corner: bytes, once they are known to be its whole.

    There are none if the image is stored in one piece.

    Raises:
        ValueError: for an image of which anything is missing, elsewhere, or not as its header says.
    """
    if data.is_virtual or data.id.get_create_plist().get_external_count():
        raise ValueError("its values are in other files (virtual or external)")
    if not any(data.id.get_type().equal(known) for known in _FLOATS.values()):
        raise ValueError(f"its values are of no IEEE type of 16, 32 or 64 bits, but {data.dtype}")
    if math.prod(data.shape) > MOST_PIXELS:
        raise ValueError(f"an image of {data.shape} is larger than {MOST_PIXELS} pixels")
    if any(most not in (None, size) for most, size in zip(data.maxshape, data.shape, strict=True)):
        raise ValueError(f"its shape is {data.shape}, its largest shape {data.maxshape}")
    layout = data.id.get_create_plist().get_layout()
    if layout not in _LAYOUTS:
        raise ValueError(f"has an unknown layout {layout}")
    if layout == h5py.h5d.CHUNKED:
        return _chunks(data)
    needed, stored = math.prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()
    is_there = layout == h5py.h5d.COMPACT or data.id.get_offset() is not None
    if stored != needed or not is_there:
        raise ValueError(f"has {stored if is_there else 0} of the {needed} bytes of its values")
    return {}


def read(data: h5py.Dataset) -> np.ndarray:
    """Return an image as float32.

    Raises:
        Exception: of any kind, for one that `check` refuses or that cannot be decoded.
    """
    chunks = check(data)
    codes, shape = _filters(data) if chunks else None, data.chunks
    image = np.empty(data.shape, data.dtype) if codes is not None else None
    for corner, size in chunks.items():
        with phil:
            mask, stored = data.id.read_direct_chunk(corner)
        if len(stored) != size:
            raise ValueError(f"the chunk at {corner} is not the one that is listed")
        if image is not None and codes is not None:
            if mask:  # gzip and shuffling are never left out
                raise ValueError(f"the chunk at {corner} skips compression")
            _decode(stored, codes, shape, image[tuple(slice(n, None) for n in corner)])
    image = data[()] if image is None else image
    with np.errstate(over="ignore"):  # infinite, which is refused as a value
        return image.astype(np.float32, copy=False)


def _chunks(data: h5py.Dataset) -> dict[Corner, int]:
    """Return corner and stored bytes of each chunk, which together are the image."""
    if math.prod(data.chunks) > MOST_PIXELS:
        raise ValueError(f"chunks of {data.chunks} are larger than {MOST_PIXELS} pixels")
    chunks: dict[Corner, int] = {}
    places: list[tuple[int, int]] = []

    def add(one: h5py.h5d.StoreInfo) -> None:
        chunks[one.chunk_offset] = one.size
        places.append((one.byte_offset, one.size))

    with phil:
        data.id.chunk_iter(add)
    expected = itertools.product(
        *(range(0, size, step) for size, step in zip(data.shape, data.chunks, strict=True))
    )
    grid = math.prod(-(-n // step) for n, step in zip(data.shape, data.chunks, strict=True))
    if not len(chunks) == len(places) == grid or any(one not in chunks for one in expected):
        raise ValueError(f"has {len(places)} chunks, which are not the {grid} of its image")
    places.sort()
    length = os.path.getsize(data.file.filename)
    ends = [start + size for start, size in places]
    if max(ends) > length or any(
        end > start for end, (start, _) in zip(ends, places[1:], strict=False)
    ):
        raise ValueError("has chunks that overlap, or end after the file")
    return chunks


def _filters(data: h5py.Dataset) -> list[int] | None:
    """Return the filters of chunks, in the order of writing; None for those left to HDF5."""
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    codes = [code for code, *_ in filters]
    if codes not in ([], [_DEFLATE], [_SHUFFLE, _DEFLATE]):
        return None
    if _SHUFFLE in codes and filters[0][2] != (data.dtype.itemsize,):
        raise ValueError(f"is shuffled by {filters[0][2]} bytes, not {data.dtype.itemsize}")
    return codes


def _decode(stored: bytes, codes: list[int], shape: tuple[int, ...], rest: np.ndarray) -> None:
    """Decode a chunk of this shape into the part of an image from the chunk's corner on."""
    part = rest[tuple(slice(length) for length in shape)]
    inside = tuple(slice(length) for length in part.shape)
    size = math.prod(shape) * part.itemsize
    if _DEFLATE in codes:
        stream = zlib.decompressobj()
        stored = stream.decompress(stored, size + 1)
        if not stream.eof or stream.unused_data:
            raise ValueError("the compressed data of a chunk is cut or too long")
    if len(stored) != size:
        raise ValueError(f"a chunk has {len(stored)} bytes in place of {size}")
    if _SHUFFLE not in codes:
        part[:] = np.frombuffer(stored, part.dtype).reshape(shape)[inside]
        return
    # The first bytes of all values are stored together, then their second bytes, and so on.
    planes = np.frombuffer(stored, np.uint8).reshape(part.itemsize, *shape)
    target = part[..., None].view(np.uint8)
    for number, plane in enumerate(planes):
        target[..., number] = plane[inside]
