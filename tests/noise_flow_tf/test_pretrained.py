"""Models by name: what comes with the package, what is fetched, and what is refused."""

import hashlib
import http.server
import io
import json
import shutil
import sys
import threading
import types

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
import sidd
from noise_flow_tf.cli.main import main
from noise_flow_tf.programs import model_card
from noise_flow_tf.saving import pretrained, saved_model
from noise_flow_tf.saving.files import write_json
from noise_flow_tf.saving.run_folder import RunFolder


class _Server(http.server.ThreadingHTTPServer):
    """Answers with the content of `files`, each after as many failures as `failures` says."""

    def __init__(self):
        self.files = {}
        self.failures = 0
        self.cut_off = False
        self.asked = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/weights/"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path.rpartition("/")[2])
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
        elif content is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.server.cut_off else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def model():
    return nf.NoiseFlow("S-G-CAM", seed=3)


@pytest.fixture
def server(monkeypatch, tmp_path, model):
    """A server with a checkpoint in the release's form, which `release` stands for meanwhile."""
    names, tensors = zip(*nf.release.variables(model).items(), strict=True)
    (tmp_path / "origin").mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "origin" / pretrained.RELEASE_PREFIX),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=tensors,
    )
    with _Server() as server:
        server.files = {p.name: p.read_bytes() for p in (tmp_path / "origin").iterdir()}
        digests = {n: hashlib.sha256(c).hexdigest() for n, c in sorted(server.files.items())}
        monkeypatch.setattr(pretrained, "RELEASE_FILES", digests)
        monkeypatch.setattr(pretrained, "RELEASE_URL", server.url)
        monkeypatch.setattr(pretrained, "_RETRIES", 1)
        monkeypatch.setenv(pretrained.FOLDER_VARIABLE, str(tmp_path / "cache"))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _weights(*arguments):
    """The exit code of `noise-flow weights`."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", io.StringIO())
        try:
            main(["weights", *map(str, arguments)])
        except SystemExit as ended:
            return ended.code
    return 0


def _assert_same(model, other):
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_demo_knows_the_noise_of_the_offline_dataset(tmp_path):
    root = sidd.write_synthetic(
        tmp_path, size=(64, 64), train_instances=1, test_instances=4, seed=7, progress=False
    )
    model, baseline = nf.load("demo"), nf.CameraNLF()
    assert model.num_parameters == 2431
    gains = []
    for frame in sidd.select_frames(sidd.index(root), "test"):
        pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
        noise, clean = (a[None].astype(np.float32) for a in (pair.noise, pair.clean))
        nlf = [pair.metadata.nlf]
        p = model(clean, frame.iso, frame.camera)
        q = baseline(clean, frame.iso, frame.camera, nlf=np.float32(nlf))
        gains.append(float(p.log_prob(noise)[0] - q.log_prob(noise)[0]) / clean.size)
    assert len(gains) >= 4
    assert np.mean(gains) > 0.1


def test_the_demo_is_the_same_for_numpy():
    from noise_flow_tf import native

    model, other = nf.load("demo"), native.load(pretrained.DEMO / "noise_flow.npz")
    clean = np.full((1, 8, 8, 4), 0.3, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.02, clean.shape).astype(np.float32)
    ours = model(clean, 800, "S6").log_prob(noise)
    np.testing.assert_allclose(other.log_prob(noise, clean, 800, "S6"), ours, rtol=1e-5)


def test_the_demo_has_no_graph_and_a_card():
    kinds = {path.name for path in pretrained.DEMO.rglob("*") if path.is_file()}
    assert "saved_model.pb" not in kinds
    card = (pretrained.DEMO / "README.md").read_text()
    assert "simulated: no camera has it" in card


def test_a_name_wins_over_a_folder_and_says_so(tmp_path, monkeypatch, capsys, model):
    monkeypatch.chdir(tmp_path)
    saved_model.save(model, "demo")
    assert nf.load("demo").num_parameters == 2431
    assert capsys.readouterr().err.endswith(
        "demo: the model of this name; for the path write ./demo\n"
    )
    _assert_same(model, nf.load("./demo"))
    _assert_same(model, nf.load(tmp_path / "demo"))


def test_sample_takes_the_demo_and_says_that_it_is_simulated(tmp_path, capsys):
    np.save(tmp_path / "clean.npy", np.full((8, 8, 4), 0.2, np.float32))
    shown = ["--clean", tmp_path / "clean.npy", "--out", tmp_path / "out", "--pictures", "none"]
    main(["sample", *map(str, shown), "--iso", "800", "--camera", "S6"])
    assert capsys.readouterr().out.splitlines()[0] == pretrained.DEMO_NOTE
    assert np.load(tmp_path / "out" / "clean_noise.npy").std() > 1e-3


def test_the_release_is_fetched_once_after_its_licence_was_accepted(server, model, capsys):
    assert _weights("--accept_licence") == 0
    assert "BY-NC-SA 4.0" in capsys.readouterr().out.replace("\n", " ").replace(
        "Attribution-NonCommercial-ShareAlike 4.0", "BY-NC-SA 4.0"
    )
    assert len(server.asked) == 2
    _assert_same(model, nf.load("release"))
    assert _weights() == 0
    assert len(server.asked) == 2


def test_nothing_is_fetched_before_the_licence_is_accepted(server, capsys):
    assert _weights() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no commercial use" in line
    assert "noise-flow weights --accept-licence" in line
    assert not server.asked


@pytest.mark.parametrize(("answer", "accepted"), [("y", True), ("YES ", True), ("", False)])
def test_on_a_terminal_the_licence_is_asked_for(server, monkeypatch, capsys, answer, accepted):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: answer)
    if accepted:
        nf.load("release")
    else:
        with pytest.raises(ValueError, match="licence is not accepted; nothing was fetched"):
            nf.load("release")
    assert pretrained.LICENCE in capsys.readouterr().err
    assert bool(server.asked) == accepted


def _one_line(capsys, server, tmp_path):
    """The error, which has the address and where to put the files."""
    (line,) = capsys.readouterr().err.splitlines()
    assert server.url in line
    assert all(name in line for name in pretrained.RELEASE_FILES)
    assert str(tmp_path / "cache" / "release") in line
    assert not pretrained.has_release()
    return line


def test_a_wrong_file_is_refused(server, tmp_path, capsys):
    name = min(server.files)
    server.files[name] = bytes(len(server.files[name]))
    assert _weights("--accept_licence") == 2
    assert "SHA-256 is wrong" in _one_line(capsys, server, tmp_path)
    assert name not in {path.name for path in (tmp_path / "cache").rglob("*")}


def test_a_download_that_is_cut_off_leaves_nothing(server, tmp_path, capsys):
    server.cut_off = True
    assert _weights("--accept_licence") == 2
    _one_line(capsys, server, tmp_path)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_server_that_is_busy_is_asked_again(server):
    server.failures = 1
    assert _weights("--accept_licence") == 0
    assert len(server.asked) == 3


def test_a_file_that_is_gone_from_the_server(server, tmp_path, capsys):
    server.files.clear()
    assert _weights("--accept_licence") == 2
    assert "HTTP 404" in _one_line(capsys, server, tmp_path)


def test_without_a_network(server, tmp_path, capsys, monkeypatch):
    server.shutdown()
    server.server_close()
    assert _weights("--accept_licence") == 2
    assert "ConnectionError" in _one_line(capsys, server, tmp_path)


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path, model):
    assert _weights("--accept_licence") == 0
    damaged = tmp_path / "cache" / "release" / min(server.files)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert not pretrained.has_release()
    with pytest.raises(ValueError, match="licence"):
        nf.load("release")
    assert _weights("--accept_licence") == 0
    _assert_same(model, nf.load("release"))


def test_files_that_were_put_there_by_hand_are_taken(server, tmp_path, model):
    folder = tmp_path / "cache" / "release"
    folder.mkdir(parents=True)
    for name, content in server.files.items():
        (folder / name).write_bytes(content)
    _assert_same(model, nf.load("release"))
    assert not server.asked


def test_a_proxy_is_used(server, monkeypatch):
    monkeypatch.setattr(pretrained, "RELEASE_URL", "http://release.invalid/weights/")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    assert _weights("--accept_licence") == 0
    assert all(path.startswith("http://release.invalid/") for path in server.asked)


def test_a_folder_that_cannot_be_written(server, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file")
    assert _weights("--accept_licence") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert pretrained.FOLDER_VARIABLE in line


def test_the_published_files_load(reference, tmp_path, monkeypatch):
    monkeypatch.setenv(pretrained.FOLDER_VARIABLE, str(tmp_path))
    shutil.copytree(reference / "release_checkpoint", tmp_path / "release")
    assert pretrained.has_release()
    assert nf.load("release").num_parameters == 2431


@pytest.fixture
def hub(monkeypatch, tmp_path, model):
    """A stand-in for huggingface_hub with one repository; it gives only what is asked for."""
    saved_model.save(model, tmp_path / "remote")

    def snapshot_download(repo_id, revision, allow_patterns):
        if repo_id != "ada/noise":
            raise OSError("Repository Not Found\nfor url: ...")
        asked.append(revision)
        for path in (tmp_path / "remote").rglob("*"):
            name = path.relative_to(tmp_path / "remote")
            if path.is_file() and any(map(name.match, allow_patterns)):
                (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "local" / name).write_bytes(path.read_bytes())
        return str(tmp_path / "local")

    asked = []
    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_a_model_of_the_hub_without_its_graph(hub, model, tmp_path):
    _assert_same(model, nf.load("hf://ada/noise"))
    _assert_same(model, nf.load("hf://ada/noise@v1"))
    assert hub == [None, "v1"]
    assert not (tmp_path / "local" / "saved_model.pb").exists()


def test_addresses_of_the_hub_that_are_refused(hub, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must be hf://USER/REPO"):
        nf.load("hf://ada")
    with pytest.raises(OSError, match="hf://ada/other: cannot be fetched: Repository Not Found$"):
        nf.load("hf://ada/other")
    (tmp_path / "remote" / "noise_flow.json").unlink()
    with pytest.raises(ValueError, match="has no noise_flow.json"):
        nf.load("hf://ada/noise")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install huggingface_hub"):
        nf.load("hf://ada/noise")


@pytest.fixture
def run(tmp_path, model):
    """A run folder as training leaves it, but for what an export does not read."""
    folder = RunFolder(tmp_path / "runs" / "mine")
    start = {"command": ["train.py", "--logdir", "a b"], "versions": {"tensorflow": "2.20.0"}}
    folder.create(
        saved_model.recipe(model) | {"sidd_path": "/data/sidd", "seed": 5, "starts": [start]}
    )
    tf.train.Checkpoint(noise_model=model).write(str(folder.best / "epoch-1"))
    scores = {"gaussian": {"nll": -2.0, "kl": 0.4}, "noise_flow": {"nll": -3.5, "kl": 0.008}}
    training = {"epochs": 3, "steps": 90, "minutes": 1.5}
    report = {
        "test": scores,
        "dataset": "/data/sidd",
        "dataset_noise": "real",
        "training": training,
    }
    write_json(folder.report, report)
    return folder


def test_an_exported_run_is_a_saved_model_with_a_card(run, model, tmp_path, capsys):
    out = tmp_path / "new" / "export"
    assert _weights("export", run.path, "--out", out, "--licence", "cc0-1.0") == 0
    assert f"hf upload USER/REPO {out}" in capsys.readouterr().out
    _assert_same(model, nf.load(out))
    graph = tf.saved_model.load(str(out)).signatures["conditions"]()
    assert graph["cameras"].numpy().tolist() == [c.encode() for c in model.cameras]
    card = (out / "README.md").read_text()
    for text in (
        'license: "cc0-1.0"',
        "Trained on /data/sidd.",
        "| Noise Flow | **-3.500** | **0.0080** |",
        "train.py --logdir 'a b'",
        "with tensorflow 2.20.0.",
        "3 epochs, 90 steps in 1.5 minutes, seed 5.",
        "S6 at ISO 100, 400, 800, 1600, 3200",
    ):
        assert text in card, text
    assert "simulated" not in card


def test_a_card_says_that_noise_was_simulated(run):
    report = json.loads(run.report.read_text())
    write_json(run.report, report | {"dataset_noise": "simulated"})
    card = model_card.of_run(run)
    assert "simulated: no camera has it" in card
    assert "simulated-data" in card
    assert "Not stated yet" in card


def test_exports_that_are_refused(run, tmp_path, capsys):
    def line(*arguments):
        assert _weights("export", *arguments) == 2
        (only,) = capsys.readouterr().err.splitlines()
        return only

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "holds something already" in line(run.path, "--out", tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert "is not a run folder" in line(tmp_path, "--out", tmp_path / "new")
    run.report.unlink()
    assert "report.json cannot be read" in line(run.path, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
