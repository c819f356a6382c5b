"""Who may import whom, what is at the root, and what loads without TensorFlow."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("noise_flow_tf", "sidd")


def _modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(path):
    """The modules of ours that a file imports, wherever in it, but for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


EDGES = [(module, name) for module, path in _modules() for name in _imports(path)]

# A room, and the rooms of noise_flow_tf that it may not look at.
FORBIDDEN = {
    "native": ["*"],
    "bijectors": ["*"],
    "layers": ["model", "evaluation", "training", "saving", "sampling", "denoising", "plotting"],
    "distribution": ["layers", "model", "evaluation", "training", "saving", "sampling"],
    "conditions": ["*"],
    "architecture": ["*"],
    "model": ["evaluation", "training", "saving", "sampling", "denoising", "baselines"],
    "baselines": ["layers", "model", "evaluation", "training", "saving", "sampling"],
    "evaluation": ["training", "saving", "denoising"],
    "sampling": ["training", "evaluation", "denoising"],
    "saving": ["training"],
    "plotting": ["model", "training", "saving", "evaluation"],
    "denoising": ["plotting"],
}


def _within(name, room):
    return name == room or name.startswith(f"{room}.")


def test_the_dataset_does_not_know_the_model():
    assert not [e for e in EDGES if _within(e[0], "sidd") and _within(e[1], "noise_flow_tf")]


def test_only_programs_join_the_two_packages():
    joining = {
        module
        for module, name in EDGES
        if _within(module, "noise_flow_tf") and _within(name, "sidd")
    }
    assert joining
    assert all(_within(module, "noise_flow_tf.programs") for module in joining), joining


def test_only_few_look_at_the_core():
    """Layers name its operations, the distribution runs them, and others say when it is used."""
    own = "noise_flow_tf.native"
    allowed = {
        "noise_flow_tf.layers": {f"{own}.ops"},
        "noise_flow_tf.model": {f"{own}.ops"},
        "noise_flow_tf.distribution": {f"{own}.ops", f"{own}.use", f"{own}.graph"},
        "noise_flow_tf.cli": {f"{own}.library"},
        "noise_flow_tf.saving.run_folder": {f"{own}.library"},
        "noise_flow_tf.saving.numpy_weights": {f"{own}.ops", f"{own}.model"},
        "noise_flow_tf": {f"{own}.use"},
    }
    for module, name in EDGES:
        if _within(name, own) and not _within(module, own) and name != own:
            room = next(room for room in allowed if _within(module, room))
            assert any(_within(name, part) for part in allowed[room]), f"{module} imports {name}"


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_look_one_way(room):
    own = f"noise_flow_tf.{room}"
    seen = [name for module, name in EDGES if _within(module, own) and not _within(name, own)]
    seen = [name for name in seen if name != "noise_flow_tf"]
    for other in FORBIDDEN[room]:
        bad = seen if other == "*" else [n for n in seen if _within(n, f"noise_flow_tf.{other}")]
        assert not bad, f"{room} imports {bad}"


def test_only_the_command_line_imports_programs():
    for module, name in EDGES:
        if _within(name, "noise_flow_tf.programs"):
            assert module.startswith(("noise_flow_tf.programs", "noise_flow_tf.cli")), module
        if _within(name, "noise_flow_tf.cli"):
            assert module in ("noise_flow_tf.__main__",) or module.startswith("noise_flow_tf.cli")


def test_the_root_has_two_scripts_and_what_compiles_the_core():
    assert {path.name for path in ROOT.glob("*.py")} == {"train.py", "sample.py", "setup.py"}


HEAVY = [
    "tensorflow",
    "tensorflow_probability",
    "keras",
    "tf_keras",
    "matplotlib",
    "skimage",
    "scipy",
    "h5py",
    "numpy",
]


@pytest.mark.parametrize(
    "command",
    [
        [],
        *([name] for name in (
            "train", "sample", "fit-baseline", "evaluate", "paper", "train-denoiser",
            "evaluate-denoiser", "denoise", "burst", "camera", "weights",
        )),
        ["weights", "export"],
        ["sidd"],
        ["sidd", "index"],
    ],
    ids=lambda words: " ".join(words) or "noise-flow",
)  # fmt: skip
def test_help_needs_no_tensorflow(command):
    program = f"""
import json, sys
from noise_flow_tf.cli.main import main
try:
    main({[*command, "--help"]!r})
except SystemExit as ended:
    assert not ended.code
print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    *text, loaded = done.stdout.splitlines()
    assert json.loads(loaded) == []
    assert text[0].startswith(f"usage: {' '.join(['noise-flow', *command])}")


def test_importing_the_packages_loads_nothing():
    program = (
        "import sys, noise_flow_tf, sidd\n"
        f"assert not set(sys.modules) & set({HEAVY!r})\n"
        "for name in noise_flow_tf.__all__:\n"
        "    getattr(noise_flow_tf, name)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_switch_of_the_core_loads_no_tensorflow():
    program = (
        "import sys, noise_flow_tf\n"
        "from noise_flow_tf.native import ops, use\n"
        "noise_flow_tf.use_core(False)\n"
        f"assert not set(sys.modules) & set({HEAVY!r}) - {{'numpy'}}\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_bursts_need_no_tensorflow():
    program = (
        "import sys\nfrom noise_flow_tf.programs import burst\n"
        "assert not {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_unknown_names_and_commands():
    import noise_flow_tf
    from noise_flow_tf.cli.main import main

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        noise_flow_tf.nothing  # noqa: B018
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2


def test_the_names_for_type_checkers_are_those_that_are_loaded():
    import noise_flow_tf

    tree = ast.parse(Path(noise_flow_tf.__file__).read_text(encoding="utf-8"))
    named = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert named == set(noise_flow_tf.__all__)
