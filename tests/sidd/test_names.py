"""The package's public names, and what importing it does not cost."""

import ast
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from importlib import import_module
from pathlib import Path

import pytest

import sidd
from sidd.cameras import Camera, Sensor

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"tensorflow", "h5py", "skimage", "matplotlib", "scipy", "cv2", "numpy"}


def run(code):
    """What Python prints that has imported nothing yet."""
    actual = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert actual.returncode == 0, actual.stderr
    return actual.stdout


def test_names():
    assert set(sidd.__all__) <= set(dir(sidd))
    for name in sidd.__all__:
        assert getattr(sidd, name) is not None
    with pytest.raises(AttributeError, match="'sidd' has no attribute 'read_pears'"):
        _ = sidd.read_pears


@pytest.mark.parametrize(
    "record",
    [sidd.Block, sidd.Frame, sidd.Metadata, sidd.Pair, sidd.SceneInstance, Camera, Sensor],
)
def test_records_cannot_be_changed(record):
    blank = object.__new__(record)
    with pytest.raises(FrozenInstanceError):
        setattr(blank, fields(record)[0].name, 1)


def test_a_type_checker_sees_the_same_names():
    tree = ast.parse(Path(sidd.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    modules = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(modules) == set(sidd.__all__)
    for name, module in modules.items():
        assert getattr(import_module(module), name) is getattr(sidd, name)


def test_importing_loads_nothing_heavy():
    run(f"import sys, sidd; found = {HEAVY} & set(sys.modules); assert not found, found")


def test_reading_needs_no_tensorflow():
    wanted = {"tensorflow", "skimage", "matplotlib"}
    names = "sidd.Patches, sidd.read_pair, sidd.render, sidd.index"
    run(f"import sys, sidd; {names}; found = {wanted} & set(sys.modules); assert not found, found")


def test_an_error_comes_out_of_another_process_as_itself():
    content = run(
        "import pickle, sys, sidd\n"
        "sys.stdout.write(pickle.dumps(sidd.SiddError('a: is no file'), 0).decode())"
    )
    error = pickle.loads(content.encode())
    assert type(error) is sidd.SiddError and str(error) == "a: is no file"
