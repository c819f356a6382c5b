import json
from math import prod

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import noise_flow_tf as nf
from noise_flow_tf import denoising
from noise_flow_tf.denoising import scores, sources
from noise_flow_tf.denoising.trainer import DenoiserTrainer
from noise_flow_tf.saving import saved_model
from noise_flow_tf.training.trainer import DivergedError
from tests.examples import make_batches

SEED = tf.constant([3, 5])


def small(depth=3, width=4, seed=0, **kwargs):
    return denoising.DnCNN(depth, width, seed, **kwargs)


@pytest.fixture(scope="module")
def trained():
    """A network that no longer is what it began as, batch norm's averages included."""
    network = small(depth=4, noise_scale=0.3)
    trainer = DenoiserTrainer(network)
    trainer.compile(tf_keras.optimizers.Adam(1e-2))
    batches = denoising.noisy_batches(make_batches(count=40), denoising.real)
    trainer.fit(batches, verbose=0)
    return network


def flat(count, value=0.5, size=32):
    return {"clean": tf.fill([count, size, size, 4], value)}


@pytest.mark.parametrize(("depth", "width"), [(2, 5), (9, 32), (17, 64)])
def test_parameters_are_those_of_the_description(depth, width):
    first, last = 3 * 3 * 4 * width + width, 3 * 3 * width * 4
    middle = (depth - 2) * (3 * 3 * width * width + 2 * width)
    network = denoising.DnCNN(depth, width)
    count = sum(prod(variable.shape) for variable in network.trainable_variables)
    assert count == first + middle + last


def test_each_convolution_begins_with_values_of_its_own_that_follow_from_the_seed():
    kernels = [
        [v.numpy() for v in small(5, 4, seed).trainable_variables if len(v.shape) == 4]
        for seed in (0, 0, 1)
    ]
    for kernel, same in zip(*kernels[:2], strict=True):
        np.testing.assert_array_equal(kernel, same)
    different = [*kernels[0], *kernels[2]]
    assert len(different) == len({kernel.tobytes() for kernel in different}) == 10


def test_network_takes_its_estimate_from_the_input():
    network, noisy = small(noise_scale=0.5), tf.random.uniform([2, 8, 8, 4], seed=1)
    estimate = noisy - network(noisy)
    kernel = network.trainable_variables[-1]
    kernel.assign(2 * kernel)
    np.testing.assert_allclose(noisy - network(noisy), 2 * estimate, atol=1e-6)
    whole = small(noise_scale=1.0)
    np.testing.assert_allclose(noisy - whole(noisy), 2 * estimate, atol=1e-6)
    kernel.assign(0 * kernel)
    np.testing.assert_array_equal(network(noisy), noisy)


def test_batch_norm_keeps_the_moments_of_the_last_batch():
    network = small(depth=3)
    noisy = tf.random.uniform([4, 32, 32, 4], seed=1)
    network(noisy + 1.0, training=True)
    other = network(noisy)
    own = network(noisy, training=True)
    assert np.abs(own - other).max() > 0.01
    np.testing.assert_allclose(own, network(noisy), atol=2e-3)


@pytest.mark.parametrize("given", [{"depth": 1}, {"width": 0}, {"noise_scale": 0.0}])
def test_impossible_networks_are_refused(given):
    with pytest.raises(ValueError, match=f"{next(iter(given))}"):
        denoising.DnCNN(**given)


def test_gauss_has_another_sigma_for_each_patch_over_the_whole_range():
    np.testing.assert_allclose(np.multiply(sources.SIGMAS, 255), [0.24186, 11.507], rtol=1e-6)
    noise = denoising.Gauss()(flat(400), SEED).numpy()
    sigma = noise.std(axis=(1, 2, 3))
    low, high = sources.SIGMAS
    assert low <= sigma.min() < 1.1 * low + 0.002
    assert 0.95 * high < sigma.max() <= 1.03 * high
    np.testing.assert_allclose(sigma.mean(), (low + high) / 2, rtol=0.08)
    assert abs(noise.mean()) < 1e-3


