"""Sampling on a Ray cluster, and noise as a stage of a Ray Data pipeline.

Ray is an extra: pip install 'noise-flow-tf[ray]'.
"""

import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import noise_flow_tf as nf
from noise_flow_tf.programs import raw_images, sample, sampling_plan
from noise_flow_tf.programs.configs import SampleConfig
from noise_flow_tf.programs.sampling_plan import Draw

if TYPE_CHECKING:
    import ray.data

FORMS = ("webdataset", "tfrecord", "parquet")
"""The kinds of files for training that `write_examples` writes."""

_MOST_JOBS = 32
"""The most that a killed worker has to draw again; a part of one job costs more than the draw."""
_PARTS_PER_ACTOR = 8

_IMAGES = ("clean", "noisy")
_CONDITIONS = ("iso", "camera", "seed")


class AddNoise:
    """A stage for `ray.data.Dataset.map_batches`: adds noise to clean raw images.

    Each actor loads the model once. A draw depends on its image, conditions and seed alone, so that
    batches, actors and retries do not change it:

        dataset.map_batches(
            AddNoise, fn_constructor_kwargs={"model": "runs/a7"}, batch_size=16,
            compute=ray.data.ActorPoolStrategy(size=8),
        )
    """

    def __init__(self, model: str = "demo", temperature: float = 1.0) -> None:
        """Load a model.

        Args:
            model: what `nf.load` takes.
            temperature: the standard deviation of the latent.
        """
        self._model = nf.load(model)
        self._weights = sampling_plan.fingerprint(self._model)
        self._temperature = temperature

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add noise to a batch.

        Args:
            batch: columns `iso`, `camera`, `seed`, and `clean`, packed raw images `[H, W, 4]` in
                [0, 1], or `path`, of raw images as `noise-flow sample --clean` takes them, upright.

        Returns:
            The batch with `clean`; `noisy`, of the same shape, float32, clipped to [0, 1]; and
            `weights`, the fingerprint of the model's.

        Raises:
            ValueError: missing columns, or a value that `nf.sample_image` refuses.
        """
        missing = [name for name in _CONDITIONS if name not in batch]
        if not ({"clean", "path"} & batch.keys()):
            missing.append("clean or path")
        if missing:
            raise ValueError(
                f"a batch needs the columns {', '.join(missing)}; got {', '.join(batch)}"
            )
        if "clean" in batch:
            clean = [np.asarray(image, np.float32) for image in batch["clean"]]
        else:
            clean = [raw_images.read_image(Path(p), "upright").packed for p in batch["path"]]
        conditions = zip(*(batch[name] for name in _CONDITIONS), strict=True)
        noisy = [
            np.clip(image + self._noise(image, *of_image), 0, 1)
            for image, of_image in zip(clean, conditions, strict=True)
        ]
        weights = np.array([self._weights] * len(clean))
        return {**batch, "clean": _column(clean), "noisy": _column(noisy), "weights": weights}

    def _noise(self, clean: np.ndarray, iso: Any, camera: Any, seed: Any) -> np.ndarray:
        return nf.sample_image(self._model, clean, iso, camera, int(seed), self._temperature)


def write_examples(
    dataset: "ray.data.Dataset", folder: str, form: str, per_file: int = 1000
) -> None:
    """Write what `AddNoise` gives as files for training.

    WebDataset: `KEY.noisy.npy`, `KEY.clean.npy` and `KEY.json` with all other columns. TFRecord and
    Parquet: `noisy` and `clean` as float32 bytes in C order, `shape`, and all other columns.

    Args:
        dataset: with the columns `clean` and `noisy`, and for WebDataset a unique `key`.
        folder: a path or address that Ray can write to, such as `s3://BUCKET/FOLDER`.
        form: one of `FORMS`.
        per_file: the least number of examples in a file.

    Raises:
        ValueError: another form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}; got {form!r}")
    rows = dataset.map(_for_webdataset if form == "webdataset" else _flat, num_cpus=0.1)
    write = {
        "webdataset": rows.write_webdataset,
        "tfrecord": rows.write_tfrecords,
        "parquet": rows.write_parquet,
    }[form]
    write(folder, min_rows_per_file=per_file, ray_remote_args={"num_cpus": 0.1})


def draw(
    config: SampleConfig, jobs: Iterable[sample.Job], address: str | None
) -> Iterator[tuple[Draw, list[Path], str]]:
    """Draw noise and write its files on a Ray cluster; yield each draw when it is done.

    Args:
        config: of `noise-flow sample`; its paths must be the same on all nodes.
        jobs: what is to be drawn.
        address: of a cluster; None starts one on this machine.
    """
    import ray
    import ray.data

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        actors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        rows = [{"jobs": pickle.dumps(part)} for part in _parts(list(jobs), actors)]
        if not rows:
            return
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _DrawFiles,
            fn_constructor_args=(config,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(rows))),
            num_cpus=1,
        )
        for row in done.iter_rows():
            yield pickle.loads(row["draw"])
    finally:
        ray.shutdown()


def _parts(jobs: list[sample.Job], actors: int) -> list[list[sample.Job]]:
    """Divide jobs into parts that Ray hands out: some for each actor, of few jobs each."""
    size = max(1, min(_MOST_JOBS, len(jobs) // (_PARTS_PER_ACTOR * actors)))
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


class _DrawFiles:
    """The stage of `draw`: jobs in, finished draws out."""

    def __init__(self, config: SampleConfig) -> None:
        self._sampler = sample.Sampler(config)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, list[bytes]]:
        jobs = [job for part in batch["jobs"] for job in pickle.loads(part)]
        return {"draw": [pickle.dumps(one) for job in jobs for one in self._sampler.draw(job)]}


def _column(images: list[np.ndarray]) -> np.ndarray:
    """Return images as one array, of objects if they are of several sizes."""
    if len({image.shape for image in images}) <= 1:
        return np.stack(images) if images else np.zeros([0, 0, 0, 4], np.float32)
    column = np.empty(len(images), object)
    column[:] = images
    return column


def _for_webdataset(row: dict[str, Any]) -> dict[str, Any]:
    rest = {name: _plain(value) for name, value in row.items() if name not in _IMAGES}
    images = {f"{name}.npy": np.asarray(row[name], np.float32) for name in _IMAGES}
    return {"__key__": str(row["key"]), **images, "json": rest}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    rest = {name: _plain(value) for name, value in row.items() if name not in _IMAGES}
    images = {name: np.asarray(row[name], np.float32).tobytes() for name in _IMAGES}
    return {**rest, **images, "shape": list(np.shape(row["clean"]))}


def _plain(value: Any) -> Any:
    """Return a value of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value
