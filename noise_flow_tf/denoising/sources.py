"""Where the noise comes from that a denoiser is trained on: the registry, and what it makes.

A source is called with a batch, `{"noise", "clean", ...}` as `sidd.Patches` gives it, and with a
stateless seed `[2]`, and returns noise `[B, H, W, 4]` in units of raw intensity. The same seed
gives the same noise, so that training resumes exactly where it was interrupted. All of them can be
traced into a `tf.data` pipeline.

A source is added here alone, as one object in `SOURCES`. Command lines read the registry, so that
TensorFlow is imported only in the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noise_flow_tf.saving.kinds import BASELINES, BaselineKind

if TYPE_CHECKING:
    import tensorflow as tf

    from noise_flow_tf.protocol import Batch, NoiseModel

Source = Callable[["Batch", "tf.Tensor"], "tf.Tensor"]
Table = Mapping[tuple[str, int], tuple[float, float]]
"""Of the training frames, by camera and ISO, the noise level function (beta1, beta2)."""

SIGMAS = (0.24186 / 255, 11.507 / 255)
"""The release's range of the Gaussian noise's standard deviation, that of SIDD's images."""


def real(batch: Batch, seed: tf.Tensor) -> tf.Tensor:
    """Return the noise of the pairs themselves ("DnCNN-Real")."""
    return batch["noise"]


