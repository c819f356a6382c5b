import json

import pytest

import noise_flow_tf as nf
import sidd
from benchmarks import denoiser_input
from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.saving import saved_model


@pytest.mark.slow
def test_every_noise_of_a_model_is_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = sidd.write_synthetic(
        tmp_path / "sidd", size=(64, 64), train_instances=5, test_instances=1, progress=False
    )
    saved_model.save(nf.NoiseFlow("S-G", seed=0), tmp_path / "model")
    flags = ["--model", "model", "--sidd_path", str(root), "--depth", "2", "--width", "4"]
    denoiser_input.main([*flags, "--n_batch_train", "2", "--steps", "3", "--json"])
    *_, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert set(told) == {name for name in SOURCES if not SOURCES[name].needs_model} | {"noise_flow"}
    for times in told.values():
        assert 0 < times["waited"] < times["step"]
        assert times["input_alone"] > 0
