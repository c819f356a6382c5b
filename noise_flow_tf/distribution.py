"""The distribution of the noise of a batch of images, and the one pass that computes it."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
import tensorflow_probability as tfp

from noise_flow_tf.bijectors import NoCache, OnePassBijector
from noise_flow_tf.bijectors.one_pass import as_float32
from noise_flow_tf.bijectors.shapes import same_event

tfb = tfp.bijectors
tfd = tfp.distributions

Moved = Sequence[tuple[tf.Variable, tf.Tensor]]


class Flow(Protocol):
    """What a `NoiseDistribution` needs of a noise model."""

    @property
    def trainable_variables(self) -> Sequence[tf.Variable]: ...

    @property
    def variables(self) -> Sequence[tf.Variable]: ...

    def bijectors(self, conditions: Any, training: bool) -> list[OnePassBijector]:
        """The bijectors for a batch, from the data side to the latent side."""


class OnePass(NamedTuple):
    """What one pass from the noise to the latent gives.

    Attributes:
        latent: `[..., H, W, 4]`, standard normal where the model fits.
        log_prob: `[...]`, nats.
        moved: pairs (variable, new value): with `training`, batch norm's averages after this batch.
            Nothing is assigned but by whoever trains.
    """

    latent: tf.Tensor
    log_prob: tf.Tensor
    moved: Moved


class NoiseDistribution(tfd.TransformedDistribution):
    """p(noise | conditions): what a standard normal becomes by the bijectors of a noise model.

    Batch shape `[B]`, event shape `[H, W, 4]`. `bijector` is a plain `tfb.Chain` and defines the
    distribution. TFP would ask it for values and log-dets one by one; here a single walk over its
    parts gives both, so that no network runs twice and nothing has to be remembered between calls.

    Weights are read at each use: an object follows the model that made it, and a gradient reaches
    the weights whether it was made inside the tape or before. It holds no state, so threads may
    share it.
    """

    def __init__(self, model: Flow, conditions: Any, training: bool = False, validate_args=False):
        """Makes the distribution.

        Args:
            model: gives the bijectors.
            conditions: a NamedTuple with `clean`, `[..., H, W, 4]`, and others of the batch shape.
            training: handed on to the model.
            validate_args: whether TFP checks what it is given.
        """
        parameters = dict(locals())
        self._model, self._conditions, self._training = model, conditions, training
        chain = tfb.Chain(model.bijectors(conditions, training), name="layers")
        super().__init__(
            tfd.Independent(tfd.Normal(tf.zeros_like(conditions.clean), 1.0), 3),
            _without_cache(chain),
            validate_args=validate_args,
            parameters=parameters,
            name="noise",
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {}  # __getitem__ slices the conditions, not what follows from them

    def latent_and_log_prob(self, noise: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """The latent `[..., H, W, 4]` of noise, and its `log_prob` `[...]` in nats, in one pass.

        Args:
            noise: `[..., H, W, 4]`, in units of raw intensity.

        Raises:
            ValueError: noise of another height, width or number of channels than the clean image.
        """
        return self.one_pass(noise)[:2]

    def one_pass(self, noise: Any) -> OnePass:
        """`latent_and_log_prob`, and the averages that training is to move."""
        value = self._checked(noise)
        log_det, moved = 0.0, []
        for bijector in self.bijector.bijectors:
            value, part, changes = bijector.moving_inverse_and_log_det(value)
            log_det += part
            moved += changes
        log_prob = self.distribution.log_prob(value) + log_det + self._not_a_number()
        return OnePass(value, log_prob, moved)

    def noise_of(self, latent: Any) -> tf.Tensor:
        """The noise `[..., H, W, 4]` that a latent of that shape becomes."""
        return self._forward_pass(latent)[0]

    @property
    def trainable_variables(self):
        """Those of the model."""
        return self._model.trainable_variables

    @property
    def variables(self):
        """Those of the model."""
        return self._model.variables

    def __getitem__(self, slices) -> "NoiseDistribution":
        """The distribution of a part of the batch, as TFP slices batch shapes."""
        slices = slices if isinstance(slices, tuple) else (slices,)
        return self.copy(conditions=self._conditions.sliced(slices))

    def _log_prob(self, y):
        return self.one_pass(y).log_prob

    def _call_sample_n(self, sample_shape, seed):
        return self.noise_of(self.distribution.sample(sample_shape, seed=seed))

    def _sample_and_log_prob(self, sample_shape, seed):
        latent, log_prob = self.distribution.experimental_sample_and_log_prob(sample_shape, seed)
        noise, log_det = self._forward_pass(latent)
        return noise, log_prob - log_det + self._not_a_number()

    def _forward_pass(self, latent):
        value, log_det = self._checked(latent), 0.0
        for bijector in reversed(self.bijector.bijectors):
            value, part = bijector.forward_and_log_det(value)
            log_det += part
        return value, log_det

    def _not_a_number(self):
        """0, and NaN for the images that XLA could not refuse and `conditions` made NaN.

        A model that never looks at the clean image has no density for these either.
        """
        return 0.0 * self._conditions.clean[..., 0, 0, 0]

    def _checked(self, image):
        image = as_float32(tf.convert_to_tensor(image, dtype_hint=tf.float32), "noise")
        return same_event(image, self._conditions.clean, "noise", "the clean image")

    def _batch_shape(self):
        return self.distribution.batch_shape

    def _batch_shape_tensor(self):
        return self.distribution.batch_shape_tensor()

    def _event_shape(self):
        return self.distribution.event_shape

    def _event_shape_tensor(self):
        return self.distribution.event_shape_tensor()


def _without_cache(chain: tfb.Chain) -> tfb.Chain:
    """The same chain, which no longer remembers what it gave for a tensor."""
    chain._cache = NoCache().__get__(weakref.proxy(chain))
    return chain
