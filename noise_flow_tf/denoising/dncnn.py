"""The denoising network."""

from typing import Any

import tensorflow as tf
import tf_keras

_RADIUS = 1  # of a 3 x 3 convolution
_EPSILON = 1e-4


class DnCNN(tf_keras.Model):
    """DnCNN on packed raw images: it subtracts its estimate of the noise from the noisy image.

    Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
    TIP 2017, as the Noise Flow release has it: `depth` 3 x 3 convolutions with orthogonal initial
    values; the first with bias and ReLU; those in the middle without bias, with batch norm and
    ReLU; the last one alone, without bias. Batch norm has scale and offset, epsilon 1e-4 and
    momentum 0: its averages are the moments of the last training batch. Under a `tf.distribute`
    strategy these are the moments of the whole batch, over all replicas.

    In the release's size, depth 9 and width 32, it has 67,296 trainable parameters and 448 averages
    of batch norm:

    >>> from math import prod
    >>> network = DnCNN()
    >>> sum(prod(variable.shape) for variable in network.trainable_variables)
    67296
    >>> network.count_params()
    67744

    The estimate is far smaller than what fresh convolutions give, and Adam moves each weight by
    about the learning rate a step, whatever the gradient's size. With a `noise_scale` of about the
    noise's standard deviation the convolutions give the noise in its own units, and training is
    shorter by far. It changes neither what the network can compute nor how many parameters it has.

    Attributes:
        receptive_field: how far from a pixel, in packed pixels, its surroundings matter.
    """

    def __init__(
        self, depth: int = 9, width: int = 32, seed: int | None = None, noise_scale: float = 1.0
    ) -> None:
        """Make a fresh network.

        Args:
            depth: how many convolutions; at least 2.
            width: their hidden channels, the paper's "filters"; at least 1.
            seed: of the initial values; None for others each time.
            noise_scale: what the output of the last convolution is multiplied by, in units of raw
                intensity; above 0, and 1 in the release.

        Raises:
            ValueError: depth, width or noise_scale out of range.
        """
        super().__init__(name="dncnn")
        if depth < 2 or width < 1:
            raise ValueError(
                f"DnCNN needs depth 2 and width 1 at least; got depth {depth} and width {width}"
            )
        if not 0 < noise_scale < float("inf"):
            raise ValueError(f"noise_scale must be positive and finite; got {noise_scale}")
        self.noise_scale = noise_scale
        self.depth, self.width, self.receptive_field = depth, width, _RADIUS * depth

        def convolution(number: int, filters: int, **kwargs: Any) -> tf_keras.layers.Layer:
            first = None if seed is None else 1000 * seed + number
            initial = tf_keras.initializers.Orthogonal(seed=first)
            return tf_keras.layers.Conv2D(
                filters, 3, padding="same", kernel_initializer=initial, **kwargs
            )

        self._stack = [convolution(0, width, activation="relu")]
        for number in range(1, depth - 1):
            self._stack += [
                convolution(number, width, use_bias=False),
                _BatchNorm(momentum=0.0, epsilon=_EPSILON),
                tf_keras.layers.ReLU(),
            ]
        self._stack.append(convolution(depth - 1, 4, use_bias=False))
        self.build([None, None, None, 4])

    def call(self, noisy: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the denoised image `[B, H, W, 4]` of a noisy one; not clipped."""
        noise = noisy
        for layer in self._stack:
            is_norm = isinstance(layer, _BatchNorm)
            noise = layer(noise, training=training) if is_norm else layer(noise)
        return noisy - self.noise_scale * noise

    @property
    def recipe(self) -> dict[str, float]:
        """The arguments, besides the seed, that make a network of this kind."""
        return {"depth": self.depth, "width": self.width, "noise_scale": self.noise_scale}

    @property
    def batch_norms(self) -> list[tf_keras.layers.BatchNormalization]:
        """The layers whose averages evaluation uses."""
        return [layer for layer in self._stack if isinstance(layer, _BatchNorm)]


class _BatchNorm(tf_keras.layers.BatchNormalization):
    """Keras' batch norm; in training, replicas that share a batch use the moments of all of it.

    Keras' own `synchronized=True` takes the variance as a difference of two large sums, and is
    another computation on one device, too.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        if not training or context is None or context.num_replicas_in_sync == 1:
            return super().call(inputs, training=training)
        count, mean = _mean_over_batch(inputs, context)
        _, variance = _mean_over_batch(tf.square(inputs - mean), context)
        unbiased = variance * (count / (count - 1))  # what Keras keeps on one device
        for average, value in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            average.assign(self.momentum * average + (1 - self.momentum) * value)
        return tf.nn.batch_normalization(
            inputs, mean, variance, self.beta, self.gamma, self.epsilon
        )


def _mean_over_batch(
    images: tf.Tensor, context: tf.distribute.ReplicaContext
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the number of pixels of all replicas, some perhaps without any, and their mean."""
    count = tf.cast(tf.reduce_prod(tf.shape(images)[:3]), images.dtype)
    total = tf.concat([tf.reduce_sum(images, axis=[0, 1, 2]), [count]], axis=0)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
    return total[-1], total[:-1] / total[-1]
