"""What stands on disk says its format and its kind; what an earlier version wrote still loads."""

import json

import numpy as np
import pytest

import noise_flow_tf as nf
from noise_flow_tf import denoising
from noise_flow_tf.saving import denoiser, run_folder, saved_model
from noise_flow_tf.saving.files import partial_of, replacing
from noise_flow_tf.saving.run_folder import RunFolder


def _change(path, **values):
    about = json.loads(path.read_text())
    about = {name: v for name, v in (about | values).items() if v is not None}
    path.write_text(json.dumps(about))


@pytest.fixture
def noise_model(tmp_path):
    model = nf.NoiseFlow("sdn5|gain4", seed=0)
    model.layers[1].gain_val.assign(0.7)
    saved_model.save(model, tmp_path / "model")
    return tmp_path / "model"


def test_saved_models_say_what_they_are(noise_model, tmp_path):
    about = json.loads((noise_model / "noise_flow.json").read_text())
    assert (about["format"], about["kind"]) == (run_folder.FORMAT, "noise model")
    denoising.save(denoising.DnCNN(depth=2, width=4, seed=0), tmp_path / "denoiser")
    about = json.loads((tmp_path / "denoiser" / "denoiser.json").read_text())
    assert (about["format"], about["kind"]) == (run_folder.FORMAT, "denoiser")
    assert denoising.load(tmp_path / "denoiser").depth == 2


def test_saved_models_of_earlier_versions_load(noise_model):
    _change(noise_model / "noise_flow.json", format=None, kind=None)
    assert nf.load(noise_model).layers[1].gain_val.numpy() == np.float32(0.7)


def test_a_later_format_is_refused_by_name(noise_model, tmp_path):
    _change(noise_model / "noise_flow.json", format=7)
    with pytest.raises(ValueError, match=r"model has format 7, .* reads up to 1: install a newer"):
        nf.load(noise_model)
    denoiser.save(denoising.DnCNN(depth=2, width=4, seed=0), tmp_path / "denoiser")
    _change(tmp_path / "denoiser" / "denoiser.json", format=7)
    with pytest.raises(ValueError, match="denoiser has format 7"):
        denoising.load(tmp_path / "denoiser")


def test_a_folder_is_replaced_once_the_new_one_is_complete(tmp_path):
    target, left = tmp_path / "model", partial_of(tmp_path / "model")
    target.mkdir()
    (target / "old").touch()

    def below():
        return {path.name for path in tmp_path.rglob("*")}

    def crashed():
        left.mkdir()
        (left / "half").touch()

    crashed()
    with pytest.raises(KeyboardInterrupt), replacing(target) as partial:
        partial.mkdir()
        (partial / "new").touch()
        raise KeyboardInterrupt
    assert below() == {"model", "old"}
    crashed()
    with replacing(target) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert below() == {"model", "new"}
    left.symlink_to(target)
    with replacing(target) as partial:
        partial.mkdir()
    assert below() == {"model"} and target.is_dir()


SETTINGS = {"arch": "sdn4|gain4", "width": 4}


def test_run_folders_say_what_they_are(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(SETTINGS)
    settings = run.read_settings()
    assert (settings["format"], settings["kind"]) == (run_folder.FORMAT, "noise model")
    _change(run.settings, format=None, kind=None)  # as of an earlier version
    assert run.read_settings()["arch"] == "sdn4|gain4"
    _change(run.settings, format=7)
    with pytest.raises(ValueError, match=r"settings\.json has format 7"):
        run.read_settings()


def test_runs_of_another_kind_are_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create({**SETTINGS, "depth": 2, "noise_scale": 1.0, "noise": "real"})
    with pytest.raises(ValueError, match="not the settings of a run of noise-flow train-denoiser"):
        denoising.DenoiserRun(run.path).read_settings()
