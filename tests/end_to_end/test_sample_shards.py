"""Sampling in several processes, and what becomes of their results."""

import contextlib
import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import noise_flow_tf as nf
from noise_flow_tf.cli import sample
from noise_flow_tf.saving import saved_model

OPTIONS = ["--model", "model", "--clean", "clean", "--iso", "800", "--camera", "S6"]
OPTIONS += ["--pictures", "none", "--draws", "3", "--formats", "npy", "png"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, five images of different sizes, all draws in `whole`, and two shards in `two`."""
    root = tmp_path_factory.mktemp("made")
    saved_model.save(nf.NoiseFlow("sdn5|unc|gain4", seed=0), root / "model")
    rng = np.random.default_rng(0)
    (root / "clean" / "sub").mkdir(parents=True)
    for name, size in {"a": 4, "b": 40, "c": 12, "sub/a": 20, "sub/d": 8}.items():
        np.save(root / f"clean/{name}.npy", rng.uniform(0.1, 0.9, [size, 16]).astype("f4"))
    with contextlib.chdir(root):
        run("whole")
        run("two", "--shard", "0/2")
        run("two", "--shard", "1/2")
    return root


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of it all, which is the current folder."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def run(out, *options):
    sample.main([*OPTIONS, "--out", str(out), *options])


def merge(out, *options):
    sample.main(["--merge", str(out), *options])


def files(folder):
    """The results; records of shards are there besides."""
    paths = [p for p in folder.rglob("[!.]*.*") if not p.name.startswith("samples-")]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture
def whole(folder):
    return files(folder / "whole")


@pytest.mark.parametrize("count", [1, 2, 7, pytest.param(20, marks=pytest.mark.slow)])
def test_shards_are_one_process_byte_by_byte(folder, whole, count):
    order = random.Random(count).sample(range(count), count)
    for number in order:
        run("out", "--shard", f"{number}/{count}")
    pixels = []
    for number in range(count):
        plan = json.loads((folder / f"out/samples-{number}-of-{count}.json").read_text())
        names = [files[0] for files in plan["files"].values()]
        pixels.append(sum(np.load(folder / "out" / name).size for name in names))
    assert sum(pixels) == 3 * 84 * 16
    assert max(pixels) <= 3 * 84 * 16 / count + 40 * 16  # within one draw
    merge("out")
    assert files(folder / "out") == whole
    run("out", "--shard", f"{order[0]}/{count}")
    merge("out")
    assert files(folder / "out") == whole


def test_the_part_of_a_task_of_an_array(folder, whole, monkeypatch):
    for name, value in {"MIN": 3, "MAX": 5, "COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    for task in (3, 5):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        run("out", "--shard", "slurm")
    merge("out")
    assert files(folder / "out") == whole


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("2/2", "I is from 0 to N - 1, here from 0 to 1; got 2/2"),
        ("0/0", "N must be at least 1; got 0/0"),
        ("1", "must be I/N, such as 0/4, or slurm; got '1'"),
        ("-1/2", "must be I/N"),
        ("1/2/3", "must be I/N"),
        ("slurm", "SLURM_ARRAY_TASK_ID is ''; start it by sbatch --array=0-N"),
    ],
)
def test_wrong_shards(folder, monkeypatch, shard, message):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(ValueError, match=message):
        run("out", f"--shard={shard}")
    assert not (folder / "out").exists()


def uneven(monkeypatch):
    for name, value in {"ID": 3, "MIN": 1, "MAX": 7, "COUNT": 3}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


def test_an_array_of_uneven_numbers(folder, monkeypatch):
    uneven(monkeypatch)
    with pytest.raises(ValueError, match="3 tasks from 1 to 7 are not evenly numbered"):
        run("out", "--shard", "slurm")


@pytest.fixture
def out(folder):
    """Two complete shards."""
    return (folder / "two").rename(folder / "out")


def lose_a_shard(out):
    (out / "samples-1-of-2.json").unlink()


def lose_a_record(out):
    (out / "samples-1-of-2.csv").unlink()


def cut_a_record(out):
    record = out / "samples-0-of-2.csv"
    record.write_bytes(record.read_bytes()[:-30])


def damage_a_record(out):
    (out / "samples-0-of-2.csv").write_bytes(b"\x00\xff" * 50)


def damage_a_plan(out):
    (out / "samples-0-of-2.json").write_text('{"shard": "0/2", "plan"')


def empty_a_file(out):
    (out / "b_001_noise.npy").write_bytes(b"")


def swap_two_files(out):
    (out / "a_000_noise.npy").write_bytes((out / "a_001_noise.npy").read_bytes())


def add_another_plan(out):
    run("out", "--shard", "0/3")


def run_with_another_seed(out):
    run("out", "--shard", "1/2", "--seed", "5")


def run_with_another_model(out):
    saved_model.save(nf.NoiseFlow("sdn5|unc|gain4", seed=1), out.parent / "model")
    run("out", "--shard", "1/2")


def run_with_another_core(out):
    record = out / "samples-1-of-2.csv"
    with record.open() as file:
        rows = list(csv.DictReader(file))
    with record.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "version": "another core"} for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_shard, r"out: 1 shard \(1/2\) is missing; run --shard 1/2"),
        (lose_a_record, r"samples-1-of-2.csv: 9 draws .* are missing; run --shard 1/2 again"),
        (cut_a_record, r"samples-0-of-2.csv: 1 draw .* is missing; run --shard 0/2 again"),
        (damage_a_record, "samples-0-of-2.csv: is not a record of sample.py"),
        (damage_a_plan, "samples-0-of-2.json: is damaged; run --shard 0/2 again"),
        (empty_a_file, "the files of draw b_001 are gone or not as they were written; run --shard"),
        (swap_two_files, "the files of draw a_000 are gone or not as they were written"),
        (add_another_plan, "out: has shards of plans of 2 and of 3; remove those"),
        (
            run_with_another_seed,
            "shards 0/2 and 1/2 are of 2 plans: other images, options",
        ),
        (run_with_another_model, "made by 2 models: .* or give --allow_mixed model"),
        (run_with_another_core, "made by 2 cores: .*another core.* or give --allow_mixed core"),
    ],
)
def test_what_is_not_merged(out, change, message):
    change(out)
    with pytest.raises(ValueError, match=message):
        merge("out")
    assert not (out / "samples.csv").exists()


@pytest.mark.parametrize(
    ("change", "name"), [(run_with_another_model, "model"), (run_with_another_core, "core")]
)
def test_mixtures_by_name(out, change, name):
    change(out)
    merge("out", "--allow_mixed", name)
    assert len((out / "samples.csv").read_text().splitlines()) == 16


def test_a_folder_without_shards(folder):
    with pytest.raises(ValueError, match="whole: has no shards; noise-flow sample --shard I/N"):
        merge("whole")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of --clean and --merge is needed"),
        (["--clean", "a", "--merge", "b"], "one of --clean and --merge is needed"),
        (["--clean", "a", "--allow_mixed", "core"], "--allow_mixed is for --merge"),
        (["--clean", "a", "--address", "auto"], "--address is for --engine ray"),
        (["--shard", "0/2", "--merge", "b"], "--shard is for drawing, before --merge"),
    ],
)
def test_options_that_do_not_go_together(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        sample.main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_ray_is_one_process_byte_by_byte(folder, whole):
    pytest.importorskip("ray", reason="Ray is not installed")
    run("out", "--engine", "ray")
    assert files(folder / "out") == whole
    (folder / "out/b_001_noise.npy").unlink()
    run("out", "--engine", "ray")
    assert files(folder / "out") == whole


def ray_workers():
    """The processes that draw."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                yield int(entry.name)


@pytest.mark.slow
def test_killed_workers_of_ray_lose_nothing(folder):
    """One of them is killed at each of five moments of the work, then the whole command."""
    pytest.importorskip("ray", reason="Ray is not installed")
    many = ["--draws", "60", "--formats", "npy"]
    run("expected", *many)
    expected = files(folder / "expected")
    line = [sys.executable, "-m", "noise_flow_tf", "sample", *OPTIONS, *many, "--engine", "ray"]
    out = folder / "out"
    for done in (0, 60, 120, 180, 240):
        shutil.rmtree(out, ignore_errors=True)
        process, killed = subprocess.Popen([*line, "--out", "out"]), 0
        while process.poll() is None:
            if not killed and len(list(out.rglob("*_noisy.npy"))) >= done:
                for worker in itertools.islice(ray_workers(), 1):
                    os.kill(worker, signal.SIGKILL)
                    killed = worker
            time.sleep(0.01)
        assert process.returncode == 0 and killed
        assert files(out) == expected
    shutil.rmtree(out)
    process = subprocess.Popen([*line, "--out", "out"])
    while len(list(out.rglob("*_noisy.npy"))) < 100:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    run("out", *many, "--engine", "ray")
    assert files(out) == expected


@pytest.mark.slow
def test_a_killed_shard_is_run_again(folder, whole):
    """Killed at five moments, from its start to its last draws."""
    command = [sys.executable, "-m", "noise_flow_tf", "sample", *OPTIONS, "--out", "out"]
    command += ["--shard", "1/2"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    for part in (0.3, 0.6, 0.8, 0.9, 0.97):
        for path in (folder / "out").glob("*"):
            if path.is_file():
                path.unlink()
        process = subprocess.Popen(command)
        time.sleep(part * seconds)
        process.kill()
        process.wait()
        subprocess.run(command, check=True)
        run("out", "--shard", "0/2")
        merge("out")
        assert files(folder / "out") == whole
