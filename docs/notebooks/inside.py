# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Inside the flow
#
# Noise x becomes a latent z, layer by layer, and z is standard normal if the model is right. The
# density follows from the change of variables: log p(x) = log N(z; 0, I) + the sum of the layers'
# log-det-Jacobians.
#
# The model `demo` is used on the offline dataset, for which it was trained: its noise is
# simulated.

# %%
import os
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import noise_flow_tf as nf
import sidd

model = nf.load("demo")
root = sidd.write_synthetic(
    os.path.join(tempfile.mkdtemp(), "sidd"),
    size=(128, 128),
    train_instances=1,
    test_instances=5,
    seed=7,
    progress=False,
)
frame = sidd.select_frames(sidd.index(root), "test")[-1]
pair = sidd.read_pair(frame.noisy, frame.clean, frame.metadata)
noise, clean = (tf.constant(a[None], tf.float32) for a in (pair.noise, pair.clean))
print(frame.camera, frame.iso, noise.shape)

# %% [markdown]
# ## From noise to latent, and back

# %%
p = model(clean, frame.iso, frame.camera)
latent, log_prob = p.latent_and_log_prob(noise)
back = p.bijector.forward(latent)
print(f"largest error of the round trip: {np.abs(back - noise).max():.1e}")
print(f"NLL {-float(log_prob[0]) / noise[0].numpy().size:.3f} nats per dimension")

# %% [markdown]
# ## Layer by layer
#
# From the data side to the latent side, as in `--arch`; a flow step is a 1x1 convolution and a
# coupling. Each bijector maps what the one before has given.

# %%
x = noise
rows = []
for bijector in p.bijector.bijectors:
    log_det = float(tf.reduce_sum(bijector.inverse_log_det_jacobian(x, event_ndims=3)))
    x = bijector.inverse(x)
    rows.append((bijector.name, float(tf.math.reduce_std(x)), log_det / clean[0].numpy().size))
for name, stddev, log_det in rows:
    print(f"{name:22} standard deviation {stddev:7.4f}   log-det per dimension {log_det:+.4f}")

# %% [markdown]
# The layers share the work as training left it: step by step the standard deviation grows from that
# of the noise to 1, and the flow steps remove correlation and shape the tails. The sum of the
# log-dets and the normal density of the latent are the likelihood:

# %%
normal = -0.5 * float(tf.reduce_sum(latent**2 + np.log(2 * np.pi)))
total = normal + sum(log_det for _, _, log_det in rows) * clean[0].numpy().size
print(f"{total:.2f} and {float(log_prob[0]):.2f} nats")
np.testing.assert_allclose(total, float(log_prob[0]), rtol=1e-4)

# %% [markdown]
# ## Is the latent normal and white?

# %%
z = latent.numpy().ravel()
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.5))
grid = np.linspace(-4, 4, 200)
left.hist(z, bins=80, range=(-4, 4), density=True, alpha=0.6, label="latent of simulated noise")
left.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), "k", label="standard normal")
left.set_ylim(0, 0.55)
left.set_xlabel("latent")
left.set_ylabel("density")
left.legend(loc="upper left")
for name, image in {"noise": noise[0].numpy(), "latent": latent[0].numpy()}.items():
    flat = image.reshape(-1, 4)
    right.plot(np.corrcoef(flat.T)[np.triu_indices(4, 1)], "o-", label=name)
right.axhline(0, color="gray", lw=0.5)
right.set_xticks(range(6), [f"{a}, {b}" for a, b in zip(*np.triu_indices(4, 1), strict=True)])
right.set_xlabel("pair of packed channels")
right.set_ylabel("correlation")
right.legend()
plt.show()
