"""What programs choose, name and refuse before they compute anything."""

import signal
from types import SimpleNamespace

import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli import parsing
from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.programs import dataset, evaluate, paper, train_denoiser
from noise_flow_tf.programs.configs import (
    OFFLINE_PAPER,
    PaperConfig,
    TrainConfig,
    TrainDenoiserConfig,
)
from noise_flow_tf.saving.run_folder import RunFolder


def test_trainings_of_the_paper():
    config = paper.of_variant(PaperConfig(seed=3, cache="c"), "run", "S-G")
    assert config.resume and config.logdir == "run" and config.arch == "S-G"
    assert (config.seed, config.cache, config.sidd_path) == (3, "c", None)
    assert (config.epochs, config.n_patches_per_image) == (OFFLINE_PAPER.epochs, None)
    full = PaperConfig(full=True, sidd_path="sidd")
    config = paper.of_variant(full, "run", "S-G")
    assert (config.sidd_path, config.n_patches_per_image) == ("sidd", 2898)
    assert (config.epochs, config.n_batch_train) == (None, None)
    own = TrainConfig(epochs=4, seed=9)
    config = paper.of_variant(PaperConfig(train=own), "run", "S-G")
    assert (config.epochs, config.seed) == (4, 0)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [({"cam": ["S6", "XX"]}, "--cam XX: .* has IP, GP, S6, N6, G4"), ({"iso": [123]}, "--iso 123")],
)
def test_what_the_offline_dataset_lacks_is_refused_before_it_is_written(monkeypatch, chosen, told):
    monkeypatch.setattr(sidd, "write_synthetic", lambda *_, **__: pytest.fail("written"))
    with pytest.raises(ValueError, match=told):
        dataset.frames(TrainConfig(**chosen), "train")


@pytest.mark.parametrize(("total", "of_pass"), [(20, 165), (1000, 165), (1009, 165), (1, 8)])
def test_epochs_of_a_denoiser_make_the_steps_that_are_given(total, of_pass):
    training = train_denoiser.DenoiserTraining(TrainDenoiserConfig(noise="gauss", steps=total))
    steps = train_denoiser.evenly(total, of_pass)
    assert training.default_epochs(steps) * steps == total


def test_the_paper_scores_all_its_models_as_often_as_it_is_started(monkeypatch, tmp_path):
    scored = []
    monkeypatch.setattr(nf, "load", lambda path: f"model of {path.name}")
    monkeypatch.setattr(evaluate, "evaluate", lambda *given: scored.append(given))
    runs = {name: RunFolder(tmp_path / name) for name in ("S-G", "ours")}
    paths = [str(run.path) for run in runs.values()]
    config = PaperConfig(full=True, sidd_path="sidd", cache="c", seed=3)
    for _ in range(2):
        paper.score(config, runs, tmp_path / "evaluation")
    for given, models, out in scored:
        assert (given.model, given.out) == (paths, str(tmp_path / "evaluation"))
        assert (given.sidd_path, given.cache, given.seed) == ("sidd", "c", 3)
        assert given.n_patches_per_image == 2898 and not given.scores_only
        assert models == {name: (str(runs[name].path), f"model of {name}") for name in runs}
        assert out == tmp_path / "evaluation"
    assert len(scored) == 2


@pytest.mark.parametrize(
    ("archs", "names"),
    [
        (["S-Ax4-G-Ax4-CAM"], ["noise_flow"]),
        (["S-G"], ["S-G"]),
        (["S-G", "S-Ax4-G-Ax4-CAM"], ["S-G", "S-Ax4-G-Ax4-CAM"]),
        (["S-G", "S-G"], ["0", "1"]),
    ],
)
def test_evaluated_models_are_called_by_their_titles_if_these_differ(monkeypatch, archs, names):
    def load(path):
        arch = "|".join(nf.architecture.parse(archs[int(path)]))
        return SimpleNamespace(arch=arch, cameras=("IP", "S6"))

    monkeypatch.setattr(nf, "load", load)
    found = evaluate.load([str(number) for number in range(len(archs))])
    assert list(found) == names
    assert [path for path, _ in found.values()] == [str(number) for number in range(len(archs))]


def test_evaluated_models_share_their_cameras(monkeypatch):
    cameras = {"a": ("IP",), "b": ("IP", "P9")}
    monkeypatch.setattr(nf, "load", lambda path: SimpleNamespace(arch=path, cameras=cameras[path]))
    with pytest.raises(ValueError, match="different cameras: IP; IP, P9"):
        evaluate.load(["a", "b"])


def test_frames_outside_a_models_conditions_are_refused():
    frames = [SimpleNamespace(camera="IP", iso=100), SimpleNamespace(camera="S6", iso=250)]
    evaluate.check_known(frames[:1], ConditionSpace())
    evaluate.check_known(frames, ConditionSpace(iso_interpolation=True))
    with pytest.raises(ValueError, match="the test frames have ISO 250; supported cameras: IP"):
        evaluate.check_known(frames, ConditionSpace())
    with pytest.raises(ValueError, match="the test frames have S6; supported cameras: IP; "):
        evaluate.check_known(frames, ConditionSpace(cameras=("IP",), iso_interpolation=True))


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError("no space\n  left"), 2, "no space left"),
        (RuntimeError("op: SiddError: a.MAT: no\nop: SiddError: b.MAT: cut"), 2, "b.MAT: cut"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(monkeypatch, capsys, error, code, told):
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def fail():
        raise error

    with pytest.raises(SystemExit) as stopped:
        parsing.run(fail, "noise-flow x")
    assert stopped.value.code == code
    assert capsys.readouterr().err == f"noise-flow x: {told}\n"


def test_errors_that_nobody_expects_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(ZeroDivisionError):
        parsing.run(lambda: 1 / 0)
