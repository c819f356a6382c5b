"""Compiles the core: `python -m noise_flow_tf.native.build`.

`source/kernels.cpp` is compiled once per instruction set of the machine's architecture, and
`source/core.cpp` chooses among them at run time, so the library runs on any such machine. It needs
nothing but the C library: neither Python, nor TensorFlow, nor a C++ runtime.

`setup.py` imports this file by its path, so it needs the standard library only.
"""

import argparse
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER / "source"
NAME = "libnoise_flow_core.dylib" if sys.platform == "darwin" else "libnoise_flow_core.so"
COMMAND = "python -m noise_flow_tf.native.build"
SLOWER = "without the compiled core TensorFlow does its work, more slowly"

# Not -ffast-math: what is not finite must be seen. Contraction into fused multiply-adds is allowed.
FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti"),
    *("-fno-math-errno", "-ffp-contract=fast"),
)
# A symbol that is nowhere, such as one of a C++ runtime, ends the link and not the first use.
LINK_FLAGS = (
    *("-O3", "-shared"),
    *(("-Wl,-z,defs", "-Wl,--as-needed") if sys.platform == "linux" else ()),
    *("-lm", "-lpthread"),
)


class Target(NamedTuple):
    """An instruction set, with the number of float32 in its registers."""

    name: str
    lanes: int
    flags: tuple[str, ...] = ()


_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl")
# Each architecture's baseline first: without it there is no library.
_X86 = (Target("portable", 4), Target("avx2", 8, _AVX2), Target("avx512", 16, _AVX512))
_ARM = (Target("neon", 4),)
TARGETS = {"x86_64": _X86, "amd64": _X86, "arm64": _ARM, "aarch64": _ARM}.get(
    platform.machine().lower(), (Target("portable", 4),)
)


