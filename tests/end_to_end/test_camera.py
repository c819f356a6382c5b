"""Bursts of a simulated camera to a fitted model, by the command."""

import json

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf import native
from noise_flow_tf.cli.main import main
from noise_flow_tf.saving import saved_model
from sidd.raw.simulated import SimulatedSensor, textured_scene, write_burst

SENSOR = SimulatedSensor(slope=8e-4, read=2e-3)
ISO = 640


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shots")
    for number, light in enumerate((0.3, 0.6, 0.9)):
        scene = light * textured_scene((192, 256), seed=number)
        write_burst(folder / f"{number}", SENSOR, scene, 6, seed=number, iso=ISO)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of phones' cameras with plausible numbers."""
    path = tmp_path_factory.mktemp("base") / "model"
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0)
    signal = model.layers[0]
    signal.beta1.assign(np.log(2e-5))
    signal.beta2.assign(np.log(1e-4))
    signal.gain_params.assign(-2 * np.log(np.float32(nf.ISO_LEVELS)))
    signal.cam_params.assign(np.tile(0.01 * np.arange(5, dtype=np.float32), [3, 1]))
    saved_model.save(model, path)
    return path


@pytest.fixture(scope="module")
def run(shots, base, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "a7"
    main(["camera", str(shots), "--name", "SONYA7", "--from", str(base), "--logdir", str(path),
          "--steps", "60", "--patches", "40"])  # fmt: skip
    return path


def test_the_model_is_as_good_as_the_calibrated_nlf(run):
    report = json.loads((run / "report.json").read_text())
    scores = report["scores"]
    assert scores[report["kept"]]["nll"] < scores["camera_nlf"]["nll"] + 0.001
    assert scores[report["kept"]]["nll"] < scores["gaussian"]["nll"] - 0.05
    assert scores[report["kept"]]["ratio"] == pytest.approx(1, abs=0.03)
    slope, offset = report["nlf"][str(ISO)]
    assert slope == pytest.approx(SENSOR.slope, rel=0.05)
    assert offset == pytest.approx(SENSOR.offset, rel=0.3)
    assert report["split"] == [f"SONYA7, ISO {ISO}: 3 scenes, for testing: 2"]


def test_starts_from_the_calibration(run, base):
    """Both starts are near the NLF; the mean of the other cameras is far from it."""
    report = json.loads((run / "report.json").read_text())
    for fit in report["fits"].values():
        assert fit["nll"] <= fit["start_nll"] < report["scores"]["camera_nlf"]["nll"] + 0.02
    instances = sidd.index(run / "burst")
    (frame, *_) = sidd.select_frames(instances, "test", cameras=["SONYA7"])
    pair = sidd.read_pair(*frame.files)
    mean = nf.load(base).with_camera("SONYA7", [ISO])
    p = mean(pair.clean[None], ISO, "SONYA7")
    assert -float(p.log_prob(np.nan_to_num(pair.noise)[None])[0]) / pair.noise.size > (
        report["scores"]["camera_nlf"]["nll"] + 0.2
    )


def test_report_and_pictures(run):
    text = (run / "report.md").read_text()
    for words in (
        "Calibrated NLF", "Noise Flow with the camera added", "kept: Noise Flow ",
        "the calibrated NLF", "burst/report.md", "squared](pictures/variance.png)",
    ):  # fmt: skip
        assert words in text
    links = [word.split("](")[1].split(")")[0] for word in text.split("![")[1:] for word in [word]]
    assert len(links) == 3 and all((run / link).is_file() for link in links)


def test_every_form_of_the_model_samples(run, shots, tmp_path):
    models = [nf.load(run), nf.load(run / "saved_model")]
    clean = np.full((1, 16, 16, 4), 0.3, np.float32)
    noise = np.full(clean.shape, 0.01, np.float32)
    values = [float(m(clean, ISO, "SONYA7").log_prob(noise)[0]) for m in models]
    values.append(float(native.load(run / "noise_flow.npz").log_prob(noise, clean, ISO, "SONYA7")))
    np.testing.assert_allclose(values, values[0], rtol=1e-5)
    photo = next((shots / "1").glob("*.dng"))
    main(["sample", "--model", str(run), "--camera", "SONYA7", "--clean", str(photo),
          "--out", str(tmp_path), "--formats", "dng"])  # fmt: skip
    assert list(tmp_path.glob("*.dng"))


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["camera", *map(str, arguments)])
    assert ended.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_refuses(run, shots, base, tmp_path, capsys):
    flags = ("--from", base, "--logdir", tmp_path / "run")
    assert "two to eight capitals" in refusal(capsys, shots, "--name", "a7", *flags)
    assert "has camera S6 already" in refusal(capsys, shots, "--name", "S6", *flags)
    message = refusal(capsys, tmp_path / "nothing", "--name", "A7", *flags)
    assert "no such folder" in message
    flags = ("--from", base, "--logdir", run)
    assert "holds a run already" in refusal(capsys, shots, "--name", "A7", *flags)
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob(".run*"))
    assert nf.load(run).cameras[-1] == "SONYA7"


def test_says_that_the_demo_is_simulated(tmp_path, capsys):
    flags = ("--name", "A7", "--from", "demo", "--logdir", str(tmp_path / "run"))
    with pytest.raises(SystemExit):
        main(["camera", str(tmp_path / "nothing"), *flags])
    printed, errors = capsys.readouterr()
    assert "demo: a model of simulated sensors" in printed and "no such folder" in errors