def test_camera_nlf_draws_rows_of_the_table():
    table = [(0.01, 1e-4), (0.0, 0.25)]
    variance = denoising.TableNLF(table)(flat(60), SEED).numpy().var(axis=(1, 2, 3))
    shot = variance < 0.1
    assert 15 < shot.sum() < 45
    np.testing.assert_allclose(variance[shot], 0.0051, rtol=0.1)
    np.testing.assert_allclose(variance[~shot], 0.25, rtol=0.1)


@pytest.mark.parametrize("table", [[], [(1.0,)], [(-0.1, 1.0)], [(0.1, 0.0)], [(0.1, np.nan)]])
def test_tables_without_a_variance_are_refused(table):
    with pytest.raises(ValueError, match="table of NLFs"):
        denoising.TableNLF(table)


class Labelled:
    """A noise model whose standard deviation tells ISO and camera apart."""

    def __call__(self, clean, iso, camera, training=False):
        stddev = tf.cast(iso, tf.float32) / 1e5 * (1 + 0.5 * tf.cast(camera, tf.float32))
        return nf.CameraNLF(0 * stddev, stddev**2)(clean, iso, camera)


def test_any_noise_model_gives_noise_of_the_pairs_alone():
    source = denoising.ModelNoise(Labelled(), [("GP", 100), ("S6", 3200)])
    batches = tf.data.Dataset.from_tensors(flat(50)).map(lambda batch: source(batch, SEED))
    stddev = next(iter(batches)).numpy().std(axis=(1, 2, 3))
    expected = [0.001 * 1.5, 0.032 * 2]
    distance = np.abs(np.log(stddev[:, None] / expected))
    assert distance.min(axis=1).max() < 0.1
    assert set(distance.argmin(axis=1)) == {0, 1}


@pytest.mark.parametrize(
    ("pairs", "told"), [([], "at least one"), ([("XX", 100)], "XX"), ([("S6", 101)], "101")]
)
def test_pairs_that_a_model_does_not_know_are_refused(pairs, told):
    with pytest.raises(ValueError, match=told):
        denoising.ModelNoise(nf.NoiseFlow("S-G"), pairs)


def test_half_of_the_batches_are_gaussian_with_a_mix():
    source = denoising.GaussMix(lambda batch, seed: 0 * batch["clean"], 0.5)
    noises = [source(flat(1, size=4), tf.constant([7, number])).numpy() for number in range(60)]
    assert 18 < sum(noise.any() for noise in noises) < 42


def test_noise_follows_from_seed_and_number_of_the_batch():
    source = denoising.TableNLF([(0.5, 0.1)])

    def made(seed=(0, 0), first=0):
        clean = make_batches().skip(first)
        return list(denoising.noisy_batches(clean, source, seed, first).as_numpy_iterator())

    whole, later, other = made(), made(first=1), made(seed=(0, 1))
    for (noisy, clean), (again, _) in zip(whole[1:], later, strict=True):
        np.testing.assert_array_equal(noisy, again)
        assert noisy.min() == 0 and noisy.max() == 1
        assert not np.array_equal(noisy, clean)
    assert not np.array_equal(whole[0][0], other[0][0])
    noises = [noisy - clean for noisy, clean in whole]
    assert not np.array_equal(noises[0], noises[1])


def test_training_lowers_half_the_sum_of_squared_errors():
    network = small()
    trainer = DenoiserTrainer(network)
    trainer.compile(tf_keras.optimizers.Adam(1e-2))
    batches = denoising.noisy_batches(make_batches(), denoising.real)
    before = trainer.evaluate(batches, verbose=0, return_dict=True)
    noisy, clean = (np.concatenate(part) for part in zip(*batches.as_numpy_iterator(), strict=True))
    denoised = network(noisy).numpy()
    errors = 0.5 * np.square(denoised - clean).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(before["loss"], errors.mean(), rtol=1e-4)
    psnr = tf.image.psnr(clean, np.clip(denoised, 0, 1), 1.0)
    np.testing.assert_allclose(before["psnr"], np.mean(psnr), rtol=1e-5)
    trainer.fit(batches.repeat(), steps_per_epoch=60, verbose=0)
    trainer.reestimate_averages(batches)
    after = trainer.evaluate(batches, verbose=0, return_dict=True)
    assert after["loss"] < 0.7 * before["loss"]


