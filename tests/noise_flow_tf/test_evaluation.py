import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf
from noise_flow_tf import evaluation
from noise_flow_tf.evaluation import metrics, tables
from tests.examples import make_batches

IMAGES, PATCHES = 12, 10


def drawn_from(model, seed=0):
    """Images with noise of a model: twelve of ten patches, each a batch of one condition."""
    rng = np.random.default_rng(seed)
    for image in range(IMAGES):
        clean = rng.uniform(0.02, 0.6, (PATCHES, 32, 32, 4)).astype(np.float32)
        iso, camera = np.int32(nf.ISO_LEVELS[image % 5]), np.int32(image % 5)
        noise = model(clean, iso, camera).sample(seed=(seed + 100, image))
        yield {
            "clean": tf.constant(clean),
            "noise": noise,
            "iso": tf.fill([PATCHES], iso),
            "camera": tf.fill([PATCHES], camera),
            "nlf": tf.tile([[2e-3, 1e-4]], [PATCHES, 1]),
            "frame": tf.fill([PATCHES], image),
        }


def entropy(variance):
    """Nats per dimension of independent normals."""
    return float(np.mean(0.5 * np.log(2 * np.pi * np.e * np.asarray(variance, np.float64))))


@pytest.mark.parametrize("kind", ["gaussian", "camera_nlf"])
def test_known_answers(kind):
    """For noise of a known model, its exact entropy and a KL of nothing but sampling."""
    known = {"gaussian": nf.GaussianNoise(0.02), "camera_nlf": nf.CameraNLF(2e-3, 1e-4)}
    batches = list(drawn_from(known[kind]))
    models = {
        "gaussian": known["gaussian"],
        "camera_nlf": nf.CameraNLF(),
        "wide": nf.GaussianNoise(0.04),
    }
    scores = evaluation.evaluate(models, batches)
    clean = np.stack([batch["clean"] for batch in batches])
    variance = {"gaussian": 0.02**2, "camera_nlf": 2e-3 * clean + 1e-4}[kind]
    found = scores[kind]
    assert abs(found["nll"] - entropy(variance)) < 3 * found["nll_stderr"]
    assert found["nll_stderr"] < 0.01
    assert abs(found["kl"] - found["kl_floor"]) < 3 * found["kl_stderr"]
    if kind == "gaussian":
        assert found["nll_stderr"] == pytest.approx(np.sqrt(0.5 / clean.size), rel=0.5)
        assert scores["wide"]["nll"] == pytest.approx(
            entropy(variance) + np.log(2) - 3 / 8, abs=0.01
        )
        assert scores["wide"]["kl"] == pytest.approx(np.log(2) - 3 / 8, abs=0.03)
    assert evaluation.evaluate(models, batches) == scores


def test_images_are_told_apart_whatever_the_batches():
    model = nf.GaussianNoise(0.03)
    batches = list(drawn_from(nf.CameraNLF(2e-3, 1e-4)))
    rows = scored({"one": model}, batches)
    assert [row["frame"] for row in rows] == list(range(IMAGES))
    for row, batch in zip(rows, batches, strict=True):
        assert (row["iso"], row["camera"]) == (int(batch["iso"][0]), int(batch["camera"][0]))
        assert (row["patches"], row["kl_patches"]) == (PATCHES, 2)
        np.testing.assert_allclose(row["nlf"], [2e-3, 1e-4])
        noise = batch["noise"].numpy().astype(np.float64)
        nll = np.mean(0.5 * np.square(noise / 0.03)) + 0.5 * np.log(2 * np.pi * 0.03**2)
        assert row["scores"]["one"]["nll"] == pytest.approx(nll, abs=1e-5)

    mixed = tf.data.Dataset.from_tensor_slices(
        {name: tf.concat([batch[name] for batch in batches], 0) for name in batches[0]}
    ).batch(7)
    again = scored({"one": model}, mixed)
    for row, other in zip(rows, again, strict=True):
        assert row["scores"]["one"]["nll"] == pytest.approx(other["scores"]["one"]["nll"], abs=1e-6)
    assert sum(row["kl_patches"] for row in again) == 17 * 2 + 1
    missed = [row for row in again if not row["kl_patches"]]
    assert all(row["scores"]["one"]["kl"] is None for row in missed)


def test_patches_without_a_frame_are_images_in_their_order():
    batches = make_batches(count=19)
    rows = scored({"one": nf.GaussianNoise(0.03)}, batches)
    assert [row["frame"] for row in rows] == list(range(19))
    assert [row["iso"] for row in rows] == [int(iso) for batch in batches for iso in batch["iso"]]
    assert {row["patches"] for row in rows} == {1}
    noise = np.concatenate([batch["noise"] for batch in batches]).astype(np.float64)
    nll = np.mean(0.5 * np.square(noise / 0.03), axis=(1, 2, 3)) + np.log(0.03 * (2 * np.pi) ** 0.5)
    np.testing.assert_allclose([row["scores"]["one"]["nll"] for row in rows], nll, atol=1e-5)


