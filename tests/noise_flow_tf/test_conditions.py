import numpy as np
import pytest
import tensorflow as tf

from noise_flow_tf import conditions

CLEAN = tf.zeros([3, 4, 6, 4])


@pytest.mark.parametrize(
    ("iso", "camera"),
    [
        (800, "S6"),
        (800.0, 2),
        ([800] * 3, ["S6"] * 3),
        (np.float32(800), np.array([2, 2, 2])),
        (tf.constant([800.0] * 3), tf.constant(["S6"] * 3)),
        (tf.constant(800), tf.constant(2)),
    ],
)
def test_gives_every_example_its_conditions(iso, camera):
    resolved = conditions.ConditionSpace().resolve(CLEAN, iso, camera)
    assert resolved.iso.numpy().tolist() == [800] * 3
    assert resolved.iso_index.numpy().tolist() == [2] * 3
    assert resolved.camera.numpy().tolist() == [2] * 3


@pytest.mark.parametrize(
    ("iso", "camera", "message"),
    [
        (200, "S6", "unknown ISO 200; supported ISO levels: 100, 400, 800, 1600, 3200"),
        ([100, 400, 150], "S6", "3200; with iso_interpolation also values between them$"),
        ([100, 400, 50], "S6", "unknown ISO .* 3200$"),
        (float("nan"), "S6", "unknown ISO nan"),
        ("800", "S6", "unknown ISO 800"),
        (100, "s6", "unknown camera s6; supported cameras: IP, GP, S6, N6, G4"),
        (100, ["S6", "S6", "XX"], "unknown camera"),
        (100, 5, "unknown camera 5"),
        (100, -1, "unknown camera -1"),
        (100, 1.0, "unknown camera 1.0"),
        ([100, 400], "S6", r"iso must be one value for all or one for each of the 3 examples"),
        (100, [0, 1], r"camera must be one value .* got shape \[2\]"),
        ([[100, 100, 100]], 0, r"iso must be .* got shape \[1, 3\]"),
    ],
)
def test_refuses_what_the_model_does_not_know(iso, camera, message):
    with pytest.raises(ValueError, match=message):
        conditions.ConditionSpace().resolve(CLEAN, iso, camera)


@pytest.mark.parametrize("shape", [(4, 6, 4), (3, 4, 6, 3), (2, 3, 4, 6, 4)])
def test_refuses_images_that_are_not_packed_batches(shape):
    with pytest.raises(ValueError, match=r"shape \[B, H, W, 4\]; got shape"):
        conditions.ConditionSpace().resolve(tf.zeros(shape), 100, "S6")


def test_refuses_unknown_values_inside_a_graph():
    @tf.function
    def resolve(iso, camera):
        resolved = conditions.ConditionSpace().resolve(CLEAN, iso, camera)
        return resolved.iso_index, resolved.camera

    iso_index, camera = resolve(tf.constant([100, 800, 3200]), tf.constant([0, 4, 2]))
    assert iso_index.numpy().tolist() == [0, 2, 4]
    assert camera.numpy().tolist() == [0, 4, 2]
    assert resolve(tf.constant(100), tf.constant("G4"))[1].numpy().tolist() == [4] * 3
    with pytest.raises(tf.errors.InvalidArgumentError, match="unknown ISO"):
        resolve(tf.constant([100, 200, 3200]), tf.constant([0, 4, 2]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="unknown camera"):
        resolve(tf.constant([100, 800, 3200]), tf.constant([0, 5, 2]))


BETWEEN = conditions.ConditionSpace(iso_interpolation=True)


@pytest.mark.parametrize("graph", [False, True])
def test_levels_between(graph):
    table = tf.constant([0.0, 1.0, 3.0, 4.0, 8.0])

    def value(iso):
        return BETWEEN.resolve(CLEAN, iso, "S6").at_iso(table)

    value = tf.function(value) if graph else value
    iso = tf.constant([100.0, 200.0, 3200.0])
    np.testing.assert_allclose(value(iso), [0.0, 0.5, 8.0], atol=1e-6)
    assert value(tf.constant([400, 800, 1600])).numpy().tolist() == [1.0, 3.0, 4.0]
    refused = tf.errors.InvalidArgumentError if graph else ValueError
    for iso in (99, 3201):
        with pytest.raises(refused, match="unknown ISO"):
            value(tf.constant(iso))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ("S6", "s7")}, "two to eight capitals and digits, such as S6; got 's7'"),
        ({"cameras": ("S6", "S6")}, "each once; got S6, S6"),
        ({"cameras": ()}, "each once; got none"),
        ({"iso_levels": (400, 100)}, "rising whole numbers; got 400, 100"),
        ({"iso_levels": (100, 100, 400)}, "rising whole numbers; got 100, 100, 400"),
        ({"iso_levels": (0, 100)}, "rising whole numbers; got 0, 100"),
        ({"iso_levels": (0.5, 100)}, "rising whole numbers"),
    ],
)
def test_refuses_tables(options, message):
    with pytest.raises(ValueError, match=message):
        conditions.ConditionSpace(**options)


