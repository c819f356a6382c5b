"""The core is compiled, found and loaded; without it everything says so and works."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from noise_flow_tf.native import build, library

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = {"libc.so.6", "libm.so.6", "libpthread.so.0"} | {
    f"ld-linux-{name}" for name in ("x86-64.so.2", "aarch64.so.1")
}

# Sources with the interface and nothing behind it.
KERNELS = """
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
extern "C" { extern const char* const JOIN(nf_kernels_, NF_TARGET)[1]; }
const char* const JOIN(nf_kernels_, NF_TARGET)[1] = {TEXT(NF_TARGET)};
"""
CORE = """
#define API extern "C" __attribute__((visibility("default")))
extern "C" { extern const char* const nf_kernels_BASELINE[1]; }
API int nf_abi() { return 1; }
API const char* nf_target() { return nf_kernels_BASELINE[0]; }
API int nf_choose(const char*) { return 2; }
API int nf_latent() { return 2; }
API int nf_noise() { return 2; }
API int nf_saved_size() { return 2; }
API int nf_forward() { return 2; }
API int nf_gradient() { return 2; }
""".replace("BASELINE", build.TARGETS[0].name)

needs_compiler = pytest.mark.skipif(
    build.find_compiler() is None, reason="no C++ compiler on this machine"
)


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def write_sources(folder):
    folder.mkdir(parents=True)
    (folder / "kernels.cpp").write_text(KERNELS)
    (folder / "core.cpp").write_text(CORE)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No variables of the user's, and nothing that was found or said before."""
    for name in ("NOISE_FLOW_CORE", "OMP_NUM_THREADS", "NOISE_FLOW_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(library, "_said", False)
    build.find_compiler.cache_clear()
    library._load.cache_clear()
    yield
    build.find_compiler.cache_clear()
    library._load.cache_clear()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder in the place of noise_flow_tf/native, whose sources compile at once."""
    write_sources(tmp_path / "native" / "source")
    monkeypatch.setattr(build, "FOLDER", tmp_path / "native")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "native" / "source")
    return tmp_path / "native"


def make(folder, **options):
    said = []
    made = build.build(folder, say=said.append, **options)
    return made, said


# The project's own sources.


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if (compiler := build.find_compiler()) is None:
        pytest.skip("no C++ compiler on this machine")
    folder = tmp_path_factory.mktemp("core")
    objects, targets = build.compile_objects(compiler, folder)
    compiler.link(objects, folder / build.NAME)
    return namedtuple("Compiled", "objects targets library")(
        objects, targets, folder / build.NAME
    )  # fmt: skip


def lines_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow
def test_the_core_takes_the_best_instruction_set_of_the_processor(compiled):
    core = ctypes.CDLL(str(compiled.library))
    core.nf_target.restype = ctypes.c_char_p
    assert core.nf_abi() == library.ABI
    target = core.nf_target().decode()
    assert target in compiled.targets
    if Path("/proc/cpuinfo").exists() and platform.machine() == "x86_64":
        flags = set(re.search(r"flags\s*: (.*)", Path("/proc/cpuinfo").read_text())[1].split())
        wanted = {
            one.name: {flag.removeprefix("-m") for flag in one.flags} for one in build.TARGETS
        }
        possible = [name for name in compiled.targets if wanted[name] <= flags]
        assert target == possible[-1]


@pytest.mark.slow
@needs("readelf")
@pytest.mark.skipif(sys.platform != "linux", reason="for ELF")
def test_the_core_needs_the_c_library_only(compiled):
    text = "\n".join(lines_of("readelf", "-d", compiled.library))
    assert set(re.findall(r"NEEDED.*\[(.*)\]", text)) <= RUNTIME


@pytest.mark.slow
@needs("nm")
def test_the_core_shows_its_interface_only(compiled):
    if sys.platform == "linux":
        lines = lines_of("nm", "-D", "--defined-only", compiled.library)
        assert {line.split()[-1] for line in lines} == {"nf_abi", "nf_label", *library._SIGNATURES}


@pytest.mark.slow
@needs("nm")
def test_no_instruction_set_s_code_can_take_another_s_place(compiled):
    """A linker keeps one of several weak definitions, whichever object it comes from."""
    for path in compiled.objects:
        kinds = {parts[-2] for line in lines_of("nm", path) if len(parts := line.split()) == 3}
        assert not kinds & set("WVu"), path


# Building.


@needs_compiler
def test_it_is_compiled_again_only_if_sources_differ(small):
    made, said = make(small)
    assert made == small / build.NAME
    assert said[-1].startswith(f"{made} compiled by ")
    first = made.stat()
    assert make(small) == (made, [f"{made} is up to date"])
    assert made.stat() == first
    make(small, force=True)
    assert made.stat().st_ino != first.st_ino
    (small / "source" / "core.h").write_text("// new\n")
    assert "compiled" in make(small)[1][-1]
    assert {path.name for path in small.iterdir()} == {"source", build.NAME}


@needs_compiler
@pytest.mark.skipif(len(build.TARGETS) < 3, reason="one instruction set only")
def test_a_compiler_that_lacks_an_instruction_set(small, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", str(tmp_path / "old compiler").replace(" ", r"\ "))
    compiler = tmp_path / "old compiler"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *-mavx512f*) echo "error: no -mavx512f" >&2; exit 1;; esac\n'
        'exec cc "$@"\n'
    )
    compiler.chmod(0o755)
    if not shutil.which("cc"):
        pytest.skip("cc is not installed")
    _, said = make(small)
    assert said[0] == f"without avx512: {compiler} fails: error: no -mavx512f"
    assert said[1].endswith("for portable, avx2")


@needs_compiler
def test_sources_that_do_not_compile_leave_what_was_there(small):
    made, _ = make(small)
    before = made.read_bytes()
    (small / "source" / "core.cpp").write_text("int f() { return nowhere; }\n")
    with pytest.raises(build.BuildError, match="nowhere") as raised:
        make(small)
    assert "\n" not in str(raised.value)
    assert made.read_bytes() == before
    (small / "source" / "core.cpp").write_text("int nowhere(); int f() { return nowhere(); }\n")
    with pytest.raises(build.BuildError) as raised:
        make(small)
    assert "nowhere" in raised.value.output


@needs_compiler
def test_a_named_compiler_that_does_not_work_is_passed_over(small, monkeypatch):
    monkeypatch.setenv("CXX", "false --option")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build.find_compiler().name not in ("false", "no-such-compiler")


# Without a compiler: an empty PATH, and -S for no site-packages, where ziglang may be.


def without_compiler(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-S", *map(str, arguments)],
        env={"PATH": "", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_no_compiler_is_one_line_and_an_exit_code(tmp_path):
    done = without_compiler("-m", "noise_flow_tf.native.build", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("noise_flow_tf: no C++ compiler found (")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    done = without_compiler("-m", "noise_flow_tf.native.build", "--compiler")
    assert (done.returncode, done.stdout, done.stderr) == (1, "none\n", "")


WHEEL = """
import sys
if not {compiler}:
    sys.modules["ziglang"] = None
from setuptools import build_meta
print(build_meta.get_requires_for_build_wheel())
build_meta.build_wheel("wheels")
"""


@pytest.mark.parametrize("compiler", [pytest.param(True, marks=needs_compiler), False])
def test_wheels(compiler, tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    left_out = shutil.ignore_patterns("__pycache__", "libnoise_flow_core.*", "*.cpp")
    for name in ("noise_flow_tf", "sidd"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left_out)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    source = tmp_path / "noise_flow_tf" / "native" / "source"
    shutil.rmtree(source)
    write_sources(source)
    done = subprocess.run(
        [sys.executable, "-c", WHEEL.format(compiler=compiler)],
        env=os.environ if compiler else {"PATH": ""},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    asks = re.search(r"^\[.*\]$", done.stdout, re.MULTILINE)[0]
    assert asks == ("[]" if compiler else "['ziglang>=0.13']")
    (wheel,) = (tmp_path / "wheels").iterdir()
    assert wheel.stem.startswith("noise_flow_tf-") and "-py3-none-" in wheel.stem
    assert wheel.stem.endswith("-any") != compiler
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    native = tmp_path / "unpacked" / "noise_flow_tf" / "native"
    assert (native / build.NAME).is_file() == compiler
    assert (native / "source" / "kernels.cpp").is_file()
    assert ("no C++ compiler found" in done.stderr) != compiler


# Loading.


@needs_compiler
def test_a_compiled_core_is_available(small, monkeypatch, capsys):
    make(small)
    assert library.available()
    assert library.target() == build.TARGETS[0].name
    assert library.description() == f"core: compiled ({build.TARGETS[0].name})"
    library.say_missing_once()
    monkeypatch.setenv("NOISE_FLOW_CORE", "tensorflow")
    assert not library.available()
    assert library.target() is None
    assert library.description() == "core: TensorFlow (NOISE_FLOW_CORE=tensorflow)"
    library.say_missing_once()
    assert capsys.readouterr().err == ""


def test_no_library_is_said_once(small, monkeypatch, capsys):
    missing = "no compiled library; python -m noise_flow_tf.native.build makes it"
    assert not library.available()
    assert library.target() is None
    assert library.description() == f"core: TensorFlow ({missing})"
    monkeypatch.setenv("NOISE_FLOW_CORE", "tensorflow")
    library.say_missing_once()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("NOISE_FLOW_CORE")
    library.say_missing_once()
    library.say_missing_once()
    said = capsys.readouterr().err
    assert missing in said
    assert said.count("\n") == 1


@needs_compiler
def test_a_library_of_other_sources_is_not_used(small):
    make(small)
    (small / "source" / "core.h").write_text("// new\n")
    assert not library.available()
    assert "is not of these sources; rebuild with python -m noise_flow" in library.description()


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return 1", "return 7", "has interface 7, not 1; rebuild with"),
        ("nf_noise", "nf_other", "does not load: "),
    ],
)
def test_a_library_with_another_interface_is_not_used(small, old, new, said):
    (small / "source" / "core.cpp").write_text(CORE.replace(old, new))
    make(small)
    assert said in library.description()
    assert not library.available()


def test_a_damaged_library_is_not_used(small):
    (small / build.NAME).write_bytes(b"no library " + build.fingerprint())
    assert "does not load: " in library.description()


def test_the_switch_has_one_word(monkeypatch):
    monkeypatch.setenv("NOISE_FLOW_CORE", "tensorfow")
    with pytest.raises(ValueError, match="must be one of auto, native, tensorflow; got 'tens"):
        library.available()


# Threads.


@pytest.fixture
def eight_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 8),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "NOISE_FLOW_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "1", "NOISE_FLOW_THREADS": " 2 "}, 1),
        ({"OMP_NUM_THREADS": "64", "NOISE_FLOW_THREADS": ""}, 8),
    ],
)
def test_threads_are_the_least_of_the_limits(eight_processors, monkeypatch, limits, expected):
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    assert library.threads() == expected


@pytest.mark.parametrize(("setting", "expected"), [(0, 8), (5, 5), (12, 8)])
def test_threads_obey_tensorflow_if_it_is_loaded(eight_processors, monkeypatch, setting, expected):
    threading = SimpleNamespace(get_intra_op_parallelism_threads=lambda: setting)
    fake = SimpleNamespace(config=SimpleNamespace(threading=threading))
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    assert library.threads() == expected


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "NOISE_FLOW_THREADS"])
@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", "1_0", "²", "4,2"])
def test_other_numbers_of_threads_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} is '{value}'; it must be a whole number of at"):
        library.threads()


# The command.


def version(**environment):
    return subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys\nfrom noise_flow_tf.cli.main import main\nmain(['--version'])\n"
            "assert not {'tensorflow', 'numpy'} & set(sys.modules)",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_the_version_says_which_core_runs():
    done = version()
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"noise-flow [\d.]+", first)
    assert second == library.description()
    off = version(NOISE_FLOW_CORE="tensorflow").stdout
    assert off.splitlines()[1] == "core: TensorFlow (NOISE_FLOW_CORE=tensorflow)"
    wrong = version(NOISE_FLOW_CORE="gpu")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("noise-flow: NOISE_FLOW_CORE must be one of ")
    assert wrong.stderr.count("\n") == 1
