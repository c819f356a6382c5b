"""A pytest plugin: the code of README.md and docs/*.md runs; `make docs` names it with -p.

- `python`: the blocks of a page run one after the other in one namespace.
- `bash`: the commands run, in the folder of the page's blocks.
- `sh`: what needs a dataset, hours or a network is checked only: options against the parsers, and
  targets against the Makefile.
- Indented blocks of commands are checked like `sh`.
- `text` is shown. `<!--- skip: next -->` names a condition and a reason.
"""

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from skimage import data, io
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from sidd.tools.parser import add_commands

ROOT = Path(__file__).resolve().parents[1]
_PLACES = ("noise-flow", ".venv/bin/noise-flow")


def _run(example: Example) -> str | None:
    done = subprocess.run(
        ["bash", "-eu", "-c", str(example.parsed)], capture_output=True, text=True, timeout=300
    )
    return None if done.returncode == 0 else f"{example.parsed}\n{done.stdout}{done.stderr}"


def _check(example: Example) -> str | None:
    problems = [_problem(line) for line in _commands(str(example.parsed))]
    return "\n".join(filter(None, problems)) or None


def _commands(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def _problem(line: str) -> str | None:
    """What is wrong with one command, if it is one of ours."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = {word for word in words[1:] if "=" not in word} - {*targets}
        return f"{line}: no such target" if unknown else None
    if not words or words[0] not in _PLACES or "--help" in words or "--version" in words:
        return None
    name, arguments = words[1], words[2:]
    try:
        if name == "sidd":
            parser = argparse.ArgumentParser("noise-flow sidd")
            add_commands(parser.add_subparsers(required=True))
            parser.parse_args(arguments)
        else:
            module = importlib.import_module(f"noise_flow_tf.cli.{name.replace('-', '_')}")
            module.parse(arguments, f"noise-flow {name}")
    except SystemExit as ended:
        return f"{line}: refused" if ended.code else None
    return None


def _indented(document: Document) -> list[Region]:
    """Blocks of commands that are indented by four spaces, outside fences."""
    fences = [found.span() for found in re.finditer(r"(?ms)^```.*?^```$", document.text)]
    return [
        Region(*block.span(), re.sub(r"(?m)^    ", "", block.group()), _check)
        for block in re.finditer(r"(?m)(?<=\n\n)(?:    .*\n?)+", document.text)
        if not any(begin <= block.start() < end for begin, end in fences)
    ]


def _setup(namespace: dict) -> None:
    """A folder with a photograph and a raw image; commands and imports find this checkout."""
    folder = tempfile.TemporaryDirectory(prefix="documentation")
    namespace |= {"_folder": folder, "_before": (os.getcwd(), os.environ["PATH"])}
    namespace["has_torch"] = importlib.util.find_spec("torch") is not None
    namespace["has_ray"] = importlib.util.find_spec("ray") is not None
    os.chdir(folder.name)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    io.imsave("photo.jpg", data.astronaut(), check_contrast=False)
    np.save("clean.npy", np.full((32, 32, 4), 0.2, np.float32))


def _teardown(namespace: dict) -> None:
    before, os.environ["PATH"] = namespace["_before"]
    os.chdir(before)
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("bash", _run),
        CodeBlockParser("sh", _check),
        _indented,
        SkipParser(),
    ],
    path=str(ROOT),
    patterns=["README.md", "docs/*.md"],
    setup=_setup,
    teardown=_teardown,
).pytest()
