"""Adam over all variables at once, against that of Keras."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from noise_flow_tf.training.adam import Adam

SHAPES = [(), (3,), (2, 1, 5), (40,)]


def variables():
    random = np.random.default_rng(0)
    return [tf.Variable(random.normal(size=shape).astype(np.float32)) for shape in SHAPES]


def gradients(steps, seed=1):
    random = np.random.default_rng(seed)
    scales = 10.0 ** random.integers(-6, 6, [steps, len(SHAPES)])
    return [
        [
            tf.constant(random.normal(size=s) * scale, tf.float32)
            for s, scale in zip(SHAPES, row, strict=True)
        ]
        for row in scales
    ]


@pytest.mark.parametrize("in_graph", [False, True])
def test_the_numbers_are_those_of_keras(in_graph):
    rate = tf_keras.optimizers.schedules.CosineDecay(1e-4, 20, warmup_target=1e-1, warmup_steps=5)
    settings = {"learning_rate": rate, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-7}
    trained = []
    for kind in (Adam, tf_keras.optimizers.Adam):
        optimizer, own = kind(**settings), variables()
        optimizer.build(own)

        def step(given, optimizer=optimizer, own=own):
            optimizer.apply_gradients(zip(given, own, strict=True))

        step = tf.function(step) if in_graph else step
        for given in gradients(30):
            step(given)
        trained.append(own)
        assert optimizer.iterations.numpy() == 30
    for mine, reference in zip(*trained, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=2e-6, atol=1e-7)


def test_sparse_gradients_are_made_dense():
    trained = []
    for sparse in (True, False):
        table = tf.Variable(np.ones([5, 2], np.float32))
        optimizer = Adam(0.1)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table, [1, 3, 3]) ** 2)
            gradient = tape.gradient(loss, table)
            assert isinstance(gradient, tf.IndexedSlices)
            gradient = gradient if sparse else tf.convert_to_tensor(gradient)
            optimizer.apply_gradients([(gradient, table)])
        trained.append(table.numpy())
    np.testing.assert_array_equal(*trained)
    assert (trained[0][[0, 2, 4]] == 1).all() and (trained[0][[1, 3]] < 1).all()


def test_config_and_state():
    given = gradients(6)
    first, own = Adam(0.01, beta_2=0.9, epsilon=1e-3), variables()
    for gradient in given[:3]:
        first.apply_gradients(zip(gradient, own, strict=True))
    second = tf_keras.optimizers.deserialize(tf_keras.optimizers.serialize(first))
    assert isinstance(second, Adam) and second.get_config() == first.get_config()
    others = [tf.Variable(variable) for variable in own]
    second.build(others)
    for mine, theirs in zip(second.variables, first.variables, strict=True):
        mine.assign(theirs)
    for gradient in given[3:]:
        first.apply_gradients(zip(gradient, own, strict=True))
        second.apply_gradients(zip(gradient, others, strict=True))
    for one, other in zip(own, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_missing_gradient_is_an_error():
    optimizer, own = Adam(0.01), variables()
    optimizer.build(own)
    with pytest.raises(ValueError, match="one gradient for each of the 4 variables; got 3"):
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in own[:3]])


@pytest.mark.parametrize("option", ["weight_decay", "use_ema"])
def test_what_it_does_not_have_is_refused(option):
    with pytest.raises(TypeError, match=option):
        Adam(0.01, **{option: 0.5})
