"""A model of a real camera's noise, from few frames: `studies.own_camera` on a Nikon D7000."""

from pathlib import Path

import pytest

import noise_flow_tf as nf
from tests.reference import FULL

FLATS = Path(__file__).resolve().parents[2] / "shared" / "real" / "d7000_iso100_flats.npz"
RELEASE = FULL / "release_checkpoint" / "model.ckpt.best"


@pytest.mark.skipif(
    not (FLATS.is_file() and Path(f"{RELEASE}.index").is_file()),
    reason="needs ../shared/real and the released checkpoint",
)
@pytest.mark.slow
def test_the_kept_model_is_no_worse_than_the_nlf():
    from studies import own_camera

    found = own_camera.d7000(nf.load(RELEASE), FLATS, steps=200, seed=0)
    scores = found["scores"]
    kept = scores[found["kept"]]
    assert kept["nll"] < scores["camera_nlf"]["nll"] + 0.003
    assert kept["nll"] < scores["gaussian"]["nll"] - 0.3
    assert kept["kl"] < 2 * scores["camera_nlf"]["kl"] and kept["ratio"] == pytest.approx(
        1, abs=0.05
    )
    assert found["starts"]["added"] < found["mean start"] - 0.9
