"""The command line: `noise-flow COMMAND`, also `python -m noise_flow_tf COMMAND`.

Parsers import nothing that needs TensorFlow; what a command does is in `noise_flow_tf.programs`.
"""

import logging
import os

# The one place for what TensorFlow looks at when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # else TensorFlow imports another Keras, too
logging.getLogger("tensorflow").setLevel(logging.ERROR)
