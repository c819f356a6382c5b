"""Shards of a sampling plan, one for each process or machine, and how they become one result."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noise_flow_tf.programs.sampling_plan import Draw, Record, hash_of
from noise_flow_tf.saving.files import reading, write_json
from sidd.progress import progress_bar
from sidd.wording import counted

SLURM = "slurm"
MIXTURES = ("core", "model")
"""What shards may be allowed to differ in."""

_ARRAY = "SLURM_ARRAY_TASK_"
_PLAN = re.compile(r"samples-(\d+)-of-(\d+)\.json")
_SHOWN = 3


@dataclass(frozen=True)
class Shard:
    """A part of a plan: its number, from 0, and how many parts there are."""

    number: int
    count: int

    def __str__(self) -> str:
        """Return the shard as it is given on the command line."""
        return f"{self.number}/{self.count}"

    @property
    def record(self) -> str:
        """The name of the record of its draws."""
        return f"samples-{self.number}-of-{self.count}.csv"

    @property
    def plan(self) -> str:
        """The name of the file that says what it draws."""
        return f"samples-{self.number}-of-{self.count}.json"


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Return the shard of `I/N`, or for "slurm" that of this task of a job array.

    A job array's numbers may begin anywhere and leave some out evenly (`--array=1-13:3`).

    Raises:
        ValueError: anything else, or no evenly numbered job array.

    >>> parse_shard("0/4")
    Shard(number=0, count=4)
    >>> array = {"ID": "7", "MIN": "1", "MAX": "13", "COUNT": "5"}
    >>> parse_shard("slurm", {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()})
    Shard(number=2, count=5)
    """
    if text == SLURM:
        return _of_slurm(environment)
    number, slash, count = text.partition("/")
    if not (slash and all(part.isascii() and part.isdecimal() for part in (number, count))):
        raise ValueError(f"--shard must be I/N, such as 0/4, or {SLURM}; got {text!r}")
    if not int(number) < int(count):
        raise ValueError(
            f"--shard I/N: I is from 0 to N - 1, here from 0 to {int(count) - 1}; got {text}"
            if int(count)
            else f"--shard I/N: N must be at least 1; got {text}"
        )
    return Shard(int(number), int(count))


