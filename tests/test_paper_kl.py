"""The study of the marginal KL, on a small dataset and a model that is nothing but a scale."""

import numpy as np
import pytest

import noise_flow_tf as nf
import sidd
from studies import paper_kl


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    root = tmp_path_factory.mktemp("offline") / "sidd"
    sidd.write_synthetic(root, size=(128, 192), train_instances=0, test_instances=5, progress=False)
    return paper_kl.measure(nf.GaussianNoise(0.02), paper_kl.images(root), seed=0)


def test_a_perfect_model_has_a_kl_of_counting_alone(rows):
    """By n values in K bins that both draws have, (K - 1) / n is expected."""
    bins = np.histogram(0.02 * np.random.default_rng(0).normal(size=4096), paper_kl.KL_EDGES)[0]
    expected = (np.count_nonzero(bins) - 1) / 4096
    assert rows[0].kl.shape == (5,)
    assert rows[0].kl.mean() == pytest.approx(expected, rel=0.2)


def test_temperature_costs_what_gaussians_of_two_scales_differ_by(rows):
    found = {row.what: row.kl.mean() - rows[0].kl.mean() for row in rows if "temp" in row.group}
    for temperature in (0.8, 1.1, 1.2):  # 0.9 leaves bins empty, which do not count
        expected = np.log(temperature) + 0.5 / temperature**2 - 0.5
        assert found[f"{temperature:g}"] == pytest.approx(expected, rel=0.3), temperature


def test_more_bins_and_smaller_patches_have_a_higher_floor(rows):
    kl = {row.what: row.kl.mean() for row in rows}
    assert kl["16 x 16"] == pytest.approx(4 * rows[0].kl.mean(), rel=0.25)
    assert kl["16 on [-0.1, 0.1]"] < rows[0].kl.mean() < kl["256 on [-0.1, 0.1]"]
    assert kl["one histogram of all patches of an image"] < rows[0].kl.mean() / 3


def test_the_table_has_all_rows_and_paired_differences(rows):
    lines = paper_kl.as_table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[2].startswith("| nothing") and " ± " in lines[2]
    (iso,) = [line for line in lines if "ISO 100 " in line]
    assert iso.split("|")[4].strip() != ""
    assert all(np.isfinite(row.kl).any() for row in rows)


def test_patches_are_whole_and_in_order():
    image = np.arange(5 * 7 * 4).reshape(5, 7, 4)
    patches = paper_kl.cut(image, 2)
    assert patches.shape == (6, 2, 2, 4)
    np.testing.assert_array_equal(patches[4], image[2:4, 2:4])