class BuildError(RuntimeError):
    """Why there is no library, in one line; `output` is all that the compiler said."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output and f"{output.rstrip()}\n"


class Compiler(NamedTuple):
    """Commands that compile C++ and link without a C++ runtime."""

    name: str
    compiling: tuple[str, ...]
    linking: tuple[str, ...]

    def compile(self, source: Path, output: Path, *flags: str) -> None:
        self._run(output, *self.compiling, *FLAGS, *flags, "-x", "c++", "-c", str(source))

    def link(self, objects: Sequence[Path], output: Path) -> None:
        self._run(output, *self.linking, *map(str, objects), *LINK_FLAGS)

    def _run(self, output: Path, *command: str) -> None:
        # Zig would fill a cache in the home folder.
        caches = dict.fromkeys(["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"], str(output.parent))
        try:
            done = subprocess.run(
                [*command, "-o", str(output)],
                env=os.environ | caches,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise BuildError(f"{self.name} does not run: {error}") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            line = next((one for one in lines if "error" in one.lower()), lines[-1])
            raise BuildError(f"{self.name} fails: {line.strip()}", done.stderr)


def sources() -> list[Path]:
    """Return the sources, headers included."""
    return sorted(path for path in SOURCES.iterdir() if path.suffix in (".cpp", ".h"))


def fingerprint() -> bytes:
    """Return what is in a library of these sources, flags and architecture, and in no other."""
    hashed = hashlib.sha256(repr((TARGETS, FLAGS, LINK_FLAGS, NAME)).encode())
    for path in sources():
        text = path.read_bytes()
        hashed.update(f"{path.name} {len(text)} ".encode() + text)
    return f"noise_flow_core of {hashed.hexdigest()}".encode()


def is_current(library: Path) -> bool:
    """Whether a library was made from the sources as they are; without sources, it was."""
    return not SOURCES.is_dir() or fingerprint() in library.read_bytes()


@cache
def find_compiler() -> Compiler | None:
    """Return the first compiler that compiles and links, with `ziglang` as the last resort."""
    return next(_compilers(), None)


def build(
    folder: str | Path = FOLDER, *, force: bool = False, say: Callable[[str], object] = print
) -> Path:
    """Compile the library, unless it is there already.

    Args:
        folder: Where to put it.
        force: Compile also if it is there, made from the same sources.
        say: Is called with each line of what is done.

    Returns:
        The library.

    Raises:
        BuildError: There is no compiler, or it fails.
        OSError: The library cannot be written.
    """
    library = Path(folder) / NAME
    if not force and library.is_file() and is_current(library):
        say(f"{library} is up to date")
        return library
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(
            "no C++ compiler found ($CXX, $CC, or cc, gcc, clang, c++ on PATH, or the package "
            f"ziglang: pip install ziglang); {SLOWER}"
        )
    library.parent.mkdir(parents=True, exist_ok=True)
    # Beside the library, so that it is renamed within one file system, and at once.
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as temporary:
        objects, targets = compile_objects(compiler, Path(temporary), say)
        made = Path(temporary) / NAME
        compiler.link(objects, made)
        made.replace(library)
    say(f"{library} compiled by {compiler.name} for {', '.join(targets)}")
    return library


def compile_objects(
    compiler: Compiler, folder: Path, say: Callable[[str], object] = print
) -> tuple[list[Path], list[str]]:
    """Return the object files, and the names of the targets that the compiler can compile for."""

    def kernels(target: Target) -> Path | BuildError:
        output = folder / f"kernels_{target.name}.o"
        defined = (f"-DNF_TARGET={target.name}", f"-DNF_LANES={target.lanes}")
        try:
            compiler.compile(SOURCES / "kernels.cpp", output, *target.flags, *defined)
        except BuildError as error:
            return error
        return output

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = dict(zip(TARGETS, pool.map(kernels, TARGETS), strict=True))
    objects, targets = [], []
    for target, result in results.items():
        if isinstance(result, Path):
            objects.append(result)
            targets.append(target.name)
        elif target == TARGETS[0]:
            raise result
        else:
            say(f"without {target.name}: {result}")
    core, label = folder / "core.o", folder / "label.o"
    compiler.compile(SOURCES / "core.cpp", core, *(f"-DNF_HAVE_{name.upper()}" for name in targets))
    source = label.with_suffix(".cpp")
    source.write_text(
        'extern "C" __attribute__((visibility("default"))) const char nf_label[];\n'
        f'const char nf_label[] = "{fingerprint().decode()}";\n'
    )
    compiler.compile(source, label)
    return [*objects, core, label], targets


def _compilers() -> Iterator[Compiler]:
    named = [os.environ.get(variable, "").strip() for variable in ("CXX", "CC")]
    for words in (shlex.split(one) for one in [*named, "cc", "gcc", "clang", "c++"] if one):
        program = shutil.which(words[0])
        command = (program or words[0], *words[1:])
        compiler = Compiler(words[0], command, command)
        if program and _works(compiler):
            yield compiler
    if importlib.util.find_spec("ziglang"):
        yield _zig()


def _works(compiler: Compiler) -> bool:
    """Whether it compiles C++ against the C library's headers, and links a library."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(
            "#include <math.h>\n#include <pthread.h>\n#include <stdlib.h>\n"
            'extern "C" double probe(double x) { return sqrt(x); }\n'
        )
        try:
            compiler.compile(source, source.with_suffix(".o"))
            compiler.link([source.with_suffix(".o")], source.with_suffix(".so"))
        except BuildError:
            return False
    return True


def _zig() -> Compiler:
    """Return the compiler of the package `ziglang`, which has all headers and libraries it needs.

    By default it would compile for the processor of this machine, not for all of its kind.
    """
    machine, libc = platform.machine().lower(), platform.libc_ver()[0]
    known = sys.platform == "linux" and libc == "glibc" and machine in ("x86_64", "aarch64")
    place = ("-target", f"{machine}-linux-gnu.2.17") if known else ("-mcpu=baseline",)
    start = (sys.executable, "-m", "ziglang")
    return Compiler("ziglang", (*start, "c++", *place), (*start, "cc", "-s", *place))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Compile the core of noise_flow_tf for this machine's processors."
    )
    parser.add_argument("--out", default=FOLDER, type=Path, help="folder of the library")
    parser.add_argument("--force", action="store_true", help="compile also if it is up to date")
    parser.add_argument(
        "--compiler",
        action="store_true",
        help="only print the compiler that would be used; without one the exit code is 1",
    )
    options = parser.parse_args(arguments)
    if options.compiler:
        compiler = find_compiler()
        print(compiler.name if compiler else "none")
        return 0 if compiler else 1
    try:
        build(options.out, force=options.force)
    except (BuildError, OSError) as error:
        output = getattr(error, "output", "")
        print(f"{output}noise_flow_tf: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
