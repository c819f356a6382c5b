import json

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd


def test_a_new_camera_trains_alone(script, run_folder, new_pairs, dataset, tmp_path):
    first, run = run_folder[0], tmp_path / "run"
    arguments = ("--sidd_path", new_pairs, "--logdir", run, "--cache", tmp_path / "cache")
    done = script(
        "train.py", "--new_camera", "P9", "--from", first, *arguments, "--epochs", 3, "--lr", 0.1
    )
    assert done.returncode == 0, done.stderr
    assert "\n3 parameters to train" in done.stdout
    before, after = nf.load(first), nf.load(run)
    assert after.cameras == (*before.cameras, "P9")
    assert nf.load(run / "saved_model").cameras == after.cameras
    start = before.with_camera("P9")
    frame = sidd.select_frames(sidd.index(dataset), "test", cameras=["S6"])[0]
    pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
    clean, noise = pair.clean[None], pair.noise[None]
    for camera in before.cameras:
        ours, theirs = (m(clean, pair.iso, camera).log_prob(noise) for m in (after, before))
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (m(clean, pair.iso, "P9").log_prob(noise) for m in (after, start))
    assert ours.numpy() > theirs.numpy()
    assert json.loads((run / "settings.json").read_text())["new_camera"] == "P9"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--new_camera", "P9"), "--new_camera CODE and --from RUN go together"),
        (("--new_camera", "S6", "--from", "RUN"), "the model has camera S6 already"),
        (("--new_camera", "P9", "--from", "nowhere"), "nowhere holds no model"),
        (("--new_camera", "X1", "--from", "RUN"), "unknown camera X1"),
    ],
)
def test_bad_requests_are_one_line(script, run_folder, new_pairs, tmp_path, options, message):
    options = [run_folder[0] if value == "RUN" else value for value in options]
    done = script("train.py", *options, "--sidd_path", new_pairs, "--logdir", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()
