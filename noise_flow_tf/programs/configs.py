"""The settings of each program, in one frozen dataclass for each.

Names and defaults are those of the command line, whose parsers take them from here; `--help` of a
command says what each of them means. Nothing here needs TensorFlow.

>>> TrainConfig(logdir="runs/mine", epochs=3).batching
'mixed'
"""

from dataclasses import dataclass, field

from sidd import CAMERAS, ISO_LEVELS, RELEASE_EXCLUSIONS

__all__ = [
    "CAMERAS",
    "FORMATS",
    "ISO_LEVELS",
    "OFFLINE",
    "RELEASE_EXCLUSIONS",
    "DenoiseConfig",
    "EvaluateConfig",
    "EvaluateDenoiserConfig",
    "PaperConfig",
    "SampleConfig",
    "TrainConfig",
    "TrainDenoiserConfig",
]

OFFLINE = "data/synthetic_sidd"
"""Where the offline dataset is written, and read from if no other dataset is given."""

FORMATS = ("npy", "mat", "png")
"""Of raw images that are written."""

DENOISER_EPOCHS = 180
"""How long a denoiser is trained if nothing says so."""

OFFLINE_EPOCHS = 60
DEFAULT_STEPS = 10_000
RELEASE_EPOCHS = 2000
"""How long a noise model is trained if nothing says so: on the offline dataset, elsewhere, and
with the release's schedule."""


@dataclass(frozen=True, kw_only=True)
class TestFrames:
    """Which test frames of which dataset; without `sidd_path`, those of the offline dataset."""

    sidd_path: str | None = None
    start_ts_im_idx: int = 10
    end_ts_im_idx: int = 12
    cam: list[str] | None = None
    iso: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Frames(TestFrames):
    """Which training and test frames."""

    start_tr_im_idx: int = 10
    end_tr_im_idx: int = 12


@dataclass(frozen=True, kw_only=True)
class Patches(Frames):
    """Which patches of which frames, and how they are read."""

    cache: str = "data/patch_cache"
    strict: bool = False
    patch_height: int = 32
    n_patches_per_image: int | None = None
    n_train_threads: int = 4
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Run(Patches):
    """What a training run of any kind has."""

    logdir: str | None = None
    schedule: str | None = None
    lr: float | None = None
    n_batch_train: int = 138
    n_batch_test: int = 138
    overwrite: bool = False
    resume: bool = False
    checkpoint_every: int = 500
    epochs: int | None = None
    average_batches: int = 32
    epochs_full_valid: int = 10
    strategy: str = "auto"
    replicas: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Run):
    """Of `programs.train`: a noise model."""

    logdir: str = "runs/train"
    arch: str = "S-Ax4-G-Ax4-CAM"
    width: int = 4
    new_camera: str | None = None
    from_run: str | None = None
    batching: str = "mixed"
    patch_sampling: str = "uniform"


OFFLINE_PAPER = TrainConfig(epochs=60, n_batch_train=46)
"""How `programs.paper` trains on the offline dataset."""


@dataclass(frozen=True, kw_only=True)
class TrainDenoiserConfig(Run):
    """Of `programs.train_denoiser`."""

    noise: str = ""
    model: str | None = None
    gauss_mix: float = 0.0
    depth: int = 9
    width: int = 32
    noise_scale: float = 1.0
    steps: int | None = None
    schedule: str = "release"
    lr: float = 1e-3
    n_batch_train: int = 128
    n_batch_test: int = 128
    n_test_patches: int = 512
    stride: int = 64
    end_tr_im_idx: int = 11


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Of `programs.sample`."""

    model: str
    clean: str
    from_srgb: bool = False
    real: str | None = None
    metadata: str | None = None
    iso: int | None = None
    iso_interpolation: bool = False
    camera: str | None = None
    draws: int = 1
    temperature: float = 1.0
    seed: int = 0
    tile: int = 1024
    orientation: str = "upright"
    formats: list[str] = field(default_factory=lambda: ["npy"])
    pictures: str = "first"
    out: str = "samples"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Patches):
    """Of `programs.evaluate`."""

    model: list[str] | None = None
    out: str = "runs/evaluation"
    draw: bool = False
    gaussian_stddev: float | None = None
    scores_only: bool = False
    n_batch_test: int = 138


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """Of `programs.paper`; `train` has what each training takes beside the fields here."""

    out: str = "runs/paper"
    full: bool = False
    sidd_path: str | None = None
    cache: str = "data/patch_cache"
    seed: int = 0
    draw: bool = False
    train: TrainConfig | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateDenoiserConfig(TestFrames):
    """Of `programs.evaluate_denoiser`."""

    runs: list[str]
    blocks: list[str] | None = None
    release_exclusions: bool = False
    out: str = "runs/denoisers"
    tile: int = 512


@dataclass(frozen=True, kw_only=True)
class DenoiseConfig:
    """Of `programs.denoise`."""

    model: str
    noisy: str
    out: str = "denoised"
    clean: str | None = None
    metadata: str | None = None
    camera: str = CAMERAS[0]
    tile: int = 512
    orientation: str = "upright"
    formats: list[str] = field(default_factory=lambda: ["npy"])
