"""MATLAB v5 files of unknown origin: checked as a whole before scipy reads them.

scipy.io.loadmat trusts a file's own sizes, and a single wrong byte can end the process. So the tree
of elements is walked here first ("MAT-File Format", MathWorks: MAT-file level 5), and only the
wanted variable, inflated, is passed on: what scipy reads is what was checked.
"""

import io
import math
import os
import struct
import zlib

import numpy as np
import scipy.io

_HEADER = 128
_BYTE_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MOST_BYTES = 1 << 26
_MOST_DEPTH = 32
_MOST_DIMENSIONS = 32

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_TEXT = {1, 2, 4, 16, 17, 18}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = range(6, 16)


def is_mat5(path: str | os.PathLike) -> bool:
    """Return whether a file begins as a MATLAB v5 file does."""
    with open(path, "rb") as file:
        return file.read(_HEADER)[124:] in _BYTE_ORDERS


def read_variable(path: str | os.PathLike, name: str, most_bytes: int = _MOST_BYTES) -> np.ndarray:
    """Return a numeric, text, cell or struct variable of a MATLAB v5 file, as scipy.io.loadmat.

    The file and each of its variables, inflated, may have `most_bytes`.

    Raises:
        KeyError: if there is no such variable.
        OSError: if the file cannot be read.
        Exception: of other kinds for a broken file.
    """
    with open(path, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"larger than {most_bytes >> 20} MB")
    order = _BYTE_ORDERS.get(content[124:_HEADER])
    if order is None or 0 in content[:4]:
        raise ValueError("its header is not MATLAB v5's")
    matrix = _find(content, order, name, most_bytes)
    tag = struct.pack(order + "II", _MATRIX, len(matrix))
    return scipy.io.loadmat(io.BytesIO(content[:_HEADER] + tag + matrix))[name]


def _find(content: bytes, order: str, name: str, most_bytes: int) -> bytes:
    """Return the content of the first variable of this name, checked."""
    top = _Elements(content, order, _HEADER)
    while not top.at_end:
        kind, data = top.whole()
        if kind == _COMPRESSED:
            inflated = _Elements(_inflate(data, most_bytes), order)
            kind, data = inflated.whole()
            if not inflated.at_end:
                raise ValueError("a compressed element has more than one in it")
        if kind != _MATRIX:
            raise ValueError(f"has an element of type {kind} in place of a variable")
        if _name(data, order) == name.encode():
            _check_matrix(data, order, 0)
            return data
    raise KeyError(name)


class _Elements:
    """A reader of one element after the other, within the bounds of their parent."""

    def __init__(self, content: bytes, order: str, start: int = 0) -> None:
        self._content, self._order, self._at = content, order, start
        self.size = len(content)

    @property
    def at_end(self) -> bool:
        return self._at == self.size

    def whole(self) -> tuple[int, bytes]:
        """Return type and content of an element with a full tag and no padding: a variable's."""
        kind, size = struct.unpack(self._order + "II", self._take(8))
        return kind, self._take(size)

    def padded(self) -> tuple[int, bytes]:
        """Return type and content of any other: short ones share 8 bytes with their tag."""
        start = self._take(8)
        kind, size = struct.unpack(self._order + "II", start)
        if not kind >> 16:
            data = self._take(size)
            self._take(-size % 8)
            return kind, data
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError(f"has a short element of {size} bytes")
        return kind, start[4 : 4 + size]

    def expect(self, kinds: set[int], what: str) -> bytes:
        kind, data = self.padded()
        if kind not in kinds:
            raise ValueError(f"has {what} of type {kind}")
        return data

    def _take(self, size: int) -> bytes:
        data = self._content[self._at : self._at + size]
        if len(data) != size:
            raise ValueError("an element ends outside the one that it is in")
        self._at += size
        return data


def _inflate(data: bytes, most_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    inflated = stream.decompress(data, most_bytes)
    if not stream.eof or stream.unused_data:
        raise ValueError(f"a compressed element is cut short or over {most_bytes >> 20} MB")
    return inflated


def _header(elements: _Elements, order: str) -> tuple[int, bool, int, bytes]:
    """Return class, whether it is complex, number of items and name of a variable."""
    flags = elements.expect({_UINT32}, "array flags")
    if len(flags) != 8:
        raise ValueError(f"has array flags of {len(flags)} bytes")
    flag: int = struct.unpack(order + "II", flags)[0]
    sizes = elements.expect({_INT32}, "dimensions")
    if len(sizes) % 4 or not 8 <= len(sizes) <= 4 * _MOST_DIMENSIONS:
        raise ValueError(f"has dimensions of {len(sizes)} bytes")
    shape: tuple[int, ...] = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if min(shape) < 0 or math.prod(shape) > elements.size:
        raise ValueError(f"has an array of shape {shape}")
    name = elements.expect({_INT8, _UTF8}, "a variable's name")
    if not name.isascii():
        raise ValueError(f"has a variable of the name {name!r}")
    return flag & 0xFF, bool(flag >> 11 & 1), math.prod(shape), name


def _name(data: bytes, order: str) -> bytes | None:
    """Return a variable's name; None for a class without a header of this kind."""
    try:
        return _header(_Elements(data, order), order)[3]
    except ValueError:
        return None


def _check_matrix(data: bytes, order: str, depth: int) -> None:
    """Raise ValueError if a variable is not exactly what its header says."""
    if depth > _MOST_DEPTH:
        raise ValueError(f"has cells and structs in more than {_MOST_DEPTH} levels")
    elements = _Elements(data, order)
    kind, is_complex, count, _ = _header(elements, order)
    if kind in _NUMBERS:
        for _ in range(1 + is_complex):
            stored, values = elements.padded()
            if stored not in _VALUE_BYTES or len(values) != count * _VALUE_BYTES[stored]:
                raise ValueError(f"has {count} numbers in {len(values)} bytes of type {stored}")
    elif kind == _CHAR:
        elements.expect(_TEXT, "text")
    elif kind in (_CELL, _STRUCT):
        for _ in range(count * (_fields(elements, order) if kind == _STRUCT else 1)):
            child, values = elements.whole()
            if child != _MATRIX:
                raise ValueError(f"has an element of type {child} in a cell or struct")
            if values:
                _check_matrix(values, order, depth + 1)
    else:
        raise ValueError(f"has a variable of class {kind}")
    if not elements.at_end:
        raise ValueError("a variable is longer than its header says")


def _fields(elements: _Elements, order: str) -> int:
    """Return how many fields a struct has."""
    size = elements.expect({_INT32}, "the length of field names")
    names = elements.expect({_INT8}, "field names")
    if len(size) != 4:
        raise ValueError(f"has the length of field names in {len(size)} bytes")
    length: int = struct.unpack(order + "i", size)[0]
    if length < 1 or len(names) % length:
        raise ValueError(f"has field names of length {length} in {len(names)} bytes")
    return len(names) // length
