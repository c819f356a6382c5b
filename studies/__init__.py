"""Measurements behind choices; each module is a command, `python -m studies.NAME`."""

import noise_flow_tf.cli  # noqa: F401  (the environment, before TensorFlow is imported)