def test_averages_become_the_mean_of_the_batches_moments():
    network = small()
    trainer = DenoiserTrainer(network)
    trainer.compile(tf_keras.optimizers.Adam())
    batches = denoising.noisy_batches(make_batches(), denoising.real)
    (norm,) = network.batch_norms
    moments = []
    for noisy, _ in batches:
        network(noisy, training=True)
        moments.append((norm.moving_mean.numpy(), norm.moving_variance.numpy()))
    mean, variance = np.mean(moments, axis=0)
    trainer.reestimate_averages(batches)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)
    with pytest.raises(ValueError, match="at least one batch"):
        trainer.reestimate_averages(batches.take(0))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_ends_at_a_loss_that_is_not_finite(jit_compile):
    trainer = DenoiserTrainer(small())
    trainer.compile(tf_keras.optimizers.Adam(), jit_compile=jit_compile)
    batches = denoising.noisy_batches(make_batches(), denoising.real)
    trainer.fit(batches.take(2), verbose=0)
    before = [variable.numpy() for variable in trainer.trainable_variables]
    bad = batches.map(lambda noisy, clean: (noisy * float("nan"), clean))
    with pytest.raises(DivergedError, match="epoch 2, step 1, in 8 of 8 patches; the noise or"):
        trainer.fit(bad, verbose=0, steps_per_epoch=2)
    for variable, old in zip(trainer.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)


@pytest.mark.parametrize("tile", [1, 5, 8, 100])
def test_tiles_do_not_show(trained, tile):
    noisy = np.random.default_rng(0).uniform(size=(17, 22, 4)).astype(np.float32)
    whole = denoising.denoise_image(trained, noisy)
    np.testing.assert_allclose(denoising.denoise_image(trained, noisy, tile), whole, atol=2e-6)
    expected = np.clip(trained(noisy[None])[0], 0, 1)
    np.testing.assert_allclose(whole, expected, atol=2e-6)


def test_images_of_other_shapes_and_tiles_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"\[H, W, 4\]; got \[8, 8\]"):
        denoising.denoise_image(small(), np.zeros([8, 8]))
    with pytest.raises(ValueError, match="tile"):
        denoising.denoise_image(small(), np.zeros([8, 8, 4]), tile=0)


def test_saved_model_is_plain_and_comes_back(trained, tmp_path):
    denoising.save(trained, tmp_path / "saved")
    noisy = np.random.default_rng(0).uniform(size=(2, 9, 11, 4)).astype(np.float32)
    expected = np.clip(trained(noisy), 0, 1)
    plain = tf.saved_model.load(str(tmp_path / "saved")).signatures["denoise"]
    np.testing.assert_allclose(plain(noisy=noisy)["denoised"], expected, atol=1e-6)
    back = denoising.load(tmp_path / "saved")
    assert back.recipe == {"depth": 4, "width": 4, "noise_scale": 0.3}
    np.testing.assert_allclose(back(noisy), trained(noisy), atol=1e-6)


def test_what_holds_no_denoiser_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no denoiser"):
        denoising.load(tmp_path)
    saved_model.save(nf.NoiseFlow("S-G"), tmp_path / "noise_model")
    with pytest.raises(ValueError, match="is not a SavedModel of a denoiser"):
        denoising.load(tmp_path / "noise_model")
    denoising.save(small(), tmp_path / "denoiser")
    (tmp_path / "denoiser" / "denoiser.json").write_text(
        json.dumps({"depth": 5, "width": 4, "noise_scale": 1.0})
    )
    with pytest.raises(ValueError, match="cannot be read as a DnCNN of depth 5"):
        denoising.load(tmp_path / "denoiser")
    run = denoising.DenoiserRun(tmp_path / "run")
    run.create({"arch": "S-G", "width": 4})
    with pytest.raises(ValueError, match="not the settings of a run of noise-flow train-denoiser"):
        denoising.load(run.path)


def row(noise, seed, psnr, ssim=0.9, **known):
    return {"noise": noise, "seed": seed, "psnr": psnr, "ssim": ssim, "ssim_range2": 0.95, **known}


