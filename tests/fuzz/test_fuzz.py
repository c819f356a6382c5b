"""A small part of `make fuzz`, and damages that once went wrong."""

import shutil

import pytest

from tests.fuzz import readers
from tests.fuzz.__main__ import GOOD, outcome
from tests.fuzz.mutations import mutate

COUNT = 25
SEEDS: dict[str, list[int]] = {}
"""By reader, the numbers of damages that were answered wrongly before a fix."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    readers.prepare(folder)
    return folder


@pytest.mark.parametrize("name", readers.READERS)
def test_damaged_inputs_are_refused_or_read_rightly(name, seeds, tmp_path):
    folder = shutil.copytree(seeds, tmp_path / "seeds")
    reader = readers.READERS[name]
    content = (folder / reader.file).read_bytes()
    good = reader.read(folder)
    for number in [*SEEDS.get(name, ()), *range(COUNT)]:
        word, text = outcome(name, folder, mutate(content, number, reader.head), good)
        assert word in GOOD, f"{number}: {word} {text}"


def test_a_damage_is_reproducible():
    content = bytes(range(256)) * 4
    damaged = [mutate(content, number, 100) for number in range(200)]
    assert damaged == [mutate(content, number, 100) for number in range(200)]
    assert len(set(damaged)) > 150 and all(one != content for one in damaged[:5])