def _of_slurm(environment: Mapping[str, str]) -> Shard:
    values = {}
    for name in ("ID", "MIN", "MAX", "COUNT"):
        value = environment.get(_ARRAY + name, "")
        if not (value.isascii() and value.isdecimal()):
            raise ValueError(
                f"--shard {SLURM}: {_ARRAY}{name} is {value!r}; start it by sbatch --array=0-N, or "
                "give --shard I/N"
            )
        values[name] = int(value)
    first, last, count = values["MIN"], values["MAX"], values["COUNT"]
    step = max(1, (last - first) // max(1, count - 1))
    number, rest = divmod(values["ID"] - first, step)
    if rest or number < 0 or number >= count or first + step * (count - 1) != last:
        raise ValueError(
            f"--shard {SLURM}: {count} tasks from {first} to {last} are not evenly numbered, so "
            f"that task {values['ID']} has no certain place; give --shard I/N"
        )
    return Shard(number, count)


def draws_of(shard: Shard, pixels: Sequence[int], draws: int) -> list[range]:
    """Return which draws of each image belong to a shard.

    The draws of all images, in order, are cut into parts of equal pixels, so that an image is read
    by as few processes as possible. Each draw is in exactly one of the shards.

    Args:
        shard: one of them.
        pixels: of each image, positive.
        draws: the number of draws of each image.

    >>> [draws_of(Shard(i, 2), [10, 10, 40], draws=2) for i in range(2)]
    [[range(0, 2), range(0, 2), range(0, 0)], [range(2, 2), range(2, 2), range(0, 2)]]
    """
    total = draws * sum(pixels)
    parts, before = [], 0
    for size in pixels:
        # A draw is in the shard in whose share its middle is; rounded up, and for both ends.
        first, end = (
            -(-(2 * total * number - shard.count * (2 * before + size)) // (2 * shard.count * size))
            for number in (shard.number, shard.number + 1)
        )
        parts.append(range(min(max(first, 0), draws), min(max(end, 0), draws)))
        before += draws * size
    return parts


def write_plan(
    folder: Path, shard: Shard, common: Any, files: Mapping[str, Collection[Path]]
) -> None:
    """Write what a shard draws.

    Args:
        folder: of the results.
        shard: the shard.
        common: what all shards of a plan have in common, as JSON can hold it.
        files: the paths of each draw's files.
    """
    digest = hashlib.sha256(json.dumps(common).encode()).hexdigest()[:16]
    relative = {
        name: [path.relative_to(folder).as_posix() for path in paths]
        for name, paths in files.items()
    }
    write_json(folder / shard.plan, {"shard": str(shard), "plan": digest, "files": relative})


def merge(folder: Path, allowed: Iterable[str] = ()) -> int:
    """Join the records of all shards in a folder to one, after checking them and their files.

    Args:
        folder: the results of all shards.
        allowed: what may differ between shards, see `MIXTURES`.

    Returns:
        The number of draws.

    Raises:
        ValueError: no shards, missing ones, shards of different plans, a damaged plan or record,
            missing or changed draws, draws of different models or cores.
    """
    shards = _shards(folder)
    plans = [_read_plan(folder / shard.plan, shard) for shard in shards]
    if len(digests := {plan["plan"] for plan in plans}) > 1:
        first = plans[0]["plan"]
        other = next(
            shard for shard, plan in zip(shards, plans, strict=True) if plan["plan"] != first
        )
        raise ValueError(
            f"{folder}: shards {shards[0]} and {other} are of {len(digests)} plans: other images, "
            "options or seeds; run one of them again with the options of the other"
        )
    done: dict[str, Draw] = {}
    total = sum(len(plan["files"]) for plan in plans)
    with progress_bar(shown=total > 1, total=total, unit="draw") as bar:
        for shard, plan in zip(shards, plans, strict=True):
            done |= _checked(folder, shard, plan["files"], bar.update)
    if len(done) < total:
        raise ValueError(f"{folder}: {total - len(done)} draws are in two shards; run them again")
    _check_same(folder, done.values(), frozenset(allowed))
    Record(folder).replace(done)
    return total


def _shards(folder: Path) -> list[Shard]:
    """Return all shards in a folder, which must be all of one plan."""
    names = [path.name for path in folder.glob("samples-*.json")]
    found = [match for name in names if (match := _PLAN.fullmatch(name))]
    if not found:
        raise ValueError(f"{folder}: has no shards; noise-flow sample --shard I/N makes them")
    counts = sorted({int(match[2]) for match in found})
    if len(counts) > 1:
        raise ValueError(
            f"{folder}: has shards of plans of {' and of '.join(map(str, counts))}; remove those "
            f"that are not wanted (samples-*-of-{counts[-1]}.*)"
        )
    there = {int(match[1]) for match in found}
    if missing := [str(Shard(i, counts[0])) for i in range(counts[0]) if i not in there]:
        raise ValueError(f"{folder}: {_some(missing, 'shard')} missing; run --shard {missing[0]}")
    return [Shard(i, counts[0]) for i in range(counts[0])]


def _read_plan(path: Path, shard: Shard) -> dict[str, Any]:
    with reading(f"{path}: is damaged; run --shard {shard} again"):
        plan = json.loads(path.read_text(encoding="utf-8"))
        files = plan["files"]
        if plan["shard"] != str(shard) or not isinstance(plan["plan"], str):
            raise ValueError(f"is of shard {plan['shard']}")
        for names in files.values():
            if not all(Path(name).parts and ".." not in Path(name).parts for name in names):
                raise ValueError("names files outside its folder")
    return plan


def _checked(
    folder: Path, shard: Shard, files: Mapping[str, list[str]], tick: Callable[[], Any]
) -> dict[str, Draw]:
    """Return the draws of a shard, all of which are in its record, and their files as written."""
    draws = Record(folder, shard.record).draws()
    again = f"run --shard {shard} again"
    if missing := [name for name in files if name not in draws]:
        raise ValueError(f"{folder / shard.record}: {_some(missing, 'draw')} missing; {again}")
    for name, names in files.items():
        if draws[name].outputs != hash_of(folder / file for file in names):
            raise ValueError(
                f"{folder / shard.record}: the files of draw {name} are gone or not as they were "
                f"written; {again}"
            )
        tick()
    return {name: draws[name] for name in files}


def _check_same(folder: Path, draws: Iterable[Draw], allowed: frozenset[str]) -> None:
    """Raise ValueError if draws were made by more than one model or core."""
    draws = list(draws)
    for name, values in (
        ("model", {draw.weights for draw in draws}),
        ("core", {draw.version for draw in draws}),
    ):
        if len(values) > 1 and name not in allowed:
            raise ValueError(
                f"{folder}: its draws were made by {len(values)} {name}s: "
                f"{'; '.join(sorted(values))}; run the shards again with one of them, or give "
                f"--allow_mixed {name}"
            )


def _some(names: Sequence[str], noun: str) -> str:
    """Return how many there are, with the first names.

    >>> _some(["a", "b", "c", "d"], "draw")
    '4 draws (a, b, c, ..) are'
    """
    shown = ", ".join([*names[:_SHOWN], *([".."] if len(names) > _SHOWN else [])])
    return f"{counted(len(names), noun)} ({shown}) {'is' if len(names) == 1 else 'are'}"