def test_table_has_the_improvements_of_the_paper():
    known = {n: source.paper for n, source in sources.SOURCES.items() if source.paper}
    rows = [row(name, 0, **paper) for name, paper in known.items()]
    lines = scores.table(scores.summary(rows)).splitlines()
    assert lines[2].startswith("| DnCNN-Gauss")
    for line, (psnr, ssim) in zip(
        [lines[2], lines[3], lines[5]], [(43.0, 75.0), (33.4, 55.6), (15.3, 27.3)], strict=True
    ):
        assert line.count(f"({psnr}%)") == line.count(f"({ssim}%)") == 2


def test_bold_is_the_best_denoiser():
    rows = [row("noise_flow", 0, 40.0, 0.9, iso=100), row("gauss", 0, 41.0, 0.8, iso=100)]
    gauss, ours = scores.table(scores.summary(rows)).splitlines()[2:]
    assert "| **41.00** " in gauss and "| 0.8000 (50.0%) " in gauss
    assert "| 40.00 " in ours and "| **0.9000** " in ours
    line = scores.table_by(scores.summary(rows, "iso"), "iso").splitlines()[2]
    assert "| **41.00** / 0.8000 | 40.00 / **0.9000** |" in line


def test_summary_and_margins_are_over_runs():
    rows = [row("noisy", "", 20.0), row("noisy", "", 30.0)]
    rows += [row("noise_flow", 0, 40.0, iso=100), row("noise_flow", 0, 42.0, iso=400)]
    rows += [row("noise_flow", 1, 43.0, iso=100), row("noise_flow", 1, 43.0, iso=400)]
    rows += [row("real", 1, 42.5, iso=100), row("gauss", 0, 40.0), row("gauss", 1, 40.0)]
    found = scores.summary(rows)
    assert found["noisy"]["psnr"] == {"mean": 25.0, "std": None}
    assert found["noise_flow"]["runs"] == 2
    np.testing.assert_allclose(found["noise_flow"]["psnr"]["mean"], 42.0)
    np.testing.assert_allclose(found["noise_flow"]["psnr"]["std"], 2**0.5)
    margins = scores.margins(rows)
    assert margins["real"].items() >= {"mean": 0.5, "std": None, "least": 0.5}.items()
    assert margins["gauss"]["least"] == 1.0
    by_iso = scores.summary([r for r in rows if "iso" in r], "iso")
    np.testing.assert_allclose(by_iso["noise_flow", 100]["psnr"]["mean"], 41.5)


def test_psnr_gaps_are_paired_and_over_scenes():
    """Two scenes of two frames each: gaps of 1 and 3 dB, in both seeds."""
    rows = [row("noisy", "", 20.0, image="a1", scene="a")]
    for seed, level in ((0, 40.0), (1, 41.0)):
        for image, gap in (("a1", 1.0), ("a2", 1.0), ("b1", 3.0), ("b2", 3.0)):
            known = {"image": image, "scene": image[0]}
            rows.append(row("real", seed, level, **known))
            rows.append(row("noise_flow", seed, level - gap, **known))
            rows.append(row("gauss", seed + 1, 30.0, **known))
    gaps = scores.psnr_gaps(rows)
    assert list(gaps) == ["noise_flow", "gauss"]
    assert gaps["noise_flow"]["mean"] == pytest.approx(2.0)
    assert gaps["noise_flow"]["stderr"] == pytest.approx(1.0)  # of two values, 1 and 3
    assert gaps["noise_flow"]["floor"] == pytest.approx(1.0)  # seeds differ by 1 dB
    assert (gaps["noise_flow"]["runs"], gaps["gauss"]["runs"]) == (2, 1)
    assert gaps["gauss"]["mean"] == pytest.approx(11.0)
    text = "\n".join(scores.gap_lines(gaps))
    assert "| DnCNN-NF    | 2     | 2.00 ± 1.00 " in text and "differ by 1.00 dB" in text


def test_psnr_gaps_need_real_pairs():
    assert scores.psnr_gaps([row("gauss", 0, 30.0), row("noise_flow", 0, 31.0)]) == {}
    assert scores.gap_lines({}) == []
    (gap,) = scores.psnr_gaps(
        [row("gauss", 0, 30.0, image=1), row("real", 0, 31.0, image=1)]
    ).values()
    assert (gap["mean"], gap["stderr"], gap["floor"]) == (1.0, None, None)