@dataclass(frozen=True)
class Gauss:
    """White Gaussian noise ("DnCNN-Gauss"): each patch has a sigma of its own, of U(low, high).

    >>> import tensorflow as tf
    >>> noise = Gauss(0.1, 0.1)({"clean": tf.zeros([1, 64, 64, 4])}, tf.constant([0, 1]))
    >>> round(float(tf.math.reduce_std(noise)), 2)
    0.1
    """

    low: float = SIGMAS[0]
    high: float = SIGMAS[1]

    def __call__(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        clean = batch["clean"]
        seeds = tf.random.split(seed, 2)
        shape = [tf.shape(clean)[0], 1, 1, 1]
        sigma = tf.random.stateless_uniform(shape, seeds[0], self.low, self.high)
        return sigma * tf.random.stateless_normal(tf.shape(clean), seeds[1])


class TableNLF:
    """Noise of camera NLFs ("DnCNN-CamNLF"): each patch has that of a random row of a table.

    That is n ~ N(0, beta1 * clean + beta2), Eq. 5 and 6 of the paper.
    """

    def __init__(self, table: Any) -> None:
        """Take the rows (beta1, beta2), `[N, 2]`.

        Raises:
            ValueError: another shape, or betas with which there is no variance.
        """
        import numpy as np

        from noise_flow_tf.baselines import CameraNLF

        table = np.asarray(table, np.float32)
        if table.ndim != 2 or table.shape[1] != 2 or not len(table):
            raise ValueError(f"a table of NLFs has rows (beta1, beta2); got {list(table.shape)}")
        if not (np.isfinite(table).all() and (table[:, 0] >= 0).all() and (table[:, 1] > 0).all()):
            raise ValueError("a table of NLFs needs beta1 >= 0 and beta2 > 0 in each row")
        self._table = table
        self._model = CameraNLF()

    def __call__(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        from noise_flow_tf.protocol import sample

        seeds = tf.random.split(seed, 2)
        nlf = tf.gather(self._table, _rows(len(self._table), batch, seeds[0]))
        p = self._model(batch["clean"], 100, 0, nlf=nlf)
        return sample(p, tf.stack([_whole(seeds[1]), 0]))


class ModelNoise:
    """Noise of a noise model ("DnCNN-NF"): each patch has a random (camera, ISO) of a table."""

    def __init__(self, model: NoiseModel, pairs: Sequence[tuple[int | str, int]]) -> None:
        """Take a noise model, and the pairs (camera, ISO).

        If there is a GPU, make or load the model under `tf.device("CPU")`: tf.data runs there.

        Raises:
            ValueError: no pair, or a camera or ISO that the model does not support.
        """
        import numpy as np

        from noise_flow_tf.conditions import ConditionSpace

        if not pairs:
            raise ValueError("the noise model needs at least one pair of camera and ISO")
        space = ConditionSpace.of(model)
        cameras, isos = zip(*pairs, strict=True)
        space.check(isos, cameras)
        self._cameras = np.array([int(space.camera_index(c)) for c in cameras], np.int32)
        self._isos = np.array(isos, np.int32)
        self._model = model

    def __call__(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        from noise_flow_tf.sampling import sample_noise

        seeds = tf.random.split(seed, 2)
        row = _rows(len(self._isos), batch, seeds[0])
        iso, camera = tf.gather(self._isos, row), tf.gather(self._cameras, row)
        return sample_noise(self._model, batch["clean"], iso, camera, _whole(seeds[1]))


@dataclass(frozen=True)
class GaussMix:
    """Another source, but some of the batches get Gaussian noise (half of them in the release).

    Attributes:
        source: the other source.
        part: of the batches that get `gauss`, in [0, 1].
        gauss: the Gaussian source.
    """

    source: Source
    part: float
    gauss: Source = Gauss()

    def __call__(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        seeds = tf.random.split(seed, 2)
        is_gauss = tf.random.stateless_uniform([], seeds[0]) < self.part
        return tf.cond(
            is_gauss, lambda: self.gauss(batch, seeds[1]), lambda: self.source(batch, seeds[1])
        )


def noisy_batches(
    batches: tf.data.Dataset,
    source: Source,
    seed: tuple[int, int] = (0, 0),
    first_batch: int = 0,
    parallel: int = 2,
) -> tf.data.Dataset:
    """Make batches `(noisy, clean)` to train or test a denoiser on, both `[B, H, W, 4]` in [0, 1].

    Args:
        batches: of `{"noise", "clean", ...}`.
        source: of the noise, which is drawn anew for each batch; noisy images are clipped to
            [0, 1].
        seed: of the noise; workers that share batches have different ones.
        first_batch: the number of the first of `batches`: each has noise of its own number.
        parallel: how many are made at the same time.
    """
    import tensorflow as tf

    from noise_flow_tf.native.use import own_graph

    @tf.autograph.experimental.do_not_convert
    @own_graph()
    def noisy(batch: Batch, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = tf.random.experimental.stateless_fold_in(tf.constant(seed, tf.int64), number)
        noise = source(batch, tf.cast(drawn, tf.int32))
        return tf.clip_by_value(batch["clean"] + noise, 0.0, 1.0), batch["clean"]

    numbered = tf.data.Dataset.zip(batches, tf.data.Dataset.counter(first_batch))
    return numbered.map(noisy, num_parallel_calls=parallel, deterministic=True).prefetch(parallel)


def _rows(count: int, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
    """Draw a random row of a table for each patch."""
    import tensorflow as tf

    size = [tf.shape(batch["clean"])[0]]
    return tf.random.stateless_uniform(size, seed, 0, count, tf.int32)


def _whole(seed: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.random.stateless_uniform([], seed, 0, 2**31 - 1, tf.int32)


def _of_model(table: Table, model: NoiseModel) -> ModelNoise:
    if kind := getattr(model, "kind", None):
        raise ValueError(f"--model is a {kind} baseline; give --noise {kind}")
    return _of_pairs(table, model)


def _of_pairs(table: Table, model: NoiseModel) -> ModelNoise:
    from noise_flow_tf.conditions import ConditionSpace

    space = ConditionSpace.of(model)
    pairs = [(c, iso) for c, iso in table if c in space.cameras and space.supports(iso, c)]
    return ModelNoise(model, pairs)


@dataclass(frozen=True, kw_only=True)
class NoiseSource:
    """A kind of noise that `noise-flow train-denoiser --noise` offers.

    Attributes:
        name: of the flag.
        title: the paper's name of a denoiser that was trained on it.
        help: what the noise is, for `--help`.
        make: from the training frames' table of NLFs, and the noise model if it needs one, the
            source.
        needs_model: whether it needs `--model`.
        of_dataset: whether it is the dataset's own noise, which an offline dataset has simulated.
        paper: `psnr` and `ssim` in Table 3 of the paper, on SIDD's validation blocks, if it is
            there.
    """

    name: str
    title: str
    help: str
    make: Callable[[Table, Any], Source]
    needs_model: bool = False
    of_dataset: bool = False
    paper: Mapping[str, float] | None = None


def _of_baseline(kind: BaselineKind) -> NoiseSource:
    """Return the noise source of a kind of fitted baselines."""

    def make(table: Table, model: NoiseModel) -> ModelNoise:
        if getattr(model, "kind", "noise_flow") != kind.name:
            raise ValueError(
                f"--noise {kind.name} needs the --model that noise-flow fit-baseline --baseline "
                f"{kind.name} writes; got a {getattr(model, 'kind', 'noise flow')}"
            )
        return _of_pairs(table, model)

    return NoiseSource(
        name=kind.name,
        title=f"DnCNN-{kind.title}",
        help=f"sampled from the fitted baseline --model, likewise: {kind.help}",
        make=make,
        needs_model=True,
    )


SOURCES = {
    source.name: source
    for source in (
        NoiseSource(
            name="gauss",
            title="DnCNN-Gauss",
            help="white Gaussian, sigma ~ U(0.24, 11.5) / 255 for each patch",
            make=lambda table, model: Gauss(),
            paper={"psnr": 43.63, "ssim": 0.968},
        ),
        NoiseSource(
            name="camera_nlf",
            title="DnCNN-CamNLF",
            help="N(0, beta1 * clean + beta2), for each patch with the NLF that METADATA states "
            "for a random one of the training frames' pairs of camera and ISO",
            make=lambda table, model: TableNLF(list(table.values())),
            paper={"psnr": 44.99, "ssim": 0.982},
        ),
        NoiseSource(
            name="noise_flow",
            title="DnCNN-NF",
            help="sampled from the noise model --model, for each patch with a random one of these "
            "pairs",
            make=_of_model,
            needs_model=True,
            paper={"psnr": 48.52, "ssim": 0.992},
        ),
        *map(_of_baseline, BASELINES.values()),
        NoiseSource(
            name="real",
            title="DnCNN-Real",
            help="that of the pairs themselves, the same in each epoch (in the offline dataset, it "
            "is simulated)",
            make=lambda table, model: real,
            of_dataset=True,
            paper={"psnr": 47.08, "ssim": 0.989},
        ),
    )
}
"""All noise sources by name, in the order of the paper's Table 3, with fitted baselines."""


def make(name: str, table: Table, model: NoiseModel | None, gauss_mix: float = 0.0) -> Source:
    """Make the source of `SOURCES` that is called `name`; `model` is for those that need one.

    `gauss_mix` is the part of the batches that get Gaussian noise instead.
    """
    source = SOURCES[name].make(table, model)
    return GaussMix(source, gauss_mix) if gauss_mix else source
