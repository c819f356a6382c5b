"""Every file of `../shared/cases`, damaged or odd, is answered rightly: its value or one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import sidd
from noise_flow_tf.cli import parsing
from noise_flow_tf.programs import raw_images, sampling_plan
from sidd.tools.extraction import extract

SHARED = Path(__file__).resolve().parents[2] / "shared"
CASES = sorted(path for path in (SHARED / "cases").glob("*/*") if path.is_file())

pytestmark = pytest.mark.skipif(not CASES, reason="../shared/cases is not there")


def refusal(call, capsys):
    """Return the one line with which a call is refused, "" if it is not."""
    capsys.readouterr()
    try:
        parsing.run(call, "program")
    except SystemExit as end:
        assert end.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("program: ") and line.isprintable()
        return line
    return ""


def cases(*starts):
    found = [path for path in CASES if path.name.startswith(starts)]
    return pytest.mark.parametrize(
        "case", found, ids=lambda path: f"{path.parent.name}/{path.name}"
    )


GOOD_RAW, GOOD_NPY = {"f8.MAT"}, {"bigend.npy", "f16.npy"}


def of_special(*endings):
    found = [p for p in CASES if p.parent.name == "special" and p.name.endswith(endings)]
    return pytest.mark.parametrize("case", found, ids=lambda path: path.name)


@of_special(".MAT")
def test_images(case, capsys):
    line = refusal(lambda: sidd.read_packed(case), capsys)
    assert (str(case) in line) == (case.name not in GOOD_RAW)


@cases("noisy-")
def test_damaged_images(case, capsys):
    assert str(case) in refusal(lambda: sidd.read_packed(case), capsys)


@of_special(".mat5")
def test_variables_of_matlab(case, capsys):
    assert str(case) in refusal(lambda: sidd.read_metadata(case, "S6"), capsys)


@cases("metadata-")
def test_metadata(case, capsys):
    read = []
    if not refusal(lambda: read.append(sidd.read_metadata(case, "S6")), capsys):
        values = vars(read[0])
        for name in ("iso", "nlf", "as_shot_neutral", "color_matrix1", "color_matrix2"):
            assert np.isfinite(values[name]).all()


@of_special(".npy", ".png")
def test_plain_images(case, capsys):
    line = refusal(lambda: raw_images.read_image(case, "upright"), capsys)
    assert (str(case) in line) == (case.name not in GOOD_NPY)


@cases("npy-")
def test_damaged_npy_files(case, capsys):
    assert str(case) in refusal(lambda: raw_images.read_image(case, "upright"), capsys)


@cases("list-")
def test_lists(case, capsys, tmp_path):
    path = Path(shutil.copy(case, tmp_path))
    for number in range(3):
        np.save(tmp_path / f"im{number}.npy", np.full((4, 4), 0.5))
    line = refusal(lambda: sampling_plan.items(path, (".npy",), tmp_path / "out"), capsys)
    assert str(path) in line


@cases("zip-")
def test_archives(case, capsys, tmp_path):
    line = refusal(lambda: extract(case, tmp_path / "out", progress=False), capsys)
    assert str(case) in line


@cases("manifest-")
def test_manifests(case, capsys, tmp_path):
    shutil.copy(case, tmp_path / "synthetic.json")
    line = refusal(lambda: sidd.write_synthetic(tmp_path, exist_ok=True), capsys)
    assert "synthetic.json" in line or str(tmp_path) in line


@cases("cache-")
def test_the_patch_cache(case, tmp_path, capsys):
    """Its files have the format of an earlier version: they are read again, or refused."""
    root = sidd.write_synthetic(
        tmp_path / "sidd", size=(128, 192), train_instances=1, test_instances=0, progress=False
    )
    frames = sidd.select_frames(sidd.index(root))[:1]
    first = sidd.Patches(frames, cache=tmp_path / "cache", progress=False)
    victim = next((tmp_path / "cache").glob(f"*{case.suffix}"))
    shutil.copyfile(case, victim)

    def read():
        again = sidd.Patches(frames, cache=tmp_path / "cache", progress=False)
        assert again.digest == first.digest
        for one, other in zip(*(p.batches(2, shuffle=False) for p in (first, again)), strict=True):
            np.testing.assert_array_equal(one["noise"], other["noise"])

    line = refusal(read, capsys)
    assert not line or victim.name in line


@cases("release-")
def test_released_checkpoints(case, capsys, tmp_path):
    import noise_flow_tf as nf

    for path in (SHARED / "reference/release_checkpoint").iterdir():
        shutil.copy(path, tmp_path)
    (data,) = tmp_path.glob("*.data-00000-of-00001")
    shutil.copyfile(case, data)
    prefix = str(data).removesuffix(".data-00000-of-00001")
    assert prefix in refusal(lambda: nf.load_release(prefix), capsys)


@cases("savedmodel-")
def test_saved_models(case, capsys, tmp_path):
    import noise_flow_tf as nf

    shutil.copy(case, tmp_path / "noise_flow.json")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert str(tmp_path) in refusal(lambda: nf.load(tmp_path), capsys)


@cases("rundir-", "resume-")
def test_run_folders(case, capsys, tmp_path):
    import noise_flow_tf as nf
    from noise_flow_tf.cli import train
    from noise_flow_tf.programs.train import NoiseModelTraining
    from noise_flow_tf.saving.files import reading

    shutil.copy(case, tmp_path / "settings.json")
    (tmp_path / "checkpoints/best").mkdir(parents=True)
    (tmp_path / "checkpoints/best/weights-1.index").write_bytes(b"")
    assert str(tmp_path) in refusal(lambda: nf.load(tmp_path), capsys)

    def resume():
        config = train.parse(["--logdir", str(tmp_path), "--resume"])
        with reading(f"{tmp_path / 'settings.json'} cannot be used"):
            NoiseModelTraining(config).resume(json.loads(case.read_text()))

    if case.name.startswith("resume-"):
        assert "settings.json" in refusal(resume, capsys)


def test_a_record_that_was_cut(capsys, tmp_path):
    case = SHARED / "cases/special/samples_cut.csv"
    shutil.copy(case, tmp_path / sampling_plan.RECORD)
    line = refusal(lambda: sampling_plan.Record(tmp_path), capsys)
    assert not line or sampling_plan.RECORD in line
