import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf import evaluation
from noise_flow_tf.saving.files import partial_of
from noise_flow_tf.saving.run_folder import RunFolder, newest_first
from noise_flow_tf.training import callbacks, divergence, schedules, strategies
from noise_flow_tf.training.checkpoints import BestWeights, CheckpointCallback, Checkpoints
from noise_flow_tf.training.interruption import Interruption
from noise_flow_tf.training.trainer import DivergedError
from tests.examples import make_batches


@pytest.fixture
def trainer():
    trainer = nf.Trainer(nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0))
    trainer.compile(tf_keras.optimizers.Adam(1e-2, epsilon=1e-8))
    return trainer


def test_trainer_learns_and_reports_nats_per_dimension(trainer):
    batches = make_batches()
    before = trainer.evaluate(batches, return_dict=True, verbose=0)
    history = trainer.fit(batches, validation_data=batches, epochs=20, verbose=0).history
    assert history["nll"][-1] < before["nll"] - 0.5
    assert set(history) >= {"loss", "nll", "latent_stddev", "val_nll", "val_latent_stddev"}
    np.testing.assert_allclose(history["nll"], np.array(history["loss"]) / 256, rtol=1e-5)


def test_a_step_follows_the_mean_over_the_batch():
    """With one gain g, the NLL of n is D log g + n^2 / 2 g^2: its slope is D / g - n^2 / g^3."""
    model, batch = nf.NoiseFlow("gain4"), next(iter(make_batches(count=7)))
    trainer = nf.Trainer(model)
    trainer.compile(tf_keras.optimizers.SGD(1e-3))
    told = trainer.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    squares = np.sum(batch["noise"].numpy() ** 2, axis=(1, 2, 3))
    gain = model.layers[0].gain_val.numpy()
    assert gain == pytest.approx(1 - 1e-3 * np.mean(256 - squares), rel=1e-5)
    nll = 128 * np.log(2 * np.pi) + np.mean(squares) / 2
    assert told["loss"][0] == pytest.approx(nll, rel=1e-5)
    assert told["nll"][0] == pytest.approx(nll / 256, rel=1e-5)
    assert told["latent_stddev"][0] == pytest.approx(np.sqrt(np.mean(squares) / 256), rel=1e-5)
    batch = {**batch, "noise": batch["noise"] * 0 + 2.0}  # a latent with a mean
    told = trainer.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    assert told["latent_stddev"] == pytest.approx(2 / gain, rel=1e-5)


def test_evaluation_is_the_models_own_log_prob(trainer):
    """With batch norm's averages, from which the moments of these batches are far."""
    rng = np.random.default_rng(0)
    for variable in trainer.noise_model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    batches = make_batches(count=20)
    told = trainer.evaluate(batches, return_dict=True, verbose=0)
    nll, squares = [], []
    for batch in batches:
        p = trainer.noise_model(batch["clean"], batch["iso"], batch["camera"])
        nll.extend(-p.log_prob(batch["noise"]).numpy() / 256)
        squares.extend(np.ravel(p.bijector.inverse(batch["noise"])) ** 2)
    assert told["nll"] == pytest.approx(np.mean(nll), rel=1e-5)
    assert told["latent_stddev"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)


def test_a_step_is_one_pass_of_the_networks(trainer, monkeypatch):
    """Forward 5 convolutions a flow step, one of them on the border; backward one by the image and
    one by the kernel. TensorFlow's own path needs no host.
    """
    monkeypatch.setenv("NOISE_FLOW_CORE", "tensorflow")
    batch = next(iter(make_batches()))
    graph = tf.function(trainer.train_step).get_concrete_function(batch).graph
    names = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "PyFunc", "EagerPyFunc")
    counts = dict.fromkeys(names, 0)
    for operation in graph.get_operations():
        if operation.type in counts:
            counts[operation.type] += 1
    steps = trainer.noise_model.arch.count("unc")
    assert counts == {
        "Conv2D": 5 * steps,
        "Conv2DBackpropInput": 5 * steps,
        "Conv2DBackpropFilter": 5 * steps,
        "PyFunc": 0,
        "EagerPyFunc": 0,
    }


