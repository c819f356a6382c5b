"""The command line itself: what it asks for, what it costs, and how it says no."""

import argparse
import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import sidd
from sidd.__main__ import main
from sidd.tools import synthesize
from sidd.tools.check import CheckConfig
from sidd.tools.check import run as run_check
from sidd.tools.download import DownloadConfig
from sidd.tools.download import run as run_download
from sidd.tools.index import IndexConfig
from sidd.tools.index import run as run_index
from sidd.tools.parser import add_commands
from sidd.tools.synthesize import SynthesizeConfig

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ("index", "check", "download", "synthesize")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "{tmp}/nowhere"], "nowhere: no such folder"),
        (["check", "{tmp}"], "no scene instance found"),
        (["download", "--url", "ftp://host/x.zip", "--out", "{tmp}"], "begins with http://"),
        (["download", "--url", "http://h/", "--out", "{tmp}"], "ends without a name"),
        (
            ["download", "--url", "http://h/x", "--out", "{tmp}", "--sha256", "0", "1"],
            "2 hashes for 1 URLs",
        ),
        (
            ["download", "--url", "http://h/x.zip", "http://other/a/x.zip", "--out", "{tmp}"],
            "x.zip: two URLs end with this name",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, message):
    assert main([text.format(tmp=tmp_path) for text in arguments]) == 2
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1 and output[0].startswith("python -m sidd: ") and message in output[0]


def test_unknown_arguments_are_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["check", "x", "--processes", "0"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "python -m sidd check: argument --processes: invalid positive whole number value: '0'\n"
    )


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_loads_nothing_heavy(command):
    heavy = {"tensorflow", "h5py", "skimage", "matplotlib", "scipy", "cv2", "numpy"}
    code = f"""
import sys
from sidd.__main__ import main
try:
    main({command} + ["--help"])
except SystemExit as stopped:
    assert not stopped.code
found = {heavy} & set(sys.modules)
assert not found, found
"""
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    prog = " ".join(["python -m sidd", *command])
    assert output.stdout.startswith(f"usage: {prog} ")


def test_a_process_of_its_own(offline):
    command = [sys.executable, "-m", "sidd"]
    output = subprocess.run([*command, "index", offline], cwd=ROOT, capture_output=True, text=True)
    assert output.returncode == 0 and output.stdout.splitlines()[-1].split()[:3] == [
        "all",
        "11",
        "22",
    ]
    output = subprocess.run([*command, "index", "none"], cwd=ROOT, capture_output=True, text=True)
    assert output.returncode == 2 and not output.stdout
    assert output.stderr == "python -m sidd: none: no such folder; expected a SIDD dataset\n"


def test_any_parser_takes_the_commands(offline, capsys):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise ValueError(f"{self.prog}: {message}")

    top = Parser(prog="camera")
    groups = top.add_subparsers(dest="group")
    add_commands(groups.add_parser("sidd").add_subparsers(dest="command"))
    args = top.parse_args(["sidd", "index", str(offline)])
    assert (args.group, args.command) == ("sidd", "index") and args.run(args) == 0
    assert capsys.readouterr().out.startswith("camera ")
    args = top.parse_args(["sidd", "check", "nowhere"])
    with pytest.raises(sidd.SiddError, match="nowhere: no such folder"):
        args.run(args)
    with pytest.raises(ValueError, match="camera sidd check: .*required: ROOT"):
        top.parse_args(["sidd", "check"])


def test_commands_can_be_called_from_python(offline, tmp_path, capsys):
    assert run_index(IndexConfig(offline)) == 0
    assert run_check(CheckConfig(offline, processes=1)) == 0
    assert "0 damaged, 0 missing" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown dataset small; allowed: medium-raw, full-raw"):
        run_download(DownloadConfig(["http://h/x.zip"], tmp_path, dataset="small"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        IndexConfig(offline).root = tmp_path


@pytest.fixture
def tiny(monkeypatch):
    """The offline dataset, made smaller."""
    small = {"size": (32, 48), "train_instances": 2, "test_instances": 1, "progress": False}
    write = functools.partial(sidd.write_synthetic, **small)
    monkeypatch.setattr(synthesize, "write_synthetic", write)


def test_synthesize_writes_a_dataset_once(tiny, tmp_path, capsys):
    root = tmp_path / "new" / "er" / "sidd"
    assert main(["synthesize", "--out", str(root), "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{root}: 3 scene instances, 6 frames, seed 3\n"
    assert sidd.read_manifest(root)["seed"] == 3
    assert len(sidd.select_frames(sidd.index(root), "train")) == 4
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert main(["synthesize", "--out", str(root), "--seed", "3"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert synthesize.run(SynthesizeConfig(tmp_path / "other")) == 0
    assert sidd.read_manifest(tmp_path / "other")["seed"] == 0


@pytest.mark.parametrize(
    ("seed", "message"),
    [("1", "has an offline dataset with other settings"), ("-1", "seed must not be negative")],
)
def test_synthesize_leaves_what_it_did_not_write(tiny, tmp_path, capsys, seed, message):
    root = tmp_path / "sidd"
    assert main(["synthesize", "--out", str(root)]) == 0
    assert main(["synthesize", "--out", str(root), "--seed", seed]) == 2
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1 and output[0].startswith("python -m sidd: ") and message in output[0]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mum.txt").touch()
    assert main(["synthesize", "--out", str(tmp_path / "letters")]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
