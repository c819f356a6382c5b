"""The command line: `noise-flow COMMAND`, also `python -m noise_flow_tf COMMAND`.

Parsers import nothing that needs TensorFlow; what a command does is in `noise_flow_tf.programs`.
"""

import logging
import os

# TensorFlow reads these when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # or TensorFlow imports Keras 3, too
logging.getLogger("tensorflow").setLevel(logging.ERROR)
