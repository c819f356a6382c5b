"""Twenty kills at random moments, with fixed seeds; `python -m tests.kills` makes any number."""

import pytest

from tests.kills.cases import CASES, prepare
from tests.kills.harness import Killer, shares


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("inputs"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), shares(20, list(CASES)))
def test_nothing_is_lost_or_half_written_by_kills(inputs, tmp_path, name, count):
    assert Killer(CASES[name], inputs, tmp_path).kill(count, seed=1).kills == count