def scored(models, batches):
    scores = evaluation.ImageScores()
    for batch, told in evaluation.measure(models, batches):
        scores.add(batch, told)
    return scores.rows()


def test_standard_errors_are_over_images():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=9), rng.integers(1, 40, 9)
    rows = [
        {"patches": int(w), "kl_patches": 1, "scores": {"m": dict.fromkeys(evaluation.METRICS, v)}}
        for v, w in zip(values, weights, strict=True)
    ]
    found = evaluation.summarise(rows)["m"]
    assert found["nll"] == pytest.approx(np.average(values, weights=weights))
    assert found["kl"] == pytest.approx(values.mean())
    assert found["kl_stderr"] == pytest.approx(values.std(ddof=1) / 3)
    alone = evaluation.summarise(rows[:1])["m"]
    assert alone["nll"] == values[0]
    assert alone["nll_stderr"] is None
    assert tables.number(evaluation.METRICS["nll"], alone) == f"{values[0]:.3f}"


def test_paired_differences_tell_close_models_apart():
    rng = np.random.default_rng(0)
    base = rng.normal(size=20)
    scores = [
        {"a": {"nll": v + 0.01 + 1e-4 * e}, "b": {"nll": v}}
        for v, e in zip(base, rng.normal(size=20), strict=True)
    ]
    rows = [{"patches": 5, "scores": one} for one in scores]
    difference, error = evaluation.paired_difference(rows, "a", "b", "nll")
    assert difference == pytest.approx(0.01, abs=3 * error)
    assert error < 1e-4


def test_kl_of_a_model_as_it_is_then():
    model = nf.NoiseFlow("S-G", seed=0)
    batches = list(make_batches())
    kl = evaluation.sampled_kl(model, batches)
    before = kl()
    model.layers[0].beta2.assign(-6.0)
    after = kl()
    assert after != before
    few = [{name: value[:: evaluation.KL_STRIDE] for name, value in b.items()} for b in batches]
    samples = [
        model(b["clean"], b["iso"], b["camera"]).bijector.forward(
            tf.random.stateless_normal(b["noise"].shape, [0, number])
        )
        for number, b in enumerate(few)
    ]
    expected = [
        metrics.marginal_kl(*pair)
        for b, sample in zip(few, samples, strict=True)
        for pair in zip(b["noise"].numpy(), sample.numpy(), strict=True)
    ]
    assert after == pytest.approx(np.mean(expected), rel=1e-5)


def test_empty_test_sets_are_refused():
    with pytest.raises(ValueError, match="no batch"):
        evaluation.evaluate({"nlf": nf.CameraNLF()}, [])


def test_tables_have_errors_and_groups():
    score = {"nll": -2.0, "nll_stderr": 0.5, "kl": 0.1, "kl_stderr": None, "kl_floor": 0.01}
    better = {**score, "nll": -3.0, "kl": 0.05}
    text = tables.table(
        {"gaussian": score, "noise_flow": better}, extra_rows={"paper": ["-1", "**-2**"]}
    )
    assert "| NLL      | -2.000 ± 0.500 (171.8%) | **-3.000 ± 0.500** |" in text
    assert "| KL       | 0.1000 (50.0%) " in text
    assert "| KL floor | 0.0100 " in text
    assert "| paper    | -1 " in text
    grouped = tables.groups(
        "camera", {"S6": {"images": 3, "scores": {"a": score}}}, {"a": "The model"}
    )
    assert "| camera | images | The model, NLL | The model, KL |" in grouped
    assert "| S6     | 3      | -2.000 ± 0.500 | 0.1000        |" in grouped


def test_bold_is_the_best_and_a_model_that_loses_claims_no_improvement():
    scores = {
        "gaussian": {"nll": -2.0, "kl": 0.3, "variance_r2": 0.9, "variance_ratio": 1.3},
        "camera_nlf": {"nll": -3.0, "kl": 0.00451, "variance_r2": None, "variance_ratio": 0.9},
        "noise_flow": {"nll": -2.5, "kl": 0.00449, "variance_r2": 0.8, "variance_ratio": 1.2},
    }
    lines = [line.split("|")[1:5] for line in tables.table(scores).splitlines()]
    rows = {title.strip(): [cell.strip() for cell in cells] for title, *cells in lines}
    assert rows["NLL"] == ["-2.000 (64.9%)", "**-3.000**", "-2.500"]
    assert rows["KL"] == ["0.3000 (98.5%)", "**0.0045** (0.4%)", "**0.0045**"]  # read the same
    assert rows["R2 of variance"] == ["**0.900**", "-", "0.800"]
    assert rows["Variance ratio"] == ["1.300", "**0.900**", "1.200"]
    grouped = tables.groups("camera", {"S6": {"images": 3, "scores": scores}}, tables.TITLES)
    cells = [cell.strip() for cell in grouped.splitlines()[2].split("|")[3:-1]]
    assert cells == ["-2.000", "**-3.000**", "-2.500", "0.3000", "**0.0045**", "**0.0045**"]
