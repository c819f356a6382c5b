"""Damage, reproducible from a number."""

import json
import random
from typing import Any

_NOT_FINITE = [float("nan"), float("inf")]
_ODD = [None, True, -1, 0, 1.5, 10**30, *_NOT_FINITE, "", "x", "\x1b[2J", [], {}, [[]]]
_BYTES = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(content: bytes, number: int, head: int) -> bytes:
    """Return damaged content.

    Args:
        content: of a file.
        number: which damage; the same number gives the same.
        head: the size of the part, from the start, that most damage is in.
    """
    chance = random.Random(number)  # noqa: S311 - not for secrets
    text = _mutated_json(content, chance) if content[:1] in b"{[" else None
    if text is not None:
        return text
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 1, 2, 4))):
        _change(data, chance, head if chance.random() < 0.7 else len(data))
    return bytes(data)


def _change(data: bytearray, chance: random.Random, head: int) -> None:
    place = chance.randrange(max(1, min(head, len(data))))
    length = min(chance.choice((1, 4, 16, 400)), len(data) - place)
    kind = chance.randrange(12)
    if kind < 5 and data:
        data[place] ^= 1 << chance.randrange(8)
    elif kind < 8 and data:
        data[place] = chance.choice(_BYTES)
    elif kind == 8:
        data[place : place + length] = bytes(length)
    elif kind == 9:
        data[place : place + length] = chance.randbytes(length)
    elif kind == 10:
        del data[place : place + chance.choice((1, 8, len(data)))]
    else:
        start = chance.randrange(max(1, len(data)))
        data[place:place] = data[start : start + length]


def _mutated_json(content: bytes, chance: random.Random) -> bytes | None:
    """Return JSON with another value somewhere; None in half of the cases, and for other text."""
    if chance.random() < 0.5:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        return None
    if chance.random() < 0.05:
        return b"[" * 100_000
    place = value
    while isinstance(place, dict | list) and place:
        key: Any = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.4:
            place[key] = chance.choice(_ODD)
            break
        place = place[key]
    return json.dumps(value).encode()
