import json

import pytest

from noise_flow_tf.cli import paper as command
from noise_flow_tf.evaluation import tables
from noise_flow_tf.evaluation.paper_scores import PAPER_SCORES, compare_with_paper
from noise_flow_tf.programs import evaluation_figures, paper_report


def test_the_papers_scores_are_those_of_its_tables():
    def numbers(cells):
        return [float(cell.strip("*").split(" ")[0]) for cell in cells]

    nll, kl = map(numbers, tables.PAPER_TABLE_1.values())
    first = zip(("gaussian", "camera_nlf", "S-Ax4-G-Ax4-CAM"), nll, kl, strict=True)
    second = [(name, *numbers(cells)) for name, cells in tables.PAPER_TABLE_2.items()]
    assert {name: {"nll": a, "kl": b} for name, a, b in [*first, *second]} == PAPER_SCORES


@pytest.mark.parametrize(
    ("model", "metric", "change", "passes"),
    [
        ("S-G", "nll", 0.019, True),
        ("S-G", "nll", 0.021, False),
        ("S-G", "nll", -0.5, True),
        ("gaussian", "nll", -0.021, False),
        ("gaussian", "kl", 0.039, True),
        ("camera_nlf", "kl", -0.006, False),
        ("S-Ax4-G-Ax4-CAM", "kl", 0.0049, True),
        ("S-Ax4-G-Ax4-CAM", "kl", 0.018, False),
        ("S-Ax4-G-Ax4-CAM", "kl", float("nan"), False),
    ],
)
def test_a_score_passes_within_its_tolerance_alone(model, metric, change, passes):
    scores = {name: dict(of) for name, of in PAPER_SCORES.items()}
    scores[model][metric] += change
    failed = [(c.model, c.metric) for c in compare_with_paper(scores) if not c.passes]
    assert failed == ([] if passes else [(model, metric)])


def test_a_missing_score_fails():
    scores = {**PAPER_SCORES, "S-G": {"nll": None, "kl": None}}
    assert sum(not one.passes for one in compare_with_paper(scores)) == 2


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Writes made-up scores where `paper` leaves its own; the figures are left out."""
    for place, name in (
        (evaluation_figures, "draw"), (paper_report, "draw"), (paper_report, "write")
    ):  # fmt: skip
        monkeypatch.setattr(place, name, lambda *_: None)

    def write(offline=False, **changed):
        scores = {**PAPER_SCORES, **changed}
        image = {
            "instance": 1,
            "camera": "S6",
            "iso": 100,
            "patches": 1,
            "kl_patches": 1,
            "scores": scores,
        }
        folder = tmp_path / "evaluation"
        folder.mkdir(exist_ok=True)
        results = {"images": [image], "titles": {}, "ours": "", "offline": offline}
        (folder / "evaluation.json").write_text(json.dumps(results))
        return ["--full", "--sidd_path", "sidd", "--out", str(tmp_path), "--draw", "--check"]

    return write


def test_check_passes_or_exits_with_1(finished, tmp_path, capsys):
    command.main(finished())
    assert capsys.readouterr().out.endswith("PASS: all 12 scores agree with the paper's\n")
    with pytest.raises(SystemExit) as ended:
        command.main(finished(gaussian={"nll": -2.9, "kl": 0.394}))
    assert ended.value.code == 1
    text = (tmp_path / "check.md").read_text()
    assert "FAIL: 1 score of 12 outside the tolerances" in text
    (row,) = (line for line in text.splitlines() if "fail" in line)
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["gaussian", "NLL", "-2.900", "-2.831", "-2.851 to -2.811", "**fail**"]


def test_check_is_refused_for_simulated_noise(finished, capsys):
    with pytest.raises(ValueError, match="this dataset's noise is simulated"):
        command.main(finished(offline=True))
    with pytest.raises(SystemExit) as ended:
        command.main(["--check"])
    assert ended.value.code == 2 and "--check goes with --full" in capsys.readouterr().err
