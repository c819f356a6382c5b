"""The distribution of the noise of a batch of images, and the one pass that computes it."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from noise_flow_tf.bijectors import NoCache, OnePassBijector, Updates
from noise_flow_tf.bijectors.one_pass import as_float32
from noise_flow_tf.bijectors.shapes import same_batch, same_event
from noise_flow_tf.conditions import slice_batch
from noise_flow_tf.native import use
from noise_flow_tf.native.ops import Op


class BatchConditions(Protocol):
    """What a `NoiseDistribution` needs of the conditions of a batch: a NamedTuple of tensors."""

    @property
    def clean(self) -> tf.Tensor: ...


class Flow(Protocol):
    """What a `NoiseDistribution` needs of a noise model."""

    @property
    def trainable_variables(self) -> Sequence[tf.Variable]: ...

    @property
    def variables(self) -> Sequence[tf.Variable]: ...

    def bijectors(self, conditions: Any, training: bool) -> list[OnePassBijector]:
        """Return the bijectors for a batch, from the data side to the latent side."""

    def ops(self, conditions: Any, training: bool) -> list[Op] | None:
        """Return the same as operations of the compiled core; None if it has none for them."""


class OnePass(NamedTuple):
    """The result of one pass from the noise to the latent.

    Attributes:
        latent: `[..., H, W, 4]`, standard normal if the model fits.
        log_prob: `[...]`, nats.
        moved: with `training`, batch norm's averages after this batch, for the training step to
            assign.
    """

    latent: tf.Tensor
    log_prob: tf.Tensor
    moved: Updates


class NoiseDistribution(tfd.TransformedDistribution):
    """p(noise | conditions): a standard normal, transformed by the bijectors of a noise model.

    Batch shape `[B]`, event shape `[H, W, 4]`. `bijector` is a plain `tfb.Chain` and defines the
    distribution. TFP would compute values and log-dets separately; here one pass over its parts
    computes both, so that no network runs twice and nothing is cached between calls. That pass is
    the compiled core's where it can be used (`native.use`), and TensorFlow's elsewhere.

    Weights are read at each use: an object follows the model that made it, and a gradient reaches
    the weights whether it was made inside the tape or before. It has no state, so threads may
    share it.
    """

    def __init__(
        self,
        model: Flow,
        conditions: BatchConditions,
        training: bool = False,
        validate_args: bool = False,
    ) -> None:
        """Make the distribution.

        Args:
            model: has the bijectors.
            conditions: those of the batch, with `clean` `[..., H, W, 4]`.
            training: passed on to the model.
            validate_args: whether TFP checks its arguments.
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
    def _parameter_properties(cls, dtype: tf.DType, num_classes: int | None = None) -> dict:
        return {}  # __getitem__ slices the conditions, not what follows from them

    def latent_and_log_prob(self, noise: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the latent `[..., H, W, 4]` of noise and `log_prob` `[...]`, nats, in one pass.

        Args:
            noise: `[..., H, W, 4]`, in units of raw intensity.

        Raises:
            ValueError: noise of another height, width or number of channels than the clean image.
        """
        return self.one_pass(noise)[:2]

    def one_pass(self, noise: Any) -> OnePass:
        """Return `latent_and_log_prob`, and the new averages of batch norm."""
        return self._pass(noise, with_latent=True)

    def _pass(self, noise: Any, with_latent: bool) -> OnePass:
        """Return one pass, whose latent may be anything unless it is needed."""
        value, clean = self._checked(noise), self._conditions.clean
        ops = self._ops_for(value, self._training)
        if ops is not None:
            from noise_flow_tf.native import graph

            value = same_batch(value, clean, "noise", "the clean images")
            value, log_prob, moved = graph.latent_and_log_prob(
                ops, value, clean, self._training, with_latent
            )
            return OnePass(value, log_prob + self._zero_or_nan(), moved)
        log_det, moved = 0.0, []
        for bijector in self.bijector.bijectors:
            value, part, updates = bijector.moving_inverse_and_log_det(value)
            log_det += part
            moved += updates
        log_prob = self.distribution.log_prob(value) + log_det + self._zero_or_nan()
        return OnePass(value, log_prob, moved)

    def noise_of(self, latent: Any) -> tf.Tensor:
        """Return the noise `[..., H, W, 4]` of a latent of that shape."""
        value, clean = self._checked(latent), self._conditions.clean
        ops = None if self._training else self._ops_for(value, training=False)
        if ops is None:
            return self._forward_pass(value)[0]
        from noise_flow_tf.native import graph

        return graph.noise_of(ops, same_batch(value, clean, "noise", "the clean images"), clean)

    @property
    def trainable_variables(self) -> Sequence[tf.Variable]:
        """Return those of the model."""
        return self._model.trainable_variables

    @property
    def variables(self) -> Sequence[tf.Variable]:
        """Return those of the model."""
        return self._model.variables

    def __getitem__(self, slices: Any) -> "NoiseDistribution":
        """Return the distribution of a part of the batch, as TFP slices batch shapes."""
        slices = slices if isinstance(slices, tuple) else (slices,)
        return self.copy(conditions=slice_batch(self._conditions, slices))

    def _log_prob(self, y: tf.Tensor) -> tf.Tensor:
        return self._pass(y, with_latent=False).log_prob

    def _call_sample_n(self, sample_shape: Any, seed: Any) -> tf.Tensor:
        # The numbers that self.distribution draws, without adding its mean, an image of zeros.
        sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        of_one = [self.batch_shape_tensor(), self.event_shape_tensor()]
        latent = tfd.Normal(0.0, 1.0).sample(tf.concat([sample_shape, *of_one], 0), seed=seed)
        return self.noise_of(self._set_sample_static_shape(latent, sample_shape))

    def _sample_and_log_prob(self, sample_shape: Any, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
        latent, log_prob = self.distribution.experimental_sample_and_log_prob(sample_shape, seed)
        noise, log_det = self._forward_pass(self._checked(latent))
        return noise, log_prob - log_det + self._zero_or_nan()

    def _ops_for(self, image: tf.Tensor, training: bool) -> list[Op] | None:
        """Return the operations by which the compiled core takes `image`; None if it does not.

        It takes one image for each condition, `[B, H, W, 4]`; TensorFlow does what is broadcast.
        """
        clean = self._conditions.clean
        one_each = image.shape.rank == 4 and image.shape[:1].is_compatible_with(clean.shape[:-3])
        if not (one_each and use.is_used(training)):
            return None
        return self._model.ops(self._conditions, training)

    def _forward_pass(self, latent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        value, log_det = latent, 0.0
        for bijector in reversed(self.bijector.bijectors):
            value, part = bijector.forward_and_log_det(value)
            log_det += part
        return value, log_det

    def _zero_or_nan(self) -> tf.Tensor:
        """Return 0 per image; NaN if `conditions` made it NaN as XLA cannot raise an error.

        So a model that does not depend on the clean image has no density for it either.
        """
        return 0.0 * self._conditions.clean[..., 0, 0, 0]

    def _checked(self, image: Any) -> tf.Tensor:
        image = as_float32(tf.convert_to_tensor(image, dtype_hint=tf.float32), "noise")
        return same_event(image, self._conditions.clean, "noise", "the clean image")

    def _batch_shape(self) -> tf.TensorShape:
        return self.distribution.batch_shape

    def _batch_shape_tensor(self) -> tf.Tensor:
        return self.distribution.batch_shape_tensor()

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return self.distribution.event_shape_tensor()


def noise_by_core(model: Any, conditions: Any, latent: tf.Tensor) -> np.ndarray | None:
    """Return the noise `[B, H, W, 4]` of a latent by the compiled core; None if it is not used.

    In an eager call, without a gradient, for images of any size: the core cuts them into windows.
    TFP's objects, which take as long to make as the noise of a megapixel, are not needed.
    """
    if not (tf.executing_eagerly() and hasattr(model, "ops") and use.is_used(training=False)):
        return None
    ops = model.ops(conditions, training=False)
    if ops is None:
        return None
    from noise_flow_tf.native import graph

    return graph.noise_array(ops, latent, conditions.clean)


def _without_cache(chain: tfb.Chain) -> tfb.Chain:
    """Turn off the chain's cache of values, and return it."""
    chain._cache = NoCache().__get__(weakref.proxy(chain))
    return chain
