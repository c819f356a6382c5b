"""The compiled core in threads and processes, and its memory."""

import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import noise_flow_tf as nf
from noise_flow_tf.native import arrays, library, use
from tests import float64

pytestmark = pytest.mark.skipif(not library.available(), reason="no compiled core")

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (3, 24, 40, 4)
CLEAN = np.random.default_rng(0).uniform(size=SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "noise_flow.npz"
    model = nf.NoiseFlow("sdn5|unc|gain4|unc", seed=0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape))
    nf.save_npz(model, path)
    return path


def run_alone(program, *arguments):
    """Run a program in a process of its own, and return the JSON that it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_several_threads_at_once(monkeypatch):
    monkeypatch.setattr(library, "threads", lambda: 3)
    cases = [float64.random_case(seed, "SMCGMC", 4, (3, 20, 30 + seed)) for seed in range(6)]

    def compute(case):
        values = arrays.forward(case.ops, case.flat, case.noise, case.clean, True)
        slopes = values.latent, values.log_prob
        gradients = arrays.gradient(
            case.ops, case.flat, case.clean, True, values.saved, values.latent, *slopes
        )
        noise = arrays.noise_of(case.ops, case.flat, case.noise, case.clean)
        return [array.copy() for array in (*values[:3], *gradients, noise)]

    expected = [compute(case) for case in cases]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(compute, cases * 20))
    for number, result in enumerate(found):
        for value, same in zip(result, expected[number % len(cases)], strict=True):
            np.testing.assert_array_equal(value, same)


def test_several_threads_with_tensorflow():
    model = nf.NoiseFlow("sdn5|unc|gain4", seed=0)
    noise = np.random.default_rng(1).normal(0, 0.05, SHAPE).astype(np.float32)
    p = model(CLEAN, 800, "S6")
    expected = p.log_prob(noise).numpy()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: p.log_prob(noise).numpy(), range(40)):
            np.testing.assert_array_equal(found, expected)


_FORKING = """
    import json, multiprocessing, sys, threading
    import numpy as np
    from noise_flow_tf import native

    model = native.load(sys.argv[1])
    clean = np.full([4, 40, 50, 4], 0.3, np.float32)

    def draw(seed, queue):
        for _ in range(3):
            noise = model.sample(clean, 800, "S6", seed=seed)
        queue.put((seed, noise.tobytes()))

    expected = [model.sample(clean, 800, "S6", seed=seed).tobytes() for seed in range(3)]
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            model.sample(clean, 100, "IP", seed=9)

    busy = [threading.Thread(target=keep_busy) for _ in range(int(sys.argv[2]))]
    for thread in busy:
        thread.start()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    same = True
    for _ in range(4):
        workers = [context.Process(target=draw, args=(s, queue)) for s in range(3)]
        for worker in workers:
            worker.start()
        results = [queue.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join(60)
        same &= all(noise == expected[seed] for seed, noise in results)
        same &= all(worker.exitcode == 0 for worker in workers)
    stop.set()
    for thread in busy:
        thread.join()
    same &= model.sample(clean, 800, "S6", seed=0).tobytes() == expected[0]
    print(json.dumps({"same": bool(same), "tensorflow": "tensorflow" in sys.modules}))
"""


@pytest.mark.parametrize("busy", [0, 2])
def test_processes_that_fork_after_its_use(weights, busy):
    """As the workers of a DataLoader do; also while other threads compute."""
    assert run_alone(_FORKING, weights, busy) == {"same": True, "tensorflow": False}


_DRAWING = """
    import hashlib, json, sys
    import numpy as np
    from noise_flow_tf import native

    model = native.load(sys.argv[1])
    clean = np.full([4, 60, 70, 4], 0.3, np.float32)
    draws = [model.sample(clean, 800, "S6", seed=seed).tobytes() for seed in range(30)]
    print(json.dumps(hashlib.sha256(b"".join(draws)).hexdigest()))
"""


def test_several_processes_at_once(weights):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run_alone(_DRAWING, weights), range(4)))
    assert len(set(found)) == 1


_TRAINING = """
    import gc, json, sys
    import numpy as np
    import tensorflow as tf
    from noise_flow_tf.native import arrays
    import noise_flow_tf as nf
    from noise_flow_tf.native import use

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    model = nf.NoiseFlow("sdn5|unc|gain4|unc", seed=0)
    clean = tf.fill([64, 32, 32, 4], 0.3)
    noise = tf.random.normal([64, 32, 32, 4], stddev=0.05, seed=1)

    @tf.function(autograph=False)
    def step(clean, noise):
        with use.own_graph(), tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model(clean, 800, "S6", training=True).log_prob(noise))
        variables = model.trainable_variables
        slopes = tape.gradient(loss, variables, unconnected_gradients="zero")
        for variable, slope in zip(variables, slopes):
            variable.assign_sub(1e-9 * tf.convert_to_tensor(slope))
        return loss

    sizes = []
    for number in range(220):
        step(clean, noise)
        if number in (19, 219):
            gc.collect()
            sizes.append(resident())
    print(json.dumps({"grown": sizes[1] - sizes[0], "kept": max(map(len, arrays._free.values()))}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_training_does_not_grow():
    found = run_alone(_TRAINING)
    assert found["grown"] < 30 << 20
    assert 1 <= found["kept"] <= 4


def test_buffers_come_back_one_for_each_computation():
    case = float64.random_case(0, "MC", 4, (2, 50, 50))

    def keep():
        return arrays.forward(case.ops, case.flat, case.noise, case.clean, False).saved

    first = keep()
    address = first.ctypes.data
    second = keep()
    assert second.ctypes.data != address, "in use"
    view = first[:10]
    del first
    assert keep().ctypes.data != address, "a view is in use"
    del view
    assert keep().ctypes.data == address


_LARGE = """
    import json, sys
    import numpy as np
    from noise_flow_tf import native

    def peak():
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["VmHWM"].split()[0]) * 1024

    model = native.load(sys.argv[1])
    height, width = map(int, sys.argv[2:4])
    clean = np.random.default_rng(0).random((height, width, 4), np.float32)
    latent = np.random.default_rng(1).standard_normal((height, width, 4), np.float32)
    model.sample(clean[:8, :8], 800, "S6", latent=latent[:8, :8])
    before = peak()
    noise = model.sample(clean, 800, "S6", latent=latent)
    drawn = peak()
    model.log_prob(noise, clean, 800, "S6")
    more = [drawn - before, peak() - before]
    margin = 2 * model.arch.count("unc")
    worst = 0.0
    for top, left in [(0, 0), (height // 2, width // 2), (height - 70, width - 90)]:
        part = np.s_[top : top + 70, left : left + 90]
        alone = model.sample(clean[part], 800, "S6", latent=latent[part])
        inner = np.s_[margin:-margin, margin:-margin]
        worst = max(worst, np.abs(alone[inner] - noise[part][inner]).max())
    print(json.dumps({"more": more, "image": clean.nbytes, "worst": float(worst)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("size", [(1000, 1500), pytest.param((3000, 4000), marks=pytest.mark.slow)])
def test_large_images(weights, size):
    """Of 1.5 and of 12 megapixels, four channels each: little more memory than the results'."""
    found = run_alone(_LARGE, weights, *size)
    assert found["worst"] < 1e-6
    # The noise, and one scaled latent; of log_prob, the latent on top of them.
    assert max(found["more"]) < 3 * found["image"] + (64 << 20)


@pytest.mark.slow
def test_a_large_image_equals_tensorflow_on_a_part():
    model = nf.NoiseFlow("sdn5|unc|gain4|unc", seed=0)
    rng = np.random.default_rng(0)
    clean = rng.random((1, 3000, 4000, 4), np.float32)
    latent = rng.standard_normal(clean.shape, np.float32)
    noise = model(clean, 800, "S6").noise_of(latent).numpy()
    part = np.s_[:, 1490:1590, 2040:2140]
    with use.without_core():
        alone = model(clean[part], 800, "S6").noise_of(latent[part]).numpy()
    np.testing.assert_allclose(noise[part][:, 4:-4, 4:-4], alone[:, 4:-4, 4:-4], atol=1e-5)


def test_limits_on_threads_are_obeyed(monkeypatch):
    monkeypatch.setenv("NOISE_FLOW_THREADS", "1")
    assert library.threads() == 1
    monkeypatch.setenv("NOISE_FLOW_THREADS", "1000")
    assert library.threads() <= (os.cpu_count() or 1)
