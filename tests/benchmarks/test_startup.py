import numpy as np
import pytest

import noise_flow_tf as nf
from benchmarks import startup
from noise_flow_tf.saving import saved_model


@pytest.mark.slow
def test_a_script_leaves_its_marks(tmp_path):
    saved_model.save(nf.NoiseFlow("S-G", seed=0), tmp_path / "model")
    np.save(tmp_path / "clean.npy", np.full((8, 8, 4), 0.3, np.float32))
    marks = startup.time_script("sample", tmp_path / "model", tmp_path / "clean.npy")
    assert [*marks][2:] == ["load the model", "make noise", "write files and pictures"]
    assert [*marks.values()][0] > 0
    assert [*marks.values()] == sorted(marks.values())
