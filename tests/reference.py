"""The numbers of the original release: the part in this repository, and the full set."""

from pathlib import Path

import numpy as np

COMMITTED = Path(__file__).parent / "data" / "reference"
FULL = Path(__file__).resolve().parents[2] / "shared" / "reference"
SOURCES = {"committed": COMMITTED} | ({"full": FULL} if FULL.is_dir() else {})
"""Where to read the numbers from. The full set does not ship with this repository."""

_SIZE = 32
# Seed, then how many uniform and how many normal values were drawn for the variables beforehand.
_DRAWS = {
    "sdn4-gain4": (110, 3, 7),
    "sdn5-gain4": (111, 29, 0),
    "sdn6-gain4": (112, 29, 0),
    "sdn5-unc-gain4-unc": (113, 851, 0),
    "unc-unc-unc-unc": (114, 1566, 0),
}
ARCHITECTURES = tuple(_DRAWS)


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of the file `name`.npz in a folder of `SOURCES`, whichever it is.

    The committed files hold what the release computed, but not the random inputs that it was given.
    Those are drawn again here, bit for bit: streams of `RandomState` are the same in each version
    of NumPy.
    """
    with np.load(folder / f"{name}.npz") as file:
        numbers = _inputs(name) | dict(file)
    if name.startswith("arch_"):
        patches = np.arange(len(numbers["latent"]))
        numbers.setdefault("forward_patches", np.tile(patches, (len(numbers["forward"]), 1)))
    return numbers


def _inputs(name: str) -> dict[str, np.ndarray]:
    if name == "training_trajectory":
        random = np.random.RandomState(101)
        noise, clean = zip(*(_patches(random, 12) for _ in range(4)), strict=True)
        return {"noise": np.stack(noise), "clean": np.stack(clean)}
    if name == "data_and_metrics":
        return _values()
    seed, uniforms, normals = _DRAWS[name.removeprefix("arch_")]
    random = np.random.RandomState(seed)
    random.uniform(size=uniforms)
    random.normal(size=normals)
    noise, clean = _patches(random, 4)
    latent = random.normal(size=clean.shape).astype(np.float32)
    return {"noise": noise, "clean": clean, "latent": latent}


def _patches(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and clean patches: ramps with a fine texture, and correlated Poisson-Gaussian noise."""
    shape = (count, _SIZE, _SIZE, 4)
    level = random.uniform(0.01, 0.45, (count, 1, 1, 4))
    slope = random.uniform(0, 1, (count, 1, 1, 1))
    rows = np.linspace(0, 1, _SIZE, dtype=np.float32)[:, np.newaxis, np.newaxis]
    clean = level * (1 + slope * rows) + 0.02 * random.normal(size=shape)
    clean = np.clip(clean, 0, 1).astype(np.float32)
    beta1 = random.uniform(2e-4, 8e-3, (count, 1, 1, 1))
    beta2 = random.uniform(1e-6, 2e-4, (count, 1, 1, 1))
    white = random.normal(size=shape)
    related = 0.8 * white + 0.2 * np.roll(white, 1, axis=2) + 0.1 * np.roll(white, 1, axis=3)
    noisy = np.clip(clean + np.sqrt(beta1 * clean + beta2) * related, 0, 1)
    return (noisy - clean).astype(np.float32), clean


def _values() -> dict[str, np.ndarray]:
    random = np.random.RandomState(7)
    numbers = {
        "kl_p": random.normal(0, 0.02, (64, 64)),
        "kl_q": random.normal(0.001, 0.025, (64, 64)),
        "kl_r": random.laplace(0, 0.015, (64, 64)),
        "raw": random.uniform(size=(12, 16)).astype(np.float32),
    }
    clean = random.uniform(0, 1.02, (64, 96)).astype(np.float32)
    noisy = (clean + random.normal(0, 0.03, clean.shape)).astype(np.float32)
    noisy[3, 5] = np.nan
    numbers |= {"load_raw_clean": clean, "load_raw_noisy": noisy}
    random.uniform(size=99)  # for an array that is not among these
    numbers["base_clean"] = random.uniform(size=(5, 8, 8, 4))
    numbers["base_noise"] = random.normal(0, 0.03, (5, 8, 8, 4))
    return numbers
