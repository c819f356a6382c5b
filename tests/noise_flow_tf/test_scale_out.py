"""Noise as a stage of a pipeline, and the files for training."""

import json

import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf.programs import scale_out
from noise_flow_tf.programs.scale_out import AddNoise


def batch_of(sizes=(16, 16, 16)):
    rng = np.random.default_rng(0)
    clean = np.empty(len(sizes), object)
    clean[:] = [rng.uniform(0.1, 0.9, [n, 8, 4]).astype("f4") for n in sizes]
    return {
        "key": np.array([f"{i:06d}" for i in range(len(sizes))]),
        "clean": np.stack(clean) if len(set(sizes)) == 1 else clean,
        "iso": np.array([100, 800, 3200][: len(sizes)]),
        "camera": np.array(["S6", "GP", "N6"][: len(sizes)]),
        "seed": np.array([5, 6, 7][: len(sizes)]),
    }


@pytest.mark.parametrize("sizes", [(16, 16, 16), (16, 24, 16), ()])
def test_noise_is_that_of_sample_image(sizes):
    batch = batch_of(sizes) if sizes else {k: v[:0] for k, v in batch_of().items()}
    noisy = AddNoise("demo")(batch)
    assert noisy.keys() == {*batch, "noisy", "weights"}
    model = nf.load("demo")
    assert len(noisy["noisy"]) == len(sizes)
    for i in range(len(sizes)):
        clean = batch["clean"][i]
        conditions = (batch[name][i] for name in ("iso", "camera", "seed"))
        noise = nf.sample_image(model, clean, *conditions)
        np.testing.assert_array_equal(noisy["noisy"][i], np.clip(clean + noise, 0, 1))


def test_images_come_from_paths(tmp_path):
    batch = batch_of()
    for key, image in zip(batch["key"], batch["clean"], strict=True):
        np.save(tmp_path / f"{key}.npy", image)
    paths = np.array([str(tmp_path / f"{key}.npy") for key in batch["key"]])
    named = {**{k: v for k, v in batch.items() if k != "clean"}, "path": paths}
    noisy = AddNoise("demo")(named)
    assert noisy["noisy"].shape == noisy["clean"].shape == (3, 8, 16, 4)  # as in SIDD's files


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (["iso", "seed"], "a batch needs the columns iso, seed; got key, clean, camera"),
        (["clean"], "a batch needs the columns clean or path; got"),
    ],
)
def test_missing_columns(left_out, message):
    batch = {name: column for name, column in batch_of().items() if name not in left_out}
    with pytest.raises(ValueError, match=message):
        AddNoise("demo")(batch)


def test_conditions_are_checked():
    with pytest.raises(ValueError, match="ISO 101"):
        AddNoise("demo")({**batch_of(), "iso": np.array([100, 101, 100])})


def test_unknown_form(tmp_path):
    with pytest.raises(ValueError, match="form must be one of webdataset, tfrecord, parquet"):
        scale_out.write_examples(None, str(tmp_path), "zip")


@pytest.fixture(scope="module")
def noisy():
    """A dataset of Ray with noise, and the same examples."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    import ray.data

    batch = batch_of()
    rows = [{name: column[i] for name, column in batch.items()} for i in range(3)]
    compute = ray.data.ActorPoolStrategy(size=1)
    dataset = ray.data.from_items(rows).map_batches(AddNoise, compute=compute, num_cpus=1)
    yield dataset, AddNoise("demo")(batch)
    ray.shutdown()


@pytest.mark.slow
def test_tfrecord_is_read_back_by_tf_data(noisy, tmp_path):
    dataset, expected = noisy
    scale_out.write_examples(dataset, str(tmp_path), "tfrecord")
    kinds = {"noisy": tf.string, "clean": tf.string, "camera": tf.string, "key": tf.string}
    kinds |= {"iso": tf.int64, "seed": tf.int64, "weights": tf.string}
    features = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}
    features["shape"] = tf.io.FixedLenFeature([3], tf.int64)
    files = tf.data.Dataset.list_files(str(tmp_path / "*"))
    read = {}
    for content in tf.data.TFRecordDataset(files):
        one = tf.io.parse_single_example(content, features)
        images = [tf.reshape(tf.io.decode_raw(one[n], tf.float32), one["shape"]) for n in IMAGES]
        read[one["key"].numpy().decode()] = (*images, one["iso"], one["camera"], one["seed"])
    check(expected, read)


@pytest.mark.slow
def test_parquet_is_read_back(noisy, tmp_path):
    dataset, expected = noisy
    scale_out.write_examples(dataset, str(tmp_path), "parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    read = {}
    for one in parquet.read_table(tmp_path).to_pylist():
        images = [np.frombuffer(one[n], np.float32).reshape(one["shape"]) for n in IMAGES]
        read[one["key"]] = (*images, one["iso"], one["camera"].encode(), one["seed"])
    check(expected, read)


@pytest.mark.slow
def test_webdataset_is_read_back(noisy, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    dataset, expected = noisy
    scale_out.write_examples(dataset, str(tmp_path), "webdataset")
    read = {}
    urls = sorted(map(str, tmp_path.glob("*.tar")))
    for one in webdataset.WebDataset(urls, shardshuffle=False).decode():
        rest = one["json"] if isinstance(one["json"], dict) else json.loads(one["json"])
        read[one["__key__"]] = (
            one["noisy.npy"], one["clean.npy"], rest["iso"], rest["camera"].encode(), rest["seed"],
        )  # fmt: skip
    check(expected, read)


IMAGES = ("noisy", "clean")


def check(expected, read):
    """Compare examples that were read with what the stage gives."""
    assert read.keys() == set(expected["key"])
    for i, key in enumerate(expected["key"]):
        noisy, clean, iso, camera, seed = read[key]
        np.testing.assert_array_equal(noisy, expected["noisy"][i])
        np.testing.assert_array_equal(clean, expected["clean"][i])
        assert (int(iso), int(seed)) == (expected["iso"][i], expected["seed"][i])
        assert np.asarray(camera).item() == expected["camera"][i].encode()
