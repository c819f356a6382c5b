"""Each flag of the training commands reaches what it is about; nothing is trained here."""

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from noise_flow_tf import denoising
from noise_flow_tf.cli import train, train_denoiser
from noise_flow_tf.training import callbacks
from noise_flow_tf.training.checkpoints import CheckpointCallback
from noise_flow_tf.training.schedules import evaluation_epochs
from noise_flow_tf.training.steps import CheckedTrainer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "sidd"
    return sidd.write_synthetic(
        root, size=(128, 128), train_instances=5, test_instances=1, progress=False
    )


class Stop(Exception):
    """Ends a command when it begins to fit."""


class Seen:
    """What a command gave to `Patches`, to its batches, and to `fit`."""

    def __init__(self, monkeypatch):
        self.patches, self.batches, self.noisy = [], [], []
        self._record(monkeypatch, sidd.Patches, "__init__", self.patches)
        self._record(monkeypatch, sidd.Patches, "batches", self.batches)
        self._record(monkeypatch, denoising, "noisy_batches", self.noisy)

        def fit(trainer, data, **options):
            self.trainer, self.fit = trainer, options
            data.dataset_fn(self)  # as Keras does, for one replica
            raise Stop

        self.num_replicas_in_sync = self.num_input_pipelines = 1
        self.input_pipeline_id = 0
        monkeypatch.setattr(CheckedTrainer, "fit", fit)

    @staticmethod
    def _record(monkeypatch, owner, name, calls):
        original = getattr(owner, name)

        def recording(*args, **kwargs):
            calls.append((args, kwargs))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recording)

    def callback(self, kind):
        (found,) = [one for one in self.fit["callbacks"] if isinstance(one, kind)]
        return found

    def rates(self):
        """The learning rate at the first, the middle and the last step, and how many there are."""
        steps = self.fit["steps_per_epoch"] * self.fit["epochs"]
        rate = self.trainer.optimizer._learning_rate
        at = (0, steps // 2, steps - 1)
        return [float(rate(step) if callable(rate) else rate) for step in at], steps


@pytest.fixture
def command(dataset, tmp_path, monkeypatch):
    """Runs a command until it would fit."""

    def until_fit(main, *flags):
        seen = Seen(monkeypatch)
        line = ["--logdir", tmp_path / "run", "--sidd_path", dataset, "--cache", tmp_path / "cache"]
        with pytest.raises(Stop):
            main(list(map(str, [*line, *flags])))
        return seen

    return until_fit


def train_noise_model(command, *flags):
    return command(train.main, "--arch", "S-G", *flags)


def train_dncnn(command, *flags):
    small = ("--noise", "gauss", "--depth", 3, "--width", 4, "--n_batch_train", 4)
    return command(train_denoiser.main, *small, "--n_test_patches", 4, *flags)


def test_noise_model_by_default(command):
    seen = train_noise_model(command, "--epochs", 7, "--n_batch_train", 9)
    (_, of_train), (_, of_test) = seen.patches
    for options in (of_train, of_test):
        assert options["sampling"] == "uniform" and options["patch_size"] == 32
        assert options["seed"] == 0 and options["patches_per_image"] is None
    assert seen.fit["epochs"] == 7 and seen.fit["steps_per_epoch"] == 5  # 40 patches in all
    assert seen.fit["validation_freq"] == evaluation_epochs(7, 10)
    args, options = seen.batches[-1]
    assert args[1] == 9
    expected = {"mix_images": True, "first_batch": 0, "repeat": True, "shard": (0, 1)}
    assert options == expected
    assert seen.callback(callbacks.ReestimateAverages)._batches.cardinality() == 32
    assert seen.callback(CheckpointCallback)._every == 500
    rates, steps = seen.rates()
    assert steps == 35
    warm_up = round(0.05 * steps)
    decay = (1 + np.cos(np.pi * (steps // 2 - warm_up) / (steps - warm_up))) / 2
    np.testing.assert_allclose(rates[1], 1e-2 * (0.999 * decay + 0.001), rtol=1e-3)
    assert rates[0] == pytest.approx(5e-3) and 1e-5 < rates[2] < 1e-4


def test_noise_model_flags(command):
    seen = train_noise_model(
        command,
        *("--batching", "release", "--patch_sampling", "random", "--average_batches", 3),
        *("--epochs_full_valid", 50, "--epochs", 120, "--n_batch_train", 3, "--n_batch_test", 2),
        *("--seed", 5, "--checkpoint_every", 11, "--lr", 2e-3, "--n_patches_per_image", 4),
    )
    (_, of_train), (_, of_test) = seen.patches
    assert (of_train["sampling"], of_test["sampling"]) == ("random", "uniform")
    assert of_train["patches_per_image"] == of_test["patches_per_image"] == 4
    assert of_train["seed"] == 5
    args, options = seen.batches[-1]
    assert args[1] == 3 and options["mix_images"] is False
    assert seen.fit["steps_per_epoch"] == 20  # 10 frames of 4 patches, in batches of one frame
    assert all(len(batch["iso"]) == 2 for batch in seen.fit["validation_data"])
    assert seen.fit["validation_freq"] == evaluation_epochs(120, 50)
    assert seen.callback(callbacks.ReestimateAverages)._batches.cardinality() == 3
    assert seen.callback(CheckpointCallback)._every == 11
    assert seen.rates()[0] == [pytest.approx(2e-3)] * 3  # the release's constant
    expected = nf.NoiseFlow("S-G", seed=5)
    for got, want in zip(seen.trainer.noise_model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("flags", "batch", "beta_2"),
    [
        ([], 16, 0.99),
        (["--schedule", "release"], 138, 0.999),
        (["--lr", 1e-3], 138, 0.999),
        (["--schedule", "cosine", "--lr", 1e-3, "--n_batch_train", 7], 7, 0.99),
    ],
)
def test_each_schedule_has_its_batches_and_its_adam(command, flags, batch, beta_2):
    seen = train_noise_model(command, "--epochs", 1, *flags)
    assert seen.batches[-1][0][1] == batch
    optimizer = seen.trainer.optimizer
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, beta_2, 1e-8)


def test_no_averages_are_measured_if_none_are_wanted(command):
    seen = train_noise_model(command, "--average_batches", 0, "--epochs", 1)
    kinds = [type(one) for one in seen.fit["callbacks"]]
    assert callbacks.ReestimateAverages not in kinds
    assert kinds[-1] is CheckpointCallback


@pytest.mark.parametrize(
    ("flags", "epochs"), [([], 20000), (["--schedule", "release"], 2000), (["--epochs", 3], 3)]
)
def test_epochs(command, flags, epochs):
    assert train_noise_model(command, *flags, "--n_batch_train", 20).fit["epochs"] == epochs


def test_denoiser_by_default(command):
    seen = train_dncnn(command)
    (_, of_train), (_, of_test) = seen.patches
    assert of_train["stride"] == 64 and of_train["sampling"] == "uniform"
    assert of_test["sampling"] == "random" and of_test["patches_per_image"] == 2
    steps = seen.fit["steps_per_epoch"]
    assert (steps, seen.fit["epochs"]) == (1, 180)
    assert seen.fit["validation_freq"] == evaluation_epochs(180, 10)
    rate = seen.trainer.optimizer._learning_rate
    rates = [float(rate(epoch * steps)) for epoch in (0, 29, 30, 59, 60, 179)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-4, 5e-5, 5e-5])
    assert seen.trainer.network.recipe == {"depth": 3, "width": 4, "noise_scale": 1.0}
    validating, *_ = seen.noisy
    assert validating[0][1] is denoising.real
    (args, _) = seen.noisy[-1]
    assert isinstance(args[1], denoising.Gauss) and args[2:4] == ((0, 0), 0)


def test_denoiser_flags(command):
    seen = train_dncnn(
        command,
        *("--stride", 16, "--steps", 95, "--schedule", "cosine", "--lr", 3e-3, "--seed", 7),
        *("--noise_scale", 0.02, "--gauss_mix", 0.25, "--n_test_patches", 9, "--n_batch_test", 3),
        *("--average_batches", 2, "--epochs_full_valid", 4, "--checkpoint_every", 13),
        *("--n_batch_train", 5, "--n_train_threads", 1),
    )
    (_, of_train), (_, of_test) = seen.patches
    assert of_train["stride"] == 16 and of_test["patches_per_image"] == 5
    steps = seen.fit["steps_per_epoch"]
    assert steps == 5  # next to the 9 batches of a pass, of what divides 95
    assert seen.fit["epochs"] == 19
    assert seen.fit["validation_freq"] == evaluation_epochs(19, 4)
    assert seen.trainer.network.noise_scale == 0.02
    (args, _) = seen.noisy[-1]
    assert isinstance(args[1], denoising.GaussMix) and args[1].part == 0.25
    assert args[2:] == ((7, 0), 0, 1)
    assert len(next(iter(seen.fit["validation_data"]))[0]) == 3
    args, options = seen.batches[-1]
    assert args[1] == 5 and options["drop_remainder"] and options["repeat"]
    assert seen.callback(callbacks.ReestimateAverages)._batches.cardinality() == 2
    assert seen.callback(CheckpointCallback)._every == 13
    rates, steps = seen.rates()
    assert steps == 95 and rates[0] < 1e-3 and 1e-3 < rates[1] < 2e-3 and rates[2] < 1e-5
    expected = denoising.DnCNN(3, 4, 7, 0.02)
    for got, want in zip(seen.trainer.network.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(got, want)
