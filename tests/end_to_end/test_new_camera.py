import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli import parsing, train


@pytest.mark.slow
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


def at_iso(folder, root, iso):
    """Copy a dataset as if it had been shot at another ISO."""
    for instance in sidd.index(folder):
        name = instance.path.name.replace(f"_{instance.iso:05d}_", f"_{iso:05d}_")
        copy = shutil.copytree(instance.path, root / "Data" / name)
        for path in copy.glob("*METADATA*"):
            metadata = sidd.read_metadata(path, instance.camera)
            sidd.write_metadata(path, replace(metadata, iso=iso))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("added", [True, False])
def test_iso_levels_that_the_model_lacks_are_added(script, run_folder, new_pairs, tmp_path, added):
    root, run = at_iso(new_pairs, tmp_path / "sidd", 200), tmp_path / "run"
    which = ("--new_camera", "P9", "--from", run_folder[0]) if added else ("--arch", "S-G-CAM")
    done = script(
        *("train.py", *which, "--sidd_path", root, "--logdir", run, "--epochs", 1),
        *("--cache", tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "P9: ISO levels added for it: 200" in done.stdout
    assert not done.stderr
    space = nf.load(run).condition_space
    assert (space.cameras, space.levels_of("P9")) == (
        (*nf.CAMERAS, "P9") if added else ("P9",),
        (200,),
    )
    if added:
        assert space.levels_of("S6") == nf.ISO_LEVELS
        clean = tmp_path / "clean.npy"
        np.save(clean, np.full((16, 16), 0.5, np.float32))
        options = ("--model", run, "--clean", clean, "--iso", 200, "--out", tmp_path / "out")
        assert script("sample.py", *options, "--camera", "P9").returncode == 0
        done = script("sample.py", *options, "--camera", "S6")
        assert done.returncode == 2
        assert "camera S6 has no ISO 200 (cameras with this level: P9)" in done.stderr
        assert "; give --iso_interpolation" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--new_camera", "P9"), "--new_camera CODE and --from RUN go together"),
        (("--new_camera", "S6", "--from", "RUN"), "the model has camera S6 already"),
        (("--new_camera", "P9", "--from", "nowhere"), "nowhere holds no model"),
        (("--new_camera", "X1", "--from", "RUN"), "unknown camera X1"),
    ],
)
def test_bad_requests(capsys, run_folder, new_pairs, tmp_path, options, message):
    options = [str(run_folder[0]) if value == "RUN" else value for value in options]
    with pytest.raises(SystemExit) as stopped:
        parsing.run(
            lambda: train.main(
                [*options, "--sidd_path", str(new_pairs), "--logdir", str(tmp_path / "run")]
            )
        )
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