def test_xla_compiles_a_step_and_samples():
    """On the CPU, too: nothing in them needs the host."""
    trainer = nf.Trainer(nf.NoiseFlow("sdn5|unc|gain4", seed=0))
    trainer.compile(tf_keras.optimizers.SGD(1e-4))
    batch = next(iter(make_batches()))
    before = nf.release.variables(trainer.noise_model)

    def step(jit_compile):
        nf.release.assign(trainer.noise_model, before)
        tf.function(trainer.train_step, jit_compile=jit_compile)(batch)
        return nf.release.variables(trainer.noise_model)

    def sample(jit_compile):
        def forward(latent):
            p = trainer.noise_model(batch["clean"], batch["iso"], batch["camera"])
            return p.bijector.forward(latent)

        return tf.function(forward, jit_compile=jit_compile)(batch["noise"])

    compiled, plain = step(True), step(False)
    for name, value in plain.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert any(np.any(plain[name] != before[name]) for name in before)
    np.testing.assert_allclose(sample(True), sample(False), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_replicas_train_the_same_model_as_one():
    """Global batch-norm moments and gradients; in a process of its own, with two CPU devices."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import json
import numpy as np, tensorflow as tf, tf_keras
import noise_flow_tf as nf
from tests.examples import learned, make_batches

def train(strategy):
    with strategy.scope():
        trainer = nf.Trainer(nf.NoiseFlow("S-Ax1-G-Ax1-CAM", seed=0))
        try:
            trainer.compile("adam", jit_compile=True)
        except ValueError as error:
            print(error)
        trainer.compile(tf_keras.optimizers.Adam(1e-3, epsilon=1e-8), jit_compile=False)
    history = trainer.fit(make_batches(count=20).repeat(), steps_per_epoch=1, epochs=50, verbose=0)
    values = {{n: v.tolist() for n, v in learned(trainer.noise_model).items()}}
    return strategy.num_replicas_in_sync, history.history["nll"], values

from noise_flow_tf.training import strategies
strategy = strategies.choose("mirrored", 2)
with strategy.scope():
    trainer = nf.Trainer(nf.NoiseFlow("S-G", seed=0))
    trainer.compile(tf_keras.optimizers.Adam(1e-3))
before = {{n: v.tolist() for n, v in learned(trainer.noise_model).items()}}
for culprit in (1, 6):
    is_bad = tf.range(8)[:, None, None, None] == culprit
    bad = make_batches().map(lambda b: {{**b, "noise": tf.where(is_bad, np.nan, b["noise"])}})
    try:
        trainer.fit(bad.repeat(), steps_per_epoch=2, verbose=0)
    except ValueError as error:
        batch = next(iter(bad))
        place = f"in 1 of 8 patches, of ISO {{batch['iso'][culprit]}} and camera "
        assert place + f"{{batch['camera'][culprit]}};" in str(error), error
        assert "epoch 1, step" in str(error), error
    else:
        raise AssertionError("not seen")
assert before == {{n: v.tolist() for n, v in learned(trainer.noise_model).items()}}

print(json.dumps([train(strategies.choose("mirrored", 2)),
                  train(tf.distribute.get_strategy())]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("jit_compile trains on one device, and this strategy has 2") == 1
    (two, history, got), (one, expected, values) = json.loads(done.stdout.splitlines()[-1])
    assert (two, one) == (2, 1)
    np.testing.assert_allclose(history, expected, atol=1e-4)
    for name, value in values.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_schedules():
    cosine = schedules.learning_rate("cosine", 1e-2, 1000)
    rates = np.array([cosine(step) for step in (0, 25, 50, 525, 1000)])
    np.testing.assert_allclose(rates, [2e-4, 5.1e-3, 1e-2, 5.005e-3, 1e-5], rtol=1e-4)
    for steps in (1, 2):
        shortest = schedules.learning_rate("cosine", 1e-2, steps)
        assert float(shortest(1)) == pytest.approx(1e-2)
    assert schedules.learning_rate("release", 1e-4, 1000) == 1e-4
    assert schedules.adam("release", 1e-4, 10).epsilon == 1e-8
    with pytest.raises(ValueError, match="unknown schedule 'linear'; allowed are cosine"):
        schedules.learning_rate("linear", 1e-4, 10)


def test_evaluation_epochs_of_short_runs():
    assert schedules.evaluation_epochs(3, 50) == [1, 2, 3]
    assert schedules.evaluation_epochs(1, 1) == [1]
    assert schedules.evaluation_epochs(12, 7) == list(range(1, 13))
    assert schedules.evaluation_epochs(115, 60)[9:] == [10, *range(11, 101, 10), 115]


def test_divergence_ends_training_before_the_weights_move(trainer):
    batch = next(iter(make_batches()))
    weights = [weight.numpy() for weight in trainer.trainable_variables]
    poison = tf.where(tf.range(8) == 3, np.nan, 1.0)[:, None, None, None]
    bad = tf.data.Dataset.from_tensors({**batch, "noise": batch["noise"] * poison})
    iso, camera = int(batch["iso"][3]), int(batch["camera"][3])
    message = f"at step 1, in 1 of 8 patches, of ISO {iso} and camera {camera}; the noise or"
    with pytest.raises(DivergedError, match=message):
        trainer.fit(bad, verbose=0)
    for weight, expected in zip(trainer.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_suspects_of_a_step():
    def said(pixels, losses):
        patches = np.array([pixels, losses, [100, 800], [0, 2]])
        return divergence.describe("step 3", patches, ("ISO", "camera"))

    assert "in 1 of 2 patches, of ISO 800 and camera 2; a lower" in said([1, 1], [1, 0])
    assert "of ISO 100 and camera 0; the noise or the clean image" in said([0, 1], [0, 0])
    assert "in 2 of 2 patches, of ISO 100, 800 and camera 0, 2; a lower" in said([1, 1], [1, 1])
    elsewhere = divergence.describe("step 3", np.empty([4, 0]), ("ISO", "camera"))
    assert "step 3, on another machine" in elsewhere and "ISO" not in elsewhere


def test_a_batch_larger_than_the_record(monkeypatch):
    monkeypatch.setattr(divergence, "_MOST", 4)
    trainer = nf.Trainer(nf.NoiseFlow("S-G", seed=0))
    trainer.compile("adam")
    bad = make_batches().map(lambda batch: {**batch, "noise": batch["noise"] * np.nan})
    with pytest.raises(DivergedError, match="in 4 of 4 patches"):
        trainer.fit(bad, verbose=0)
    assert np.isfinite(trainer.fit(make_batches(), verbose=0).history["nll"][0])


def test_errors_of_other_kinds_are_not_called_divergence(trainer):
    batch = next(iter(make_batches()))
    unknown = tf.data.Dataset.from_tensors({**batch, "iso": tf.fill(batch["iso"].shape, 101)})
    with pytest.raises(tf.errors.InvalidArgumentError, match="unknown ISO"):
        trainer.fit(unknown, verbose=0)


def test_too_fast_learning_ends_training(trainer):
    trainer.compile(tf_keras.optimizers.Adam(1e30))
    with pytest.raises(DivergedError, match="training diverged: .* at epoch 1, step 2, .*--lr"):
        trainer.fit(make_batches(), epochs=50, steps_per_epoch=3, verbose=0)


def test_a_test_loss_that_is_not_finite_ends_training(trainer):
    stop = callbacks.StopOnDivergence()
    stop.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(ValueError, match="the test loss was nan after epoch 2"):
        stop.on_epoch_end(1, {"val_loss": np.nan})


def test_averages_are_those_of_the_present_weights(trainer):
    """Every batch the same: the averages become its moments, whatever they were before."""
    same = make_batches().take(1).repeat(30)
    trainer.fit(make_batches(), epochs=10, verbose=0)
    batch = next(iter(same))
    trainer.reestimate_averages(same)
    p = trainer.noise_model(batch["clean"], batch["iso"], batch["camera"])
    evaluated = p.log_prob(batch["noise"])
    p = trainer.noise_model(batch["clean"], batch["iso"], batch["camera"], training=True)
    np.testing.assert_allclose(evaluated, p.log_prob(batch["noise"]), rtol=1e-5)
    with pytest.raises(ValueError, match="need at least one batch"):
        trainer.reestimate_averages(same.take(0))


def test_run_folder_keeps_what_it_does_not_know(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files than a run"):
        RunFolder(tmp_path).create({}, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "settings.json").write_text('{"editor.fontSize": 12}')
    with pytest.raises(ValueError, match="not the settings of a run"):
        RunFolder(foreign).create({}, overwrite=True)
    assert (foreign / "settings.json").is_file()
    run = RunFolder(tmp_path / "run")
    run.create({"arch": "S-G", "width": 4})
    with pytest.raises(ValueError, match="holds a run already.*--overwrite"):
        run.create({"arch": "S-G", "width": 4})
    (run.path / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="other files than a run: mine.txt"):
        run.create({"arch": "S-G", "width": 4}, overwrite=True)
    (run.path / "mine.txt").unlink()
    run.create({"arch": "S-G-CAM", "width": 4}, overwrite=True)
    assert json.loads(run.settings.read_text())["arch"] == "S-G-CAM"
    assert {path.name for path in run.path.iterdir()} >= {"settings.json", "checkpoints"}
    partial_of(run.history).touch()  # as when a kill falls into writing it
    run.create({"arch": "S-G-CAM", "width": 4}, overwrite=True)
    run.settings.unlink()  # as when a kill falls into create
    run.create({"arch": "S-G", "width": 4})
    link = tmp_path / "link"
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    RunFolder(link).create({"arch": "S-G", "width": 4})
    assert (tmp_path / "elsewhere" / "settings.json").is_file()
    with pytest.raises(ValueError, match="is a file"):
        RunFolder(tmp_path / "thesis.tex").create({})


def test_callbacks_keep_history_curves_pictures_and_weights(trainer, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create({"arch": trainer.noise_model.arch, "width": 4})
    picture = np.zeros((4, 8, 3), np.uint8)
    checkpoints = Checkpoints(trainer, run.last, 3)
    baselines = {"gaussian": {"nll": -1.5, "kl": 0.5}}
    kl = evaluation.sampled_kl(trainer.noise_model, make_batches(seed=1))
    trainer.fit(
        make_batches(),
        validation_data=make_batches(seed=1),
        validation_freq=[1, 3],
        epochs=3,
        verbose=0,
        callbacks=[
            callbacks.MarginalKL(kl),
            BestWeights(run.best, checkpoints),
            callbacks.History(run.history, trainer.noise_model),
            callbacks.MeasuredCurves(run.tensorboard),
            callbacks.LearnedCurves(trainer.noise_model, run.tensorboard, baselines),
            callbacks.NoisePictures(run.tensorboard, lambda: {"patches/S6": picture}),
            CheckpointCallback(checkpoints, Interruption(), every=2),
        ],
    )
    rows = list(csv.DictReader(run.history.open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["val_nll"] == rows[1]["val_kl"] == ""
    assert float(rows[2]["val_kl"]) == kl()
    assert all(float(row["seconds"]) > 0 for row in rows)
    final = trainer.noise_model.summaries()["beta"]["beta1"].numpy()
    assert float(rows[2]["beta/beta1"]) == pytest.approx(final, rel=1e-4)

    best = min((row for row in rows if row["val_nll"]), key=lambda r: float(r["val_nll"]))
    kept = evaluation.evaluate({"kept": nf.load(run.path)}, make_batches(seed=1))
    assert kept["kept"]["nll"] == pytest.approx(float(best["val_nll"]), abs=1e-4)
    assert [prefix.name for prefix in newest_first(run.last)] == ["step-9", "step-8"]

    tags = {folder.name: _tags(folder) for folder in run.tensorboard.iterdir()}
    nll, kl = "1 fit/1 NLL in nats per dimension", "1 fit/2 marginal KL in nats"
    assert {nll, "3 training/3 learning rate", "2 learned/1 beta1"} <= tags["train"]
    assert {nll, kl} <= tags["validation"]
    assert tags["gaussian"] == {nll, kl}
    assert "2 learned/3 gain" in tags["ISO 100"] and not any("loss" in tag for tag in tags["train"])
    assert tags["pictures"] == {"patches/S6"}
    assert [step for step, _ in _written(run.tensorboard / "pictures")] == [1, 3]  # evaluated
    for folder in run.tensorboard.iterdir():
        written = [(step, value.tag) for step, value in _written(folder)]
        assert len({*written}) == len(written)  # nothing twice
    told = {step: v for step, value, v in _scalars(run.tensorboard / "train") if value == nll}
    assert told == pytest.approx({int(row["epoch"]): float(row["nll"]) for row in rows}, rel=1e-5)


def test_lines_of_one_chart_have_colours_of_their_own(tmp_path):
    """TensorBoard gives seven colours in turn to sub-runs that start in one second, by name."""
    model = nf.NoiseFlow("sdn5|gain4")
    baselines = dict.fromkeys(("gaussian", "camera_nlf"), {"nll": -1.5, "kl": 0.5})
    callback = callbacks.LearnedCurves(model, tmp_path, baselines)
    callback.on_epoch_end(0)
    callback.on_train_end()
    names = sorted({"pictures", "train", "validation", *(f.name for f in tmp_path.iterdir())})
    colours = {name: number % 7 for number, name in enumerate(names)}
    charts = {"1 fit/1 NLL in nats per dimension": ["train", "validation"]}
    for folder in tmp_path.iterdir():
        for tag in _tags(folder):
            charts.setdefault(tag, []).append(folder.name)
    assert {len(lines) for lines in charts.values()} == {1, 2, 4, 5}
    for lines in charts.values():
        assert len({colours[line] for line in lines}) == len(lines), lines


def _tags(folder):
    return {value.tag for _, value in _written(folder)}


def _written(folder):
    return [
        (event.step, value)
        for file in folder.glob("*.v2")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]


def _scalars(folder):
    return [
        (step, value.tag, float(tf.make_ndarray(value.tensor))) for step, value in _written(folder)
    ]


def test_learned_curves_are_lines_of_their_own_next_to_the_baselines(tmp_path):
    learned = {
        "beta": {"beta1": 0.5, "beta2": 0.25},
        "gain": {"ISO 100": 2.0, "ISO 400": 3.0},
        "gain layer": {"factor": 4.0},
        "camera factor": {"S6": 1.0, "GP": 1.5},
    }
    model = SimpleNamespace(summaries=lambda: learned, cameras=("S6", "GP"))
    baselines = {"gaussian": {"nll": -1.5, "kl": 0.75}}
    curves = callbacks.LearnedCurves(model, tmp_path, baselines)
    curves.on_epoch_end(3)
    curves.on_train_end()
    assert {folder.name: _scalars(folder) for folder in tmp_path.iterdir()} == {
        "train": [
            (4, "2 learned/1 beta1", 0.5),
            (4, "2 learned/2 beta2", 0.25),
            (4, "2 learned/4 gain layer", 4.0),
        ],
        "ISO 100": [(4, "2 learned/3 gain", 2.0)],
        "ISO 400": [(4, "2 learned/3 gain", 3.0)],
        "camera S6": [(4, "2 learned/5 camera factor", 1.0)],
        "camera GP": [(4, "2 learned/5 camera factor", 1.5)],
        "gaussian": [
            (4, "1 fit/1 NLL in nats per dimension", -1.5),
            (4, "1 fit/2 marginal KL in nats", 0.75),
        ],
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG cannot be used"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "list of str"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 5}}', "no task"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "wrker", "index": 0}}', "no task"),
        ('{"cluster": {"worker": ["a:1"]}}', "KeyError"),
        ("", "multiworker needs the workers' addresses in TF_CONFIG"),
    ],
)
def test_a_wrong_cluster_is_told_before_anything_waits(monkeypatch, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=message):
        strategies.choose("multiworker")


def test_strategies_of_one_machine(monkeypatch):
    with pytest.raises(ValueError, match="unknown strategy 'all'; allowed are auto, none"):
        strategies.choose("all")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = strategies.choose("none")
    assert strategies.is_chief(strategy)
    assert strategies.num_workers(strategy) == 1
    assert isinstance(strategies.choose("mirrored"), tf.distribute.MirroredStrategy)
    two = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(two))
    with pytest.raises(ValueError, match="names 2 workers; say which strategy is meant"):
        strategies.choose("auto")


@pytest.mark.parametrize(
    ("name", "replicas", "gpus", "message"),
    [
        ("none", 2, 0, "2 replicas do not go with the strategy none; take mirrored"),
        ("multiworker", 2, 4, "2 replicas do not go with the strategy multiworker"),
        ("mirrored", 0, 0, "replicas must be at least 1; got 0"),
        ("auto", 3, 2, "3 replicas need as many GPUs, and this machine has 2; take fewer"),
        ("mirrored", 2, 0, "TensorFlow has started, so that the CPU cannot be divided into 2"),
    ],
)
def test_replicas_that_cannot_be(monkeypatch, name, replicas, gpus, message):
    tf.constant(0)  # starts TensorFlow
    devices = {"CPU": tf.config.list_physical_devices("CPU"), "GPU": [None] * gpus}
    monkeypatch.setattr(tf.config, "list_physical_devices", devices.get)
    with pytest.raises(ValueError, match=message):
        strategies.choose(name, replicas)


def test_one_replica(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert strategies.choose("auto", 1).num_replicas_in_sync == 1
    assert not isinstance(strategies.choose("none", 1), tf.distribute.MirroredStrategy)


def test_replicas_read_their_own_shares_in_turn():
    def share(place):
        return tf.data.Dataset.from_tensors(place[0] * 10 + place[1]).repeat()

    creator = strategies.in_shares(share)
    for pipelines, number, expected in (
        (2, 1, [24, 34, 24]),
        (1, 0, [4, 14, 24]),
        (4, 3, [34] * 3),
    ):
        context = tf.distribute.InputContext(pipelines, number, num_replicas_in_sync=4)
        found = [int(value) for value in creator(context).take(3)]
        assert found == expected


@pytest.mark.parametrize(
    ("cluster", "kind", "number", "chief"),
    [
        ({"worker": ["a:1", "b:1"]}, "worker", 0, True),
        ({"worker": ["a:1", "b:1"]}, "worker", 1, False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 0, True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", 0, False),
        ({"worker": ["a:1"]}, "worker", 0, True),
    ],
)
def test_one_process_keeps_what_is_trained(cluster, kind, number, chief):
    class Strategy:
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=kind, task_id=number
        )

    assert strategies.is_chief(Strategy()) is chief
    assert strategies.num_workers(Strategy()) == sum(map(len, cluster.values()))


@pytest.mark.parametrize(("highest", "kept"), [(False, "epoch-2"), (True, "epoch-3")])
def test_the_first_of_the_best_epochs_is_kept(trainer, tmp_path, highest, kept):
    checkpoints = Checkpoints(trainer, tmp_path / "last", 3)
    best = BestWeights(tmp_path / "best", checkpoints, "score", highest)
    best.set_model(trainer)
    for epoch, score in enumerate([1.0, -2.0, 3.0, -2.0, 3.0, 0.5]):
        best.on_epoch_end(epoch, {"score": score})
        best.on_epoch_end(epoch, {})
    assert [prefix.name for prefix in newest_first(tmp_path / "best")] == [kept]
