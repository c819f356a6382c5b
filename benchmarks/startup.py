"""Start-up times, of train.py to its first step and sample.py to an image: -m benchmarks.startup.

Each script runs in a process of its own, on the offline dataset, and marks the time of each stage.
The first round, which also writes the dataset and fills the caches, is not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from noise_flow_tf.cli import parsing
from noise_flow_tf.programs.options import positive_int

_SCRIPTS = ("train", "sample")
_IMAGE = (160, 224, 4)


class _Done(Exception):
    pass


class _Marks:
    """Seconds from the start of the process to the end of each stage."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.seconds: dict[str, float] = {}

    def add(self, stage: str) -> None:
        self.seconds.setdefault(stage, time.time() - self._start)

    def after(self, owner: object, function: str, stage: str) -> None:
        """Wrap a function so that its return marks the end of a stage."""
        original = getattr(owner, function)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            self.add(stage)
            return result

        setattr(owner, function, wrapped)


def train(marks: _Marks, folder: str) -> None:
    """Run train.py until its first step is done."""
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
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            marks.add("first step")
            raise _Done

    fit = nf.Trainer.fit

    def fit_one_step(*args: Any, **kwargs: Any) -> Any:
        return fit(*args, **{**kwargs, "callbacks": [*kwargs["callbacks"], Stop()]})

    setattr(nf.Trainer, "fit", fit_one_step)  # noqa: B010  (mypy forbids the assignment)
    try:
        script.run(configs.TrainConfig(logdir=f"{folder}/run"))
    except _Done:
        return


def sample(marks: _Marks, folder: str) -> None:
    """Run sample.py on one image."""
    import noise_flow_tf as nf

    marks.add("import TensorFlow and Noise Flow")
    from noise_flow_tf.cli import sample as script

    marks.add("import the rest")
    marks.after(nf, "load", "load the model")
    marks.after(nf, "sample_image", "make noise")
    flags = ["--iso", "800", "--camera", "S6", "--out", f"{folder}/samples"]
    script.main(["--model", f"{folder}/model", "--clean", f"{folder}/clean.npy", *flags])
    marks.add("write files and pictures")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parsing.Parser(prog="benchmarks.startup", description=__doc__)
    add = parser.option
    add("rounds", type=positive_int, default=5, help="number of starts of each script")
    add("json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args(arguments)


def time_script(name: str, model: Path, clean: Path) -> dict[str, float]:
    """Measure the seconds from the start of a script to the end of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").symlink_to(model)
        (Path(folder) / "clean.npy").symlink_to(clean)
        command = [sys.executable, "-m", "benchmarks.startup", name, str(time.time()), folder]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{name}.py failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    import numpy as np

    import noise_flow_tf as nf
    from noise_flow_tf.saving import saved_model

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        model, clean = Path(folder) / "model", Path(folder) / "clean.npy"
        saved_model.save(nf.NoiseFlow(seed=0), model)
        np.save(clean, np.full(_IMAGE, 0.3, np.float32))
        rounds = [
            {name: time_script(name, model, clean) for name in _SCRIPTS}
            for _ in range(args.rounds + 1)
        ][1:]
    for name in _SCRIPTS:
        results[name] = {
            stage: statistics.median(seconds[name][stage] for seconds in rounds)
            for stage in rounds[0][name]
        }
        print(f"{name}.py")
        before = 0.0
        for stage, after in results[name].items():
            print(f"  {stage:34} {after - before:5.1f} s, done after {after:5.1f} s")
            before = after
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in _SCRIPTS:
        script, start, folder = sys.argv[1:]
        marks = _Marks(float(start))
        {"train": train, "sample": sample}[script](marks, folder)
        print(json.dumps(marks.seconds))
    else:
        parsing.run(main, "benchmarks.startup")
