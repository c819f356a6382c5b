"""The compiled core alone, under AddressSanitizer and UndefinedBehaviorSanitizer."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from noise_flow_tf.native import build

TRIALS = 400
_CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_SIMPLE = 'extern "C" int puts(const char*); int main() { return puts("") < 0; }'


def compile_exercise(folder: Path, compiler: str) -> Path:
    """Compile the core for all instruction sets, and `exercise.cpp`, with the sanitizers."""
    flags = [*build.FLAGS, "-O1", "-g", *_CHECKS]
    have = [f"-DNF_HAVE_{one.name.upper()}" for one in build.TARGETS]
    units = [
        (
            build.SOURCES / "kernels.cpp",
            f"kernels-{one.name}.o",
            [*one.flags, f"-DNF_TARGET={one.name}", f"-DNF_LANES={one.lanes}"],
        )
        for one in build.TARGETS
    ]
    units.append((build.SOURCES / "core.cpp", "core.o", have))
    units.append((Path(__file__).with_name("exercise.cpp"), "exercise.o", [f"-I{build.SOURCES}"]))

    def make(unit):
        source, name, more = unit
        command = [compiler, *flags, *more, "-c", str(source), "-o", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return str(folder / name)

    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(make, units))
    program = folder / "exercise"
    link = [compiler, *_CHECKS, *objects, "-lm", "-lpthread", "-o", str(program)]
    subprocess.run(link, check=True, capture_output=True, text=True)
    return program


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    """A C++ compiler whose sanitizers work here."""
    folder = tmp_path_factory.mktemp("simple")
    (folder / "simple.cpp").write_text(_SIMPLE)
    for name in ("g++", "clang++"):
        command = [name, *_CHECKS, str(folder / "simple.cpp"), "-o", str(folder / "simple")]
        if shutil.which(name) and not subprocess.run(command, capture_output=True).returncode:
            return name
    pytest.skip("no C++ compiler with AddressSanitizer and UndefinedBehaviorSanitizer")


@pytest.mark.slow
def test_the_core_under_sanitizers(compiler, tmp_path):
    program = compile_exercise(tmp_path, compiler)
    done = subprocess.run([program, str(TRIALS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "failed" not in done.stdout
