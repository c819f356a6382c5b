"""The settings of each program, in one frozen dataclass for each.

A field declares an option once: name, default and help text; `noise_flow_tf.cli` makes the parsers
from them, with one group of options per class. Nothing here needs TensorFlow.

>>> TrainConfig(logdir="runs/mine", epochs=3).batching
'mixed'
"""

from dataclasses import dataclass, field
from typing import ClassVar

from noise_flow_tf.denoising.sources import SOURCES
from noise_flow_tf.programs.options import (
    fraction,
    not_negative,
    option,
    positive_float,
    positive_int,
    required,
)
from noise_flow_tf.saving.kinds import BASELINES
from noise_flow_tf.training.names import BATCHES, RATES, STRATEGIES
from sidd import CAMERAS, ISO_LEVELS, RELEASE_EXCLUSIONS

OFFLINE = "data/synthetic_sidd"
"""Where the offline dataset is written, and read from if no other dataset is given."""

FORMATS = ("npy", "mat", "png", "dng")
"""Of raw images that are written."""

DENOISER_EPOCHS = 180
"""How long a denoiser is trained by default."""

OFFLINE_EPOCHS = 20
DEFAULT_STEPS = 40_000
RELEASE_EPOCHS = 2000
"""How long a noise model is trained by default: offline, elsewhere, with the release's schedule."""

_FLOW = (
    "run folder of noise-flow train, SavedModel, prefix of a released checkpoint, demo, release or "
    "hf://USER/REPO"
)
_MODEL = f"{_FLOW}; or the folder of a baseline of noise-flow fit-baseline"
_CAMERAS = ", ".join(CAMERAS)
_ISO_LEVELS = ", ".join(map(str, ISO_LEVELS))


