# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Noise in a Keras `fit`
#
# A small denoiser is trained on clean raw images alone: `NoiseFlowLayer` adds noise in training,
# other noise in each step, and does nothing in inference. The noise is that of the simulated
# sensors of the model `demo`.

# %%
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import tensorflow as tf

import noise_flow_tf as nf
import sidd

keras.utils.set_random_seed(0)
model = nf.load("demo")


def raw_of(photograph):
    bayer, _ = sidd.unprocess_srgb(photograph, sidd.typical_metadata("S6", 1600))
    return sidd.pack(bayer).astype(np.float32)


def patches(image, side=32):
    height, width = (n // side for n in image.shape[:2])
    cut = image[: height * side, : width * side].reshape(height, side, width, side, 4)
    return cut.swapaxes(1, 2).reshape(-1, side, side, 4)


photographs = [skimage.data.astronaut(), skimage.data.coffee()]
train = np.concatenate([patches(raw_of(photograph)) for photograph in photographs])
test = patches(raw_of(skimage.data.chelsea()[:, :448]))
print(train.shape, test.shape)

# %% [markdown]
# ## The network
#
# The layer comes first. Each image gets one of its pairs of ISO and camera. The network predicts
# the noise, which is subtracted.

# %%
conditions = [(1600, "S6"), (3200, "S6")]
inputs = keras.Input((None, None, 4))
noisy = nf.Keras3NoiseFlowLayer(model, conditions, seed=0)(inputs)
x = noisy
for _ in range(3):
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
noise = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros")(x)
denoiser = keras.Model(inputs, keras.layers.Subtract()([noisy, noise]))
denoiser.compile(keras.optimizers.Adam(2e-3), "mse")

# %% [markdown]
# ## `fit`: clean images in, clean images out

# %%
history = denoiser.fit(train, train, batch_size=16, epochs=15, verbose=0)
plt.plot(history.history["loss"])
plt.xlabel("epoch")
plt.ylabel("mean squared error")
plt.yscale("log")
plt.show()

# %% [markdown]
# ## Does it denoise?
#
# Noise for the test comes from the same model, with another seed.

# %%
noisy_test = np.clip(test + nf.sampling.sample_noise(model, test, 1600, "S6", seed=9), 0, 1)
denoised = denoiser.predict(noisy_test, verbose=0)


def psnr(image):
    return -10 * np.log10(np.mean((image - test) ** 2))


print(f"noisy {psnr(noisy_test):.2f} dB, denoised {psnr(denoised):.2f} dB (simulated noise)")
assert psnr(denoised) > psnr(noisy_test)

# %% [markdown]
# ## Save and load
#
# The file holds the noise model's weights too.

# %%
denoiser.save("denoiser.keras")
again = keras.models.load_model("denoiser.keras")
np.testing.assert_allclose(again.predict(noisy_test, verbose=0), denoised, atol=1e-5)
os.remove("denoiser.keras")

# %% [markdown]
# The same layer works in a `tf.data` pipeline:

# %%
layer = nf.Keras3NoiseFlowLayer(model, conditions, seed=0)
images = tf.data.Dataset.from_tensor_slices(train).batch(16)
pairs = images.map(lambda clean: (layer(clean, training=True), clean))
print(next(iter(pairs))[0].shape)