@pytest.mark.parametrize("graph", [False, True])
def test_each_step_between_levels_has_its_own_length(graph):
    """Linear in log ISO: from 100 to 400 there are two doublings, from 400 to 800 one."""
    table = tf.constant([0.0, 1.0, 3.0, 4.0, 8.0])
    iso = 100 * 2 ** np.float32([0.5, 1.5, 2.25, 3.5, 4.75])

    def values(iso):
        resolved = BETWEEN.resolve(tf.zeros([5, 1, 3, 4]), iso, "S6")
        return resolved.at_iso(table), resolved.iso, resolved.iso_index

    found, same, index = (tf.function(values) if graph else values)(tf.constant(iso))
    np.testing.assert_allclose(found, [0.25, 0.75, 1.5, 3.5, 7.0], atol=1e-5)
    np.testing.assert_array_equal(same, iso)
    assert index.numpy().tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "camera",
    [
        ["IP", "G4", "S6"],
        [b"IP", b"G4", b"S6"],
        np.array([b"IP", "G4", b"S6"], object),
        np.array([0, 4, 2], np.uint8),
        tf.constant(["IP", "G4", "S6"]),
    ],
    ids=["text", "bytes", "both", "uint8", "tensor"],
)
def test_forms_of_several_cameras(camera):
    assert conditions.ConditionSpace().camera_index(camera).numpy().tolist() == [0, 4, 2]
    resolved = conditions.ConditionSpace().resolve(CLEAN, [3200, 100, 800], camera)
    assert resolved.camera.numpy().tolist() == [0, 4, 2]
    assert resolved.iso_index.numpy().tolist() == [4, 0, 2]


def test_the_index_has_the_shape_of_what_is_given():
    assert conditions.ConditionSpace().camera_index(b"G4").shape == []
    assert conditions.ConditionSpace().camera_index(tf.constant("G4")).shape == []
    table = np.array([["IP", b"GP", "S6"], [b"N6", "G4", "IP"]], object)
    assert conditions.ConditionSpace().camera_index(table).numpy().tolist() == [
        [0, 1, 2],
        [3, 4, 0],
    ]
    index = conditions.ConditionSpace().iso_index([[100, 1600], [3200, 400]])
    assert index.numpy().tolist() == [[0, 3], [4, 1]]


OWN = conditions.ConditionSpace(("B8", "A7"), (50, 6400))


@pytest.mark.parametrize("graph", [False, True])
def test_own_cameras_and_levels_end_where_they_do(graph):
    def resolve(iso, camera):
        resolved = OWN.resolve(tf.zeros([2, 3, 1, 4]), iso, camera)
        return resolved.iso_index, resolved.camera

    resolve = tf.function(resolve) if graph else resolve
    for cameras in ([1, 0], ["A7", "B8"]):
        index, camera = resolve(tf.constant([6400, 50]), tf.constant(cameras))
        assert index.numpy().tolist() == [1, 0]
        assert camera.numpy().tolist() == [1, 0]
    refused = tf.errors.InvalidArgumentError if graph else ValueError
    for camera in (2, 4, "S6"):
        with pytest.raises(refused, match="unknown camera"):
            resolve(tf.constant(50), tf.constant(camera))
    with pytest.raises(refused, match="unknown ISO"):
        resolve(tf.constant(100), tf.constant(0))
