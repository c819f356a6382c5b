import numpy as np

from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst


def test_bursts_become_pairs(script, tmp_path):
    sensor = SimulatedSensor()
    for number, level in enumerate((0.1, 0.9)):
        clean = textured_scene((128, 160), number) * np.float32(level)
        write_burst(tmp_path / "shots" / str(number), sensor, clean, 5, number)
    done = script("burst", tmp_path / "shots", "--camera", "A7", "--out", tmp_path / "pairs")
    assert done.returncode == 0, done.stderr
    assert "variance = slope x + offset" in done.stdout
    assert str(tmp_path / "pairs" / "report.md") in done.stdout
    failed = script("burst", tmp_path / "none", "--camera", "A7", "--out", tmp_path / "other")
    assert failed.returncode == 2
    (line,) = failed.stderr.strip().splitlines()
    assert line.startswith("noise-flow burst: ") and "no such folder" in line
