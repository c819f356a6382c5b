"""How long train.py takes to its first step, sample.py to one image: python -m benchmarks.startup.

Each script runs in a process of its own, on the offline dataset, and notes when it has done what.
The first round, which also writes the dataset and fills the caches, is not counted.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from noise_flow_tf.cli import parsing

_SCRIPTS = ("train", "sample")
_IMAGE = (160, 224, 4)


class _Done(Exception):
    pass


class _Marks:
    """Seconds since the process was asked for, by what had been done then."""

    def __init__(self, begin: float):
        self._begin = begin
        self.seconds: dict[str, float] = {}

    def add(self, name: str) -> None:
        self.seconds.setdefault(name, time.time() - self._begin)

    def after(self, owner: object, function: str, name: str) -> None:
        """Has a function leave a mark when it has returned."""
        original = getattr(owner, function)

        def marking(*args, **kwargs):
            result = original(*args, **kwargs)
            self.add(name)
            return result

        setattr(owner, function, marking)


def train(marks: _Marks, folder: str) -> None:
    """Runs train.py until its first step is done."""
    import tf_keras

    import noise_flow_tf as nf

    marks.add("import TensorFlow and Noise Flow")
    from noise_flow_tf.programs import configs
    from noise_flow_tf.programs import train as script
    from noise_flow_tf.training.checkpoints import Checkpoints

    marks.add("import the rest")
    marks.after(script.dataset, "frames", "find the frames")
    marks.after(script, "score_baselines", "score the baselines")
    marks.after(Checkpoints, "restore", "make the model")

    class Stop(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            marks.add("first step")
            raise _Done

    fit = nf.Trainer.fit
    nf.Trainer.fit = lambda *args, **kwargs: fit(
        *args, **{**kwargs, "callbacks": [*kwargs["callbacks"], Stop()]}
    )
    try:
        script.run(configs.TrainConfig(logdir=f"{folder}/run"))
    except _Done:
        return


def sample(marks: _Marks, folder: str) -> None:
    """Runs sample.py on one image."""
    import noise_flow_tf as nf

    marks.add("import TensorFlow and Noise Flow")
    from noise_flow_tf.cli import sample as script

    marks.add("import the rest")
    marks.after(nf, "load", "load the model")
    marks.after(nf, "sample_image", "make noise")
    flags = ["--iso", "800", "--camera", "S6", "--out", f"{folder}/samples"]
    script.main(["--model", f"{folder}/model", "--clean", f"{folder}/clean.npy", *flags])
    marks.add("write files and pictures")


def parse(arguments=None):
    parser = parsing.Parser(prog="benchmarks.startup", description=__doc__)
    add = parser.option
    add("rounds", type=parsing.positive(int), default=5, help="times that each script is started")
    add("json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args(arguments)


def time_script(name: str, model: Path, clean: Path) -> dict[str, float]:
    """Seconds from the start of a script to each of its marks."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").symlink_to(model)
        (Path(folder) / "clean.npy").symlink_to(clean)
        command = [sys.executable, "-m", "benchmarks.startup", name, str(time.time()), folder]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{name}.py failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments=None) -> None:
    args = parse(arguments)
    import numpy as np

    import noise_flow_tf as nf
    from noise_flow_tf.saving import saved_model

    told = {}
    with tempfile.TemporaryDirectory() as folder:
        model, clean = Path(folder) / "model", Path(folder) / "clean.npy"
        saved_model.save(nf.NoiseFlow(seed=0), model)
        np.save(clean, np.full(_IMAGE, 0.3, np.float32))
        rounds = [
            {name: time_script(name, model, clean) for name in _SCRIPTS}
            for _ in range(args.rounds + 1)
        ][1:]
    for name in _SCRIPTS:
        marks = {
            mark: statistics.median(seconds[name][mark] for seconds in rounds)
            for mark in rounds[0][name]
        }
        told[name] = marks
        print(f"{name}.py")
        before = 0.0
        for mark, seconds in marks.items():
            print(f"  {mark:34} {seconds - before:5.1f} s, done after {seconds:5.1f} s")
            before = seconds
    if args.json:
        print(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in _SCRIPTS:
        script, begin, folder = sys.argv[1:]
        marks = _Marks(float(begin))
        {"train": train, "sample": sample}[script](marks, folder)
        print(json.dumps(marks.seconds))
    else:
        parsing.run(main, "benchmarks.startup")