def sources_with_model() -> str:
    """Return the names of the noise sources that need a noise model, for messages."""
    return " or ".join(source.name for source in SOURCES.values() if source.needs_model)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Which images of which dataset; without `sidd_path`, the offline dataset."""

    sidd_path: str | None = option(
        None,
        "SIDD_Medium_Raw or SIDD_Full; by default the offline dataset, written once to " + OFFLINE,
        metavar="ROOT",
    )
    cam: list[str] | None = option(
        None, f"only these cameras; by default SIDD's, {_CAMERAS}", nargs="+", metavar="CODE"
    )
    iso: list[int] | None = option(
        None,
        f"only these ISO levels: {_ISO_LEVELS}, or others of cameras that SIDD does not have",
        nargs="+",
        type=int,
        metavar="ISO",
    )


@dataclass(frozen=True, kw_only=True)
class TestFrames(Dataset):
    """Which test frames."""

    sidd_test_frames: ClassVar[tuple[int, int]] = (10, 12)
    start_ts_im_idx: int | None = option(
        None, "first frame of each test instance (default 10, other cameras: all)", type=int
    )
    end_ts_im_idx: int | None = option(
        None, "end of the test frames, exclusive (default 12, other cameras: all)", type=int
    )


@dataclass(frozen=True, kw_only=True)
class TrainingFrames:
    """Which training frames."""

    sidd_training_frames: ClassVar[tuple[int, int]] = (10, 12)
    start_tr_im_idx: int | None = option(
        None, "first frame of each training instance (default 10, other cameras: all)", type=int
    )
    end_tr_im_idx: int | None = option(
        None, "end of the training frames, exclusive (default 12, other cameras: all)", type=int
    )


@dataclass(frozen=True, kw_only=True)
class Patches(TrainingFrames, TestFrames):
    """Which patches of which frames, and how they are read."""

    cache: str = option(
        "data/patch_cache",
        "where packed patches are kept for the next run (SIDD_Medium_Raw: about 15 GB)",
        metavar="FOLDER",
    )
    strict: bool = option(False, "stop at a damaged frame instead of leaving it out")
    patch_height: int = option(32, "patch side in packed pixels", type=positive_int)
    n_patches_per_image: int | None = option(
        None,
        "at most so many patches of an image (default its whole grid; the release has 2898)",
        type=positive_int,
    )
    n_train_threads: int = option(
        4, "batches made, and files read, at the same time", type=positive_int
    )
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Run(Patches):
    """What a training run of any kind has."""

    logdir: str | None = option(None, "folder that the run is written to", metavar="RUN")
    seed: int = option(0, "of initial values, shuffling and noise", type=int)
    epochs: int | None = None
    schedule: str | None = None
    lr: float | None = None
    average_batches: int = option(
        32,
        "training batches that batch norm's averages are measured on before each evaluation; "
        "0: the averages that training leaves, as in the release",
        type=not_negative,
    )
    overwrite: bool = option(False, "remove an earlier run in that folder first")
    resume: bool = option(
        False,
        "resume the run in that folder from its last checkpoint, with its settings; start it if "
        "there is none",
    )
    checkpoint_every: int = option(
        500,
        "steps between checkpoints within an epoch; one more follows each epoch",
        type=positive_int,
    )
    n_batch_train: int | None = None
    n_batch_test: int = option(138, "patches in a test batch", type=positive_int)
    epochs_full_valid: int = option(
        10,
        "test every so many epochs, besides each of the first ten and each tenth below 100",
        type=positive_int,
    )
    strategy: str = option(
        "auto",
        "mirrored: over all GPUs of this machine; multiworker: over the machines of TF_CONFIG, "
        "whose ports take anyone's commands without authentication: let no other machine reach "
        "them; auto: mirrored if there is a GPU, or with --replicas",
        choices=STRATEGIES,
    )
    replicas: int | None = option(
        None,
        "mirrored over so many: the first GPUs, or parts of the CPU if there is no GPU, to try it",
        type=positive_int,
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Run):
    """Of `programs.train`: a noise model."""

    arch: str = option("S-Ax4-G-Ax4-CAM", "architecture, see below")
    width: int = option(4, "hidden channels of the couplings", type=positive_int)
    pairs: str | None = option(
        None,
        "instead of --sidd_path: a list with a line CLEAN,NOISY,ISO,CAMERA per pair of .npy, .png, "
        ".MAT or raw files, relative to it; every third pair is for testing",
        metavar="LIST",
    )
    orientation: str = option(
        "upright",
        "with --pairs, how a .npy lies: as one looks at it, or transposed as HDF5 gives SIDD's "
        "files; raw files lie as on the sensor",
        choices=["upright", "file"],
    )
    new_camera: str | None = option(
        None,
        "train nothing but a camera's own parameters, added to the model of --from, on this "
        "camera's frames; the other cameras stay as they are; ISO levels that the model lacks "
        "are added",
        metavar="CODE",
    )
    from_run: str | None = option(
        None,
        "the model to which --new_camera is added",
        names=["--from"],
        dest="from_run",
        metavar="RUN",
    )
    logdir: str = "runs/train"
    resume: bool = option(False, names=["--resume", "--continue_training", "--continue-training"])
    epochs: int | None = option(
        None,
        f"passes over the training set; by default {OFFLINE_EPOCHS} on the offline dataset, "
        f"elsewhere about {DEFAULT_STEPS} steps, and {RELEASE_EPOCHS} with the release's "
        "schedule",
        type=positive_int,
    )
    schedule: str | None = option(
        None,
        "learning rate: warm-up and cosine decay, or the release's constant; by default cosine, "
        "and release if --lr is given",
        choices=["cosine", "release"],
    )
    lr: float | None = option(
        None,
        f"cosine's peak (default {RATES['cosine']:g}), or release's constant "
        f"(default {RATES['release']:g})",
        type=positive_float,
    )
    n_batch_train: int | None = option(
        None,
        f"patches in a training batch (default {BATCHES['cosine']}, and {BATCHES['release']} with "
        "the release's schedule)",
        type=positive_int,
    )
    batching: str = option(
        "mixed",
        "batches of all images, or each of one image as in the release",
        choices=["mixed", "release"],
    )
    patch_sampling: str = option("uniform", "grid, or anywhere", choices=["uniform", "random"])


OFFLINE_PAPER = TrainConfig(epochs=OFFLINE_EPOCHS)
"""How `programs.paper` trains on the offline dataset."""


@dataclass(frozen=True, kw_only=True)
class TrainDenoiserConfig(Run):
    """Of `programs.train_denoiser`."""

    noise: str = option(
        "", "what to train on, see below; required unless with --resume", choices=SOURCES
    )
    model: str | None = option(
        None, f"for --noise {sources_with_model()}: {_MODEL}", metavar="PATH"
    )
    gauss_mix: float = option(
        0.0,
        "give so large a part of the batches Gaussian noise instead, 0.5 in the release",
        type=fraction,
        metavar="PART",
    )
    depth: int = option(9, "convolutions (17 in the larger DnCNN)", type=positive_int)
    width: int = option(32, "filters of each (64 in the larger one)", type=positive_int)
    noise_scale: float = option(
        1.0,
        "what the last convolution gives is multiplied by; about the noise's standard deviation "
        "(0.02) shortens training by far",
        type=positive_float,
    )
    logdir: str | None = option(
        None, "folder that the run is written to (default runs/dncnn_NOISE)"
    )
    epochs: int | None = option(
        None, f"passes over the clean patches (default {DENOISER_EPOCHS})", type=positive_int
    )
    steps: int | None = option(
        None,
        "instead of --epochs: so many steps, in epochs of about one pass over the clean patches",
        type=positive_int,
    )
    schedule: str = option(
        "release",
        "learning rate: a tenth after epoch 30 and a twentieth after epoch 60 as in the release, "
        "or warm-up and cosine decay over the whole training",
        choices=["release", "cosine"],
    )
    lr: float = option(1e-3, "the highest rate of it", type=positive_float)
    n_batch_train: int = option(128, "patches in a training batch", type=positive_int)
    n_batch_test: int = 128
    n_test_patches: int = option(
        512,
        "test patches, from all test frames, that each evaluation while training is on; the "
        "weights with the highest mean PSNR on them are kept, as in the paper",
        type=positive_int,
    )
    stride: int = option(64, "from one clean patch to the next", type=positive_int)
    sidd_training_frames: ClassVar[tuple[int, int]] = (10, 11)
    end_tr_im_idx: int | None = option(
        None, "end of the training frames, exclusive (default 11, other cameras: all)"
    )


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """How whole raw images are processed and written."""

    tile: int = option(
        512, "side of the tiles it works in, in packed pixels; they do not show", type=positive_int
    )
    orientation: str = option(
        "upright",
        "how a .npy lies: as one looks at it, or transposed as HDF5 gives SIDD's files",
        choices=["upright", "file"],
    )
    formats: list[str] = option(["npy"], "of the raw results", nargs="+", choices=FORMATS)


@dataclass(frozen=True, kw_only=True)
class SampleConfig(RawImages):
    """Of `programs.sample`."""

    model: str = option("demo", _MODEL, metavar="PATH")
    clean: str | None = option(
        None, "clean image, folder, list, pattern or address, see below", metavar="PATH"
    )
    from_srgb: bool = option(False, "the clean images are ordinary pictures")
    real: str | None = option(
        None, "real noisy image of the same scene, to compare with", metavar="FILE"
    )
    metadata: str | None = option(
        None, "METADATA file of SIDD, for ISO, camera and colours", metavar="FILE"
    )
    iso: int | None = option(
        None, f"ISO level: {_ISO_LEVELS}, or between them with --iso_interpolation", type=int
    )
    iso_interpolation: bool = option(False, "allow an ISO between two levels")
    camera: str | None = option(None, f"camera: {_CAMERAS}, or one that was added", metavar="CODE")
    draws: int = option(1, "number of noise draws per image", type=positive_int)
    temperature: float = option(1.0, "standard deviation of the latent", type=float)
    seed: int = option(0, "the same seed draws the same noise, see below", type=int)
    tile: int = 1024
    pictures: str = option(
        "first",
        "rendered pictures of each image's first draw, of all or of none",
        choices=["first", "all", "none"],
    )
    out: str = option("samples", "output folder", metavar="FOLDER")
    shard: str | None = option(
        None,
        "only the part I of N, from 0/N to N-1/N, for that many processes or machines with one "
        "--out; `slurm` for the part of this task of a job array",
        metavar="I/N",
    )
    engine: str = option(
        "process",
        "what draws: this process, or the processes of a Ray cluster (pip install "
        "'noise-flow-tf[ray]')",
        choices=["process", "ray"],
    )
    address: str | None = option(
        None, "of the Ray cluster, see ray.init; by default one is started on this machine"
    )
    merge: str | None = option(
        None,
        "nothing is drawn: join the records of all shards in this folder to its samples.csv, after "
        "checking that each draw is there once and as it was written",
        metavar="OUT",
    )
    allow_mixed: list[str] | None = option(
        None, "what may differ between the shards of --merge", nargs="+", choices=["core", "model"]
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Patches):
    """Of `programs.evaluate`."""

    model: list[str] | None = option(
        None,
        f"{_MODEL}; of several, the last is compared with the others",
        nargs="+",
        metavar="PATH",
    )
    out: str = option("runs/evaluation", "where the results go", metavar="FOLDER")
    draw: bool = option(False, "only redraw the figures of the results in --out")
    gaussian_stddev: float | None = option(
        None,
        "of the Gaussian baseline; by default that of the training frames that are chosen",
        type=positive_float,
    )
    scores_only: bool = option(
        False, "only the tables, without correlation, calibration and figures"
    )
    n_batch_test: int = option(138, "patches in a batch", type=positive_int)
    seed: int = option(0, "of the samples", type=int)


@dataclass(frozen=True, kw_only=True)
class FitBaselineConfig(Patches):
    """Of `programs.fit_baseline`."""

    baseline: list[str] | None = option(
        None, "only these, see below; by default all", nargs="+", choices=list(BASELINES)
    )
    out: str = option("runs/baselines", "where the folders go", metavar="FOLDER")


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """Of `programs.paper`; `train` has what each training takes besides the fields here."""

    out: str = option("runs/paper", "where runs and results go", metavar="FOLDER")
    full: bool = option(False, "on the real SIDD, which --sidd_path names")
    sidd_path: str | None = option(None, "SIDD_Medium_Raw or SIDD_Full", metavar="ROOT")
    cache: str = option("data/patch_cache", "where patches are kept", metavar="FOLDER")
    seed: int = option(0, "of initial values, shuffling and samples", type=int)
    draw: bool = option(False, "only draw the figures and write the report anew")
    check: bool = option(
        False,
        "with --full, say whether the scores agree with the paper's own, within stated tolerances; "
        "exit code 1 if not",
    )
    train: TrainConfig | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateDenoiserConfig(TestFrames):
    """Of `programs.evaluate_denoiser`."""

    runs: list[str] = field(
        metadata=required(
            "run folders of noise-flow train-denoiser; give them first",
            names=["runs"],
            nargs="+",
            metavar="RUN",
        )
    )
    blocks: list[str] | None = option(
        None,
        "instead of the test split of a dataset: ValidationNoisyBlocksRaw.mat and "
        "ValidationGtBlocksRaw.mat of SIDD",
        nargs=2,
        metavar=("NOISY.mat", "GT.mat"),
    )
    release_exclusions: bool = option(
        False,
        "with --blocks: without the images whose ISO is not modelled, as in the release (counted "
        f"from 1: {', '.join(map(str, RELEASE_EXCLUSIONS))})",
    )
    out: str = option("runs/denoisers", "where the report goes", metavar="FOLDER")
    tile: int = option(512, "side of the tiles it works in, in packed pixels", type=positive_int)


@dataclass(frozen=True, kw_only=True)
class DenoiseConfig(RawImages):
    """Of `programs.denoise`."""

    model: str = field(
        metadata=required(
            "run folder of noise-flow train-denoiser, or SavedModel of a denoiser", metavar="PATH"
        )
    )
    noisy: str = field(metadata=required("noisy raw image, see below", metavar="FILE"))
    out: str = option("denoised", "where the results go", metavar="FOLDER")
    clean: str | None = option(
        None, "clean image of the same scene, for PSNR and SSIM", metavar="FILE"
    )
    metadata: str | None = option(None, "METADATA file of SIDD, for colours", metavar="FILE")
    camera: str = option(
        CAMERAS[0],
        f"whose colours to render with if there is no METADATA: {_CAMERAS}",
        metavar="CODE",
    )


@dataclass(frozen=True, kw_only=True)
class Shots:
    """What was shot."""

    bursts: list[str] = field(
        metadata=required(
            "folders, each a burst of one static scene at one setting, or a folder of such "
            "folders; give them first",
            names=["bursts"],
            nargs="+",
            metavar="FOLDER",
        )
    )
    darks: str | None = option(
        None,
        "burst with the lens cap on, or a folder with one for each ISO: black level, read noise, "
        "its tails, row noise",
        metavar="FOLDER",
    )
    flats: str | None = option(
        None,
        "bursts of an evenly lit surface: they join the fit and give the spread of the pixels' "
        "gains; no pairs are made of them",
        metavar="FOLDER",
    )
    iso: int | None = option(None, "of files that do not state it", type=positive_int)
    min_frames: int = option(
        5, "frames that a burst needs, those that moved left out", type=positive_int
    )
    max_shift: float = option(
        0.2,
        "a frame that moved by more pixels is left out; 0.1 adds about 0.3%% of noise, 0.3 3%%",
        type=positive_float,
        metavar="PIXELS",
    )
    pairs_per_burst: int = option(
        4,
        "frames of each burst that are written as pairs, evenly spread; all frames make the clean "
        "image and the calibration. 0: all",
        type=not_negative,
    )


@dataclass(frozen=True, kw_only=True)
class BurstConfig(Shots):
    """Of `programs.burst`."""

    camera: str = field(
        metadata=required("the camera's code, 2 to 8 capital letters and digits", metavar="CODE")
    )
    out: str = option("pairs", "where pairs and report go", metavar="FOLDER")
    seed: int = option(0, "of the noise that isolated masked pixels get", type=int)
    overwrite: bool = option(False, "replace what an earlier run wrote there")


@dataclass(frozen=True, kw_only=True)
class CameraConfig(Shots):
    """Of `programs.camera`."""

    name: str = field(
        metadata=required("the camera's code, 2 to 8 capital letters and digits", metavar="CODE")
    )
    from_run: str = field(
        metadata=required(
            f"the model to which the camera is added: {_FLOW}",
            names=["--from"],
            dest="from_run",
            metavar="MODEL",
        )
    )
    logdir: str = field(metadata=required("folder that the run is written to", metavar="RUN"))
    steps: int = option(1000, "training steps of the model of this camera alone", type=positive_int)
    patches: int = option(500, "training patches of each frame, in each epoch", type=positive_int)
    seed: int = option(0, "of initial values, patches and samples", type=int)
    overwrite: bool = option(False, "remove an earlier run in that folder first")


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Of `programs.weights.fetch`."""

    accept_licence: bool = option(
        False, "accept the licence, CC BY-NC-SA 4.0: no commercial use; without it you are asked"
    )


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Of `programs.weights.export`."""

    run: str = field(
        metadata=required("run folder of noise-flow train or camera", names=["run"], metavar="RUN")
    )
    out: str = field(
        metadata=required("the new folder, a SavedModel with a model card", metavar="FOLDER")
    )
    licence: str | None = option(
        None, "the licence that you publish the weights under, such as apache-2.0", metavar="NAME"
    )
