"""DNG's opcodes: corrections that a converter applies to the levels of a raw image.

They are not applied here: noise is that of the sensor. Those of OpcodeList3 follow demosaicing.
"""

import struct

from sidd.errors import SiddError
from sidd.raw.tags import Directory

_LISTS = {51008: "OpcodeList1", 51009: "OpcodeList2"}
_NAMES = {
    1: "WarpRectilinear", 2: "WarpFisheye", 3: "FixVignetteRadial", 4: "FixBadPixelsConstant",
    5: "FixBadPixelsList", 6: "TrimBounds", 7: "MapTable", 8: "MapPolynomial", 9: "GainMap",
    10: "DeltaPerRow", 11: "DeltaPerColumn", 12: "ScalePerRow", 13: "ScalePerColumn",
    14: "WarpRectilinear2",
}  # fmt: skip
_TONE = (7, 8)


def warnings(raw: Directory) -> list[str]:
    """Return one warning per list of opcodes before demosaicing, which are not applied.

    Raises:
        SiddError: for a curve (MapTable, MapPolynomial), without which levels are not linear.
    """
    result = []
    for code, name in _LISTS.items():
        if code not in raw:
            continue
        values = raw.numbers(code)
        codes = _codes(b"" if values is None else values.astype("u1").tobytes(), name)
        if any(one in _TONE for one in codes):
            raise SiddError(f"{name} has a tone curve (MapTable or MapPolynomial): not linear")
        if codes:
            kinds = ", ".join(dict.fromkeys(_NAMES.get(one, f"opcode {one}") for one in codes))
            result.append(f"{name} is not applied ({kinds}): the levels are those of the sensor")
    return result


def _codes(content: bytes, name: str) -> list[int]:
    codes, at = [], 4
    try:
        (count,) = struct.unpack_from(">I", content)
        for _ in range(min(count, len(content))):
            code, _version, _flags, size = struct.unpack_from(">4I", content, at)
            codes.append(code)
            at += 16 + size
        if at > len(content):
            raise struct.error("the list is longer than its tag")
    except struct.error as error:
        raise SiddError(f"{name} cannot be read: {error}") from None
    return codes
