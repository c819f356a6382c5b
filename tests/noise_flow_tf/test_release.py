import numpy as np
import pytest
import tensorflow as tf

import noise_flow_tf as nf


@pytest.mark.parametrize("arch", ["S-G", "S-G-CAM", "sdn6|gain4", "S-Ax1-G-Ax1-CAM", "Ax4"])
def test_variables_round_trip(arch):
    model, other = nf.NoiseFlow(arch, seed=0), nf.NoiseFlow(arch, seed=1)
    nf.release.assign(other, nf.release.variables(model))
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_names_and_shapes(numbers_of):
    theirs = {
        name.removeprefix("variable/"): value.shape
        for name, value in numbers_of("arch_sdn5-unc-gain4-unc").items()
        if name.startswith("variable/")
    }
    model = nf.NoiseFlow("S-Ax1-G-Ax1-CAM")
    assert {name: value.shape for name, value in nf.release.variables(model).items()} == theirs


def test_loads_a_checkpoint_by_the_names_in_the_release(numbers_of, tmp_path):
    numbers = numbers_of("training_trajectory")
    given = {n.removeprefix("final/"): numbers[n] for n in numbers if n.startswith("final/")}
    slots = {f"{name}/{slot}": 0 * given[name] for name in given for slot in ("Adam", "Adam_1")}
    names, tensors = zip(*(given | slots).items(), strict=True)
    prefix = str(tmp_path / "model.ckpt.best")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    model = nf.load(prefix)
    assert model.arch == "sdn5|unc|unc|unc|unc|gain4|unc|unc|unc|unc"
    assert model.num_parameters == 2431
    for name, value in nf.release.variables(model).items():
        np.testing.assert_array_equal(value, given[name], name, strict=True)


def _write(prefix, model):
    names, tensors = zip(*nf.release.variables(model).items(), strict=True)
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    return prefix


@pytest.mark.parametrize(
    ("arch", "width"),
    [
        ("sdn4|gain4", 4),
        ("sdn6|unc|gain4", 6),
        ("unc|unc", 3),
        ("unc|sdn5|unc|unc|gain4", 1),
        ("sdn5|unc", 5),
    ],
)
def test_loads_checkpoints_of_any_architecture_and_width(arch, width, tmp_path):
    model = nf.NoiseFlow(arch, width, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign_add(rng.uniform(0.01, 0.1, variable.shape))
    loaded = nf.load_release(_write(str(tmp_path / "model"), model))
    assert (loaded.arch, loaded.width) == (arch, width)
    for ours, theirs in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_order_that_names_do_not_tell_can_be_given(tmp_path):
    model = nf.NoiseFlow("gain4|unc|sdn4", seed=0)
    prefix = _write(str(tmp_path / "model"), model)
    assert nf.load_release(prefix).arch == "sdn4|unc|gain4"
    assert nf.load_release(prefix, "gain4|unc|sdn4").arch == "gain4|unc|sdn4"
    with pytest.raises(ValueError, match="does not fit a Noise Flow: .* architecture 'sdn4'"):
        nf.load_release(prefix, "sdn4")


def test_takes_an_optimisers_slots_and_does_without_what_nothing_reads():
    model = nf.NoiseFlow("S-G")
    mapping = {n: v for n, v in nf.release.variables(model).items() if "rescaling" not in n}
    slots = {"model/sdn_gain/beta1/Adam": 0.0, "model/sdn_gain/beta1/Adam_1": 0.0, "beta1_power": 1}
    nf.release.assign(model, mapping | slots)


def test_names_what_is_missing_or_left_over():
    model = nf.NoiseFlow("S-G", seed=0)
    mapping = nf.release.variables(model)
    del mapping["model/sdn_gain/beta1"]
    mapping["model/sdn_gain/gamma"] = np.zeros(1)
    mapping["model/sdn_gain/gain_val"] = np.full(1, 9.0)
    with pytest.raises(ValueError, match="missing model/sdn_gain/beta1; left over .*/gamma"):
        nf.release.assign(model, mapping)
    assert model.layers[1].gain_val.numpy() == 1


def test_names_a_shape_that_does_not_fit():
    wide = nf.release.variables(nf.NoiseFlow("unc", width=8))
    with pytest.raises(ValueError, match=r"must have shape .* at width 4; got"):
        nf.release.assign(nf.NoiseFlow("unc"), wide)
    mapping = nf.release.variables(nf.NoiseFlow("sdn5"))
    name = "model/sdn_gain/cam_params"
    with pytest.raises(ValueError, match=r"cam_params must have shape \(3, 5\) .*; got \(5, 3\)"):
        nf.release.assign(nf.NoiseFlow("sdn5"), mapping | {name: mapping[name].T})


def test_paper_layers_have_no_names_in_the_release():
    with pytest.raises(
        ValueError, match="layer eq12 of architecture 'eq12.eq14' is not in the release"
    ):
        nf.release.variables(nf.NoiseFlow("eq12|eq14"))


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a readable TensorFlow checkpoint"):
        nf.load_release(str(tmp_path / "nowhere"))


def test_other_checkpoint_is_refused(tmp_path):
    prefix = tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="none of its variables is a layer of Noise Flow"):
        nf.load_release(prefix)
