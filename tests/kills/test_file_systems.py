"""Commands where the file system is slow, has no locks, is full or cannot be written."""

import pytest

from tests.kills.cases import CASES, prepare
from tests.kills.file_systems import SPACES, TRACED, Runner, can_mount, can_trace

pytestmark = pytest.mark.slow
needs_strace = pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace")
needs_mount = pytest.mark.skipif(not can_mount(), reason="this process may not mount file systems")


@pytest.fixture(scope="module", params=["cache", "sampling"])
def runner(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("file_systems")
    return Runner(CASES[request.param], prepare(folder), folder / "runs")


@needs_strace
@pytest.mark.parametrize("name", TRACED)
def test_the_result_is_the_same(runner, name):
    assert runner.equal_under(TRACED[name]) == "equal bit for bit"


@needs_mount
def test_a_full_disk_is_one_line_and_work_goes_on_after_it(runner):
    assert "No space left on device" in runner.told_when_full(SPACES[1])


@needs_mount
def test_what_cannot_be_written_is_one_line(runner):
    assert "Read-only file system" in runner.told_when_read_only()
