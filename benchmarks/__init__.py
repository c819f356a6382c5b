"""Measurements of speed; each module is a command, `python -m benchmarks.NAME`."""

import noise_flow_tf.cli  # noqa: F401  (the environment, before TensorFlow is imported)
