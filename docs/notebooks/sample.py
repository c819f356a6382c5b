# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Sample and look
#
# A photograph is converted back to a plausible raw image, gets noise, and is rendered again. The
# model `demo` comes with the package; its sensors are simulated, so the noise below is that of no
# real camera.

# %%
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import matplotlib.pyplot as plt
import numpy as np
import skimage.data

import noise_flow_tf as nf
import sidd

model = nf.load("demo")
print(model.cameras, model.iso_levels, model.num_parameters)

# %% [markdown]
# `sidd.unprocess_srgb` undoes gamma, colours and white balance of a camera. The result is a Bayer
# image, which is packed to four channels.

# %%
photograph = skimage.data.astronaut()[:256, 100:356]
bayer, metadata = sidd.unprocess_srgb(photograph, sidd.typical_metadata("S6", 3200))
clean = sidd.pack(bayer.T)  # as SIDD's files lie, which is how the model knows noise
print(clean.shape, clean.min(), clean.max())

# %% [markdown]
# ## One image at all ISO levels
#
# Noise is additive and belongs to the raw image, which is clipped afterwards.

# %%
fig, axes = plt.subplots(1, 6, figsize=(15, 3))
fig.suptitle("S6, simulated sensor, rendered to sRGB")
axes[0].imshow(sidd.render_packed(clean, metadata))
axes[0].set_title("clean")
for axis, iso in zip(axes[1:], model.iso_levels, strict=True):
    noise = nf.sample_image(model, clean, iso, "S6", seed=0)
    noisy = np.clip(clean + noise, 0, 1)
    axis.imshow(sidd.render_packed(noisy, metadata))
    axis.set_title(f"ISO {iso}")
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## How strong is it?
#
# The standard deviation grows with the intensity. `nf.predicted_scale` gives it for each pixel;
# many samples agree with it.

# %%
ramp = np.linspace(0, 1, 64, dtype=np.float32)
image = np.tile(ramp[None, :, None], (256, 1, 4))
for iso in (100, 800, 3200):
    noise = nf.sample_image(model, image, iso, "S6", seed=1)
    (line,) = plt.plot(ramp, noise.std(axis=(0, 2)), ".", label=f"samples, ISO {iso}")
    scale = nf.predicted_scale(model, image[None, :1], iso, "S6")
    plt.plot(ramp, np.sqrt(np.mean(np.square(scale), axis=(0, 1, 3))), color=line.get_color())
plt.xlabel("clean intensity")
plt.ylabel("standard deviation of the noise")
plt.legend()
plt.show()

# %% [markdown]
# ## Temperature
#
# The latent is z ~ N(0, T²). T = 1 is the model; other values are for looking only. T = 0 leaves
# what the couplings shift, which is little.

# %%
for temperature in (0.0, 0.6, 1.0):
    noise = nf.sample_image(model, clean, 3200, "S6", seed=0, temperature=temperature)
    print(f"T = {temperature}: standard deviation {noise.std():.4f}")
