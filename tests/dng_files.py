"""DNG files with arbitrary tags and damage, written by tifffile."""

import struct
from fractions import Fraction

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12

CFA = {"RGGB": (0, 1, 1, 2), "GRBG": (1, 0, 2, 1), "GBRG": (1, 2, 0, 1), "BGGR": (2, 1, 1, 0)}

COLOR_MATRIX = (0.7034, -0.0804, -0.1014, -0.442, 1.2564, 0.2058, -0.0851, 0.1994, 0.5758)

TAGS = {
    271: (ASCII, "Pear"),
    272: (ASCII, "P9"),
    274: (SHORT, 1),
    33421: (SHORT, (2, 2)),
    33422: (BYTE, CFA["RGGB"]),
    33434: (RATIONAL, 1 / 60),
    34855: (SHORT, 400),
    50706: (BYTE, (1, 4, 0, 0)),
    50707: (BYTE, (1, 1, 0, 0)),
    50708: (ASCII, "Pear P9"),
    50710: (BYTE, (0, 1, 2)),
    50714: (SHORT, 64),
    50717: (LONG, 1023),
    50721: (SRATIONAL, COLOR_MATRIX),
    50728: (RATIONAL, (0.5, 1.0, 0.625)),
    50778: (SHORT, 21),
    51041: (DOUBLE, (1e-4, 1e-6)),
}
"""By number, (type, values): what `write` writes unless told otherwise."""


def levels(shape=(48, 64), low=64, high=1023, seed=0):
    """Random levels, uint16."""
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(np.uint16)


def write(
    path, image=None, tags=None, *, bits=16, thumbnail=None, raw=None, second=None, patch=None,
    **options,
):  # fmt: skip
    """Write a DNG; the image is `levels()` by default.

    Args:
        path: the file.
        image: [H, W] or [H, W, 3] integers, or the bytes of one strip, which is a JPEG stream.
        tags: changes of `TAGS`: (type, values), or None to leave a tag out.
        bits: of a sample; those that are no whole bytes are packed.
        thumbnail: tags of IFD0, which is then a small RGB picture, with the raw image in a SubIFD;
            makes, models, colours and noise profiles go to IFD0 without being named.
        raw: tags of the raw image's directory, which stay there.
        second: tags of a second raw image after the first.
        patch: the values of tags of the raw image that tifffile writes by itself, by number, such
            as 259 (Compression) and 279 (StripByteCounts), to be overwritten in the file.
        options: those of `tifffile.TiffWriter.write`, such as `photometric`, and `byteorder`,
            `shape` and `dtype`.
    """
    import tifffile

    image = levels() if image is None else image
    everything = {**TAGS, **(tags or {})}
    shared = {"photometric": 32803, "metadata": None, "software": False, "bitspersample": bits}
    shared |= {"shape": getattr(image, "shape", None), "dtype": "u1" if bits == 8 else "u2"}
    order = options.pop("byteorder", "<")
    shared |= options
    if isinstance(image, bytes):
        shared |= {"compression": "zlib", "bitspersample": None}  # any that tifffile can write
        patch = {259: 7, **(patch or {})}
    shared.setdefault("rowsperstrip", shared["shape"][0])
    with tifffile.TiffWriter(path, byteorder=order) as tiff:
        if thumbnail is not None:
            first = {code: everything.pop(code) for code in sorted(everything) if _is_main(code)}
            tiff.write(
                np.zeros((8, 8, 3), np.uint8), photometric=2, subfiletype=1, subifds=1,
                metadata=None, software=False, extratags=_extratags({**first, **thumbnail}),
            )  # fmt: skip
        for own in [{}] if second is None else [{}, second]:
            own_tags = _extratags({**everything, **(raw or {}), **own})
            tiff.write(_strips(image, bits, order), extratags=own_tags, **shared)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        page = tiff.pages[0] if thumbnail is None else tiff.pages[0].pages[0]
        for code, value in (patch or {}).items():
            page.tags[code].overwrite(value)


def _is_main(code):
    return code not in (33421, 33422, 50710, 50711, 50712, 50713, 50714, 50715, 50716, 50717, 50829)


def _strips(image, bits, order):
    if isinstance(image, bytes):
        return iter([image])
    if bits in (8, 16, 32):
        return iter([image.astype(f"{order}u{bits // 8}").tobytes()])
    bit = image[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return iter([np.packbits(bit.astype(np.uint8).reshape(len(image), -1), axis=1).tobytes()])


def _extratags(tags):
    result = []
    for code, entry in sorted(tags.items()):
        if entry is None:
            continue
        kind, values = entry
        if kind == ASCII:
            result.append((code, kind, None, values, True))
        elif isinstance(values, bytes):
            result.append((code, kind, len(values), values, True))
        else:
            values = np.ravel(values).tolist()
            count = len(values)
            if kind in (RATIONAL, SRATIONAL):
                values = [part for value in values for part in _fraction(value)]
            result.append((code, kind, count, tuple(values), True))
    return result


def _fraction(value):
    if np.isnan(value):
        return 0, 0
    fraction = Fraction(value).limit_denominator(10**6)
    return fraction.numerator, fraction.denominator


def opcode_list(*codes):
    """The bytes of an opcode list whose opcodes have no parameters."""
    parts = [struct.pack(">4I", code, 0x01030000, 1, 0) for code in codes]
    return struct.pack(">I", len(codes)) + b"".join(parts)


def lossless_jpeg(image, frame=0xC3):
    """Encode an image of 16 bits as a lossless JPEG stream of one component."""
    height, width = image.shape
    values = image.astype(int)
    left = np.empty_like(values)
    left[:, 1:] = values[:, :-1]
    left[1:, 0], left[0, 0] = values[:-1, 0], 1 << 15
    bits = "".join(map(_coded, ((values - left + (1 << 15)) % (1 << 16) - (1 << 15)).ravel()))
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    table = bytes([0, *(17 if length == 5 else 0 for length in range(1, 17)), *range(17)])
    segments = [
        (0xC4, table),
        (frame, struct.pack(">BHHB3B", 16, height, width, 1, 0, 0x11, 0)),
        (0xDA, bytes([1, 0, 0, 1, 0, 0])),
    ]
    head = b"".join(struct.pack(">BBH", 0xFF, m, len(s) + 2) + s for m, s in segments)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def _coded(difference):
    """The bits of a difference: its category in five bits, then what the category leaves open."""
    size = 16 if difference == -(1 << 15) else int(abs(difference)).bit_length()
    if size in (0, 16):
        return f"{size:05b}"
    open_bits = difference if difference > 0 else difference + (1 << size) - 1
    return f"{size:05b}{open_bits:0{size}b}"
