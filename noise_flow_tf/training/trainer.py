"""Training of noise models by Keras: maximum likelihood, and its metrics."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from noise_flow_tf.conditions import ConditionSpace
from noise_flow_tf.evaluation.metrics import nll_per_dimension
from noise_flow_tf.layers.coupling_network import BATCH_NORM_UPDATE, Moments
from noise_flow_tf.model import NoiseFlow
from noise_flow_tf.native.use import own_graph
from noise_flow_tf.saving import saved_model
from noise_flow_tf.training.divergence import DivergedError as DivergedError
from noise_flow_tf.training.steps import CheckedTrainer, Outcome
from noise_flow_tf.training.strategies import over_replicas


@tf_keras.utils.register_keras_serializable(package="noise_flow_tf")
class Trainer(CheckedTrainer):
    """A Keras model that fits a noise model to batches of patches.

    Datasets give `{"noise", "clean", "iso", "camera"}` batches; further keys are ignored. The loss
    is the release's, the mean over the batch of the negative log-likelihood in nats per patch
    (Eq. 8 of the paper). Reported are `nll`, in nats per dimension, and `latent_stddev`, the spread
    of the latent, which is 1 where the model fits.

    It is saved by `save("x.keras")`, and its weights by `save_weights("x.weights.h5")` or as a
    TensorFlow checkpoint.

    >>> from noise_flow_tf import NoiseFlow
    >>> trainer = Trainer(NoiseFlow("S-G", seed=0))
    >>> trainer.compile(tf_keras.optimizers.Adam(1e-4, epsilon=1e-8))
    """

    conditions = ("ISO", "camera")

    def __init__(self, noise_model: Any, camera: str | None = None, **kwargs: Any) -> None:
        """Make the trainer.

        Args:
            noise_model: a `NoiseFlow`, or another noise model whose distribution has `one_pass`.
            camera: train this camera's parameters alone; all others, batch norm's averages among
                them, stay the same bit for bit, whatever the optimizer.
            **kwargs: of `tf_keras.Model`.

        Raises:
            ValueError: a camera that the model does not have, or has no parameters for.
        """
        super().__init__(**kwargs)
        self.noise_model = noise_model
        self.camera = camera
        if camera is not None:
            self._column = int(noise_model.condition_space.camera_index(camera))
            if not noise_model.camera_parameters:
                raise ValueError(
                    f"architecture {noise_model.arch!r} has no camera parameters; take one with "
                    "camera factors, such as S-G-CAM"
                )
        self._loss = tf_keras.metrics.Mean(name="loss")
        self._nll = tf_keras.metrics.Mean(name="nll")
        self._latent_stddev = tf_keras.metrics.RootMeanSquaredError(name="latent_stddev")

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        return [self._loss, self._nll, self._latent_stddev]

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        if self.camera is None:
            return super().trainable_weights
        return self.noise_model.camera_parameters

    @property
    def num_trained(self) -> int:
        if self.camera is None:
            return self.noise_model.num_parameters
        tables = self.trainable_weights
        return sum(table.shape.num_elements() // table.shape[-1] for table in tables)

    @property
    def checkpointed(self) -> dict[str, tf.Module]:
        return {"noise_model": self.noise_model}

    def call(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> Any:
        """Return the distribution of the noise of a batch."""
        return self.noise_model(batch["clean"], batch["iso"], batch["camera"], training=training)

    def outcome(self, data: Any) -> Outcome:
        batch = _batch_of(data)
        p = self(batch, training=self.camera is None)
        latent, log_prob, moved = p.one_pass(batch["noise"])
        camera = batch["camera"]
        if camera.dtype == tf.string:
            camera = ConditionSpace.of(self.noise_model).camera_index(camera)
        losses = -log_prob
        return Outcome(
            losses=losses,
            loss=tf.reduce_sum(losses) / over_replicas(tf.cast(tf.size(losses), losses.dtype)),
            measured=[latent],
            images=[batch["noise"], batch["clean"]],
            conditions={"ISO": batch["iso"], "camera": camera},
            moved=moved,
        )

    def update_metrics(self, losses: tf.Tensor, *measured: tf.Tensor) -> None:
        (latent,) = measured
        self._loss.update_state(losses)
        self._nll.update_state(nll_per_dimension(-losses, latent))
        self._latent_stddev.update_state(tf.zeros_like(latent), latent)

    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> None:
        """Apply gradients; if a camera is trained, change its own column alone."""
        before = [tf.identity(variable) for variable in variables] if self.camera else []
        super().apply(gradients, variables)
        for table, old in zip(variables, before, strict=False):
            is_own = tf.range(table.shape[-1]) == self._column
            table.assign(tf.where(is_own, table, old))

    @tf.autograph.experimental.do_not_convert
    @own_graph()
    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        batch = _batch_of(data)
        latent, log_prob = self(batch).latent_and_log_prob(batch["noise"])
        return self.report(-log_prob, latent)

    def reestimate_averages(self, batches: Iterable) -> None:
        """Set batch norm's averages to the moments that batches have under the present weights.

        While weights move fast, the averages lag behind them, and a model that is evaluated with
        them does worse than it does on a batch's own moments ("precise batch norm", Wu and Johnson,
        "Rethinking 'Batch' in BatchNorm", 2021). From zero, they move as in training over all
        `batches`, and are then freed of their start as Adam's moments are, by 1 - 0.9^n.

        Args:
            batches: as for training; 20 of them are enough for averages that move by 0.1.

        Raises:
            ValueError: there is no batch.
        """
        averages = [
            average
            for module in self.noise_model.submodules
            if isinstance(module, Moments) and self.camera is None
            for average in (module.mean, module.variance)
        ]
        for average in averages:
            average.assign(tf.zeros_like(average))
        count = sum(1 for _ in self.moving_averages(batches))
        for average in averages:
            average.assign(average * (1 / (1 - (1 - BATCH_NORM_UPDATE) ** count)))

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Keras' `save` of a `.keras` file, with the noise model's weights.

        Raises:
            ValueError: another format of Keras, which would leave the weights out.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{filepath}: a Trainer is saved as .keras; a SavedModel of its noise model is "
                "written by noise_flow_tf.saving.saved_model.save(model, path)"
            )
        super().save(filepath, *args, **kwargs)

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Keras' `save_weights` to `.weights.h5` or a TensorFlow checkpoint.

        Raises:
            ValueError: Keras' older HDF5 format, which would leave the weights out.
        """
        _check_weights_format(filepath, kwargs)
        super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Keras' `load_weights` of what `save_weights` wrote."""
        _check_weights_format(filepath, kwargs)
        return super().load_weights(filepath, *args, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        for number, variable in enumerate(self.noise_model.variables):
            store[str(number)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        variables = self.noise_model.variables
        shapes = [list(store[name].shape) for name in sorted(store.keys(), key=int)]
        if shapes != [variable.shape.as_list() for variable in variables]:
            raise ValueError("these are the weights of another noise model than the trainer's")
        for number, variable in enumerate(variables):
            variable.assign(store[str(number)])

    def get_config(self) -> dict[str, Any]:
        recipe = saved_model.recipe(self.noise_model)
        return {"name": self.name, "camera": self.camera, "noise_model": recipe}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Trainer":
        model = NoiseFlow(**config["noise_model"])
        return cls(model, config.get("camera"), name=config["name"])


def _batch_of(data: Any) -> Mapping[str, tf.Tensor]:
    batch, target, weight = tf_keras.utils.unpack_x_y_sample_weight(data)
    if target is not None or weight is not None:
        raise ValueError(
            "a Trainer takes batches of noise, clean, iso and camera; leave targets and sample "
            "weights out"
        )
    return batch


def _check_weights_format(filepath: Any, options: Mapping[str, Any]) -> None:
    path = str(filepath)
    older = path.endswith((".h5", ".hdf5")) or options.get("save_format") == "h5"
    if (older and not path.endswith(".weights.h5")) or path.endswith(".keras"):
        raise ValueError(
            f"{path}: a Trainer keeps its weights in a file x.weights.h5, or in a TensorFlow "
            "checkpoint if the name has no ending"
        )
